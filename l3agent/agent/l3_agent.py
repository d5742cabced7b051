# SPDX-License-Identifier: Apache-2.0
"""The L3 agent: takes the server's word on routers, and makes the data plane follow."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Container, Iterable, Mapping
from typing import Any, Protocol

import eventlet
from greenlet import GreenletExit
from oslo_log import log as logging
from oslo_service import periodic_task

from l3agent.agent.distributed import DistributedRouterCasts
from l3agent.agent.fip_statuses import FloatingIPStatuses
from l3agent.agent.full_sync import FullSync
from l3agent.agent.plugin_api import TOPIC, L3PluginApi
from l3agent.agent.processing_queue import (
    PRIORITY_FULL_SYNC,
    PRIORITY_RPC,
    Action,
    ResourceProcessingQueue,
    ResourceUpdate,
)
from l3agent.agent.router_info import ACTIVE, ERROR, RouterInfo
from l3agent.agent.shared_fetch import SharedFetch
from l3agent.exceptions import ApplyError, InvalidRouter, PluginUnavailable, RouterNotCompatible, TransientError
from l3agent.model.desired import desired_state
from l3agent.model.states import Key, Report, RouterState, State
from l3agent.rpc import Client, StateReporter, Target
from l3agent.service import Manager, Service

LOG = logging.getLogger(__name__)

L3_AGENT_TOPIC = "l3_agent"
#: Where the server says, to all agents, that a network changed.
NETWORK_UPDATE_TOPIC = "q-agent-notifier-network-update"
#: How the server's table of agents names this kind.
BINARY, AGENT_TYPE = "neutron-l3-agent", "L3 agent"
_REMOVED_KEPT = 100
_DRAIN_POLL_S = 0.02


class Dataplane(Protocol):
    """What the agent needs of :class:`l3agent.dataplane.client.DataplaneClient`."""

    def reconcile(self, states: Iterable[tuple[Key, State | None]], *, dry_run: bool = False) -> list[Report]:
        """Make the kernel equal to some states."""

    def inventory(self) -> dict[str, list[str]]:
        """Return the ids of what exists."""

    def on_new_process(self, callback: Any) -> None:
        """Call back when the data plane is another process than before."""


class L3NATAgent(DistributedRouterCasts, Manager):
    """The manager of the L3 agent service, and the endpoint that the server calls.

    The methods the server calls only put something into the queue; all work is done by the workers of a pool.

    :param dataplane: makes the kernel follow.
    :param transport: leads to the server.

    Versions of the API that the server calls (``target``):

    * 1.0 ``router_deleted``, ``router_removed_from_agent``, ``router_added_to_agent``, ``agent_updated``
    * 1.1 ``routers_updated`` with ids
    * 1.4 ``network_update``
    """

    target = Target(version="1.4")

    def __init__(self, conf: Any, host: str, *, dataplane: Dataplane, transport: Any) -> None:
        super().__init__(conf, host)
        self.dataplane = dataplane
        #: What is known of each router of this node, by id.
        self.router_info: dict[str, RouterInfo] = {}
        #: The last removals, newest last: id, operations, timings.
        self.removed: deque[dict[str, Any]] = deque(maxlen=_REMOVED_KEPT)
        backoff = {"retry_min": conf.l3agent.retry_min, "retry_max": conf.l3agent.retry_max}
        self.queue = ResourceProcessingQueue(**backoff)
        self.pool = eventlet.GreenPool(size=conf.l3agent.router_workers)
        # Workers by their greenthread: those that have a router in hand, and those whose router the kernel gets now.
        self._busy: dict[Any, str] = {}
        self._applying: dict[Any, str] = {}
        self.reporter = self._state_reporter(transport)
        self.plugin = self._plugin_api(transport)
        self._fetch = SharedFetch(self.plugin.sync_routers, self.queue, batch=conf.l3agent.fetch_batch)
        self.full_sync = FullSync(
            self.plugin, self.queue, here=self._routers_here, report_state=self._report_first, **backoff
        )
        self._fip_statuses = FloatingIPStatuses(self.plugin.update_floatingip_statuses, **backoff)
        self._greenthreads: list[Any] = []
        dataplane.on_new_process(self.reapply_all)

    def _plugin_api(self, transport: Any) -> L3PluginApi:
        # Read now: making a client is what registers the option.
        timeout = self.conf.rpc_response_timeout
        client = Client(transport, TOPIC, timeout=timeout, max_timeout=self.conf.rpc_response_max_timeout)
        return L3PluginApi(client, self.host)

    def _state_reporter(self, transport: Any) -> StateReporter:
        return StateReporter(
            transport,
            host=self.host,
            binary=BINARY,
            topic=L3_AGENT_TOPIC,
            agent_type=AGENT_TYPE,
            configurations=self._configurations,
            availability_zone=self.conf.AGENT.availability_zone,
            timeout=self.conf.AGENT.report_interval,
            on_revived=lambda: self.full_sync.ask("the server had thought this agent dead"),
        )

    # What the server calls. Nothing here waits.

    def routers_updated(self, context: Any, routers: Iterable[str | Mapping[str, Any]]) -> None:
        """Take notice that routers changed; old servers send whole payloads, of which only the id is of use."""
        for router in routers:
            self._notice(router["id"] if isinstance(router, Mapping) else router, Action.UPDATE)

    def router_deleted(self, context: Any, router_id: str) -> None:
        """Take notice that a router is no more."""
        self._notice(router_id, Action.DELETE)

    def router_removed_from_agent(self, context: Any, payload: Mapping[str, Any]) -> None:
        """Take notice that a router is served elsewhere from now on."""
        self._notice(payload["router_id"], Action.DELETE)

    def router_added_to_agent(self, context: Any, payload: Iterable[str | Mapping[str, Any]]) -> None:
        """Take notice that routers are served here from now on."""
        self.routers_updated(context, payload)

    def agent_updated(self, context: Any, payload: Mapping[str, Any]) -> None:
        """Take notice that an administrator changed this agent."""
        self.full_sync.ask(f"the server changed this agent: {payload}")

    def network_update(self, context: Any, network: Mapping[str, Any]) -> None:
        """Take notice that a network changed; its MTU is that of the routers' ports."""
        for info in self.router_info.values():
            if info.state is not None and network["id"] in {port.network_id for port in info.state.all_ports()}:
                self._notice(info.id, Action.UPDATE)

    def _notice(self, router_id: str, action: Action) -> None:
        self.queue.add(str(router_id), action, PRIORITY_RPC)

    # Life

    def initialize_service_hook(self, service: Service) -> None:
        """Listen to changes of networks too."""
        assert service.conn is not None
        service.conn.create_consumer(NETWORK_UPDATE_TOPIC, [self], fanout=True)

    def after_start(self) -> None:
        """Start the workers, and bring the node in sync."""
        self._greenthreads = [eventlet.spawn(self._process_routers_loop), eventlet.spawn(self._fip_statuses.run)]
        self.full_sync.ask("the agent starts")

    def connection_lost(self) -> None:
        """Make good what may have been missed while the broker was away."""
        delay = random.uniform(0, self.conf.l3agent.resync_jitter)
        self.full_sync.ask("the connection to the broker was lost", delay=delay)

    def report_state(self) -> None:
        """Tell the server that this agent lives."""
        self.reporter.report()

    @periodic_task.periodic_task(spacing=1, run_immediately=True)  # type: ignore[untyped-decorator]
    def periodic_sync_routers_task(self, context: Any) -> None:
        """See to it that a full sync that was asked for is worked on, whatever became of who began it."""
        self.full_sync.ensure_running()

    def stop(self, graceful: bool = True) -> None:
        """Take no new work, let the data plane finish what it has in hand, and leave everything in the kernel."""
        self.full_sync.stop()
        for greenthread in self._greenthreads:
            greenthread.kill()
        try:
            if graceful:
                self._kill_workers(spare=self._applying)
                self._drain()
        finally:
            self._kill_workers(spare={})

    def _drain(self) -> None:
        """Wait for the data plane, which has a deadline of its own for each request."""
        while self._applying:
            eventlet.sleep(_DRAIN_POLL_S)

    def _kill_workers(self, *, spare: Container[Any]) -> None:
        for worker in list(self.pool.coroutines_running):
            if worker not in spare:
                eventlet.kill(worker)

    def reapply_all(self) -> None:
        """Bring all known states to the data plane once more: another process has taken it over."""
        for info in self.router_info.values():
            if info.state is not None:
                self.queue.add(info.id, Action.REAPPLY, PRIORITY_FULL_SYNC, stamp=info.stamp)

    # Workers

    @property
    def busy_workers(self) -> int:
        """Return how many workers have a router in hand."""
        return len(self._busy)

    def _process_routers_loop(self) -> None:
        while True:
            self.pool.spawn_n(self._process_router_update)

    def _process_router_update(self) -> None:
        """Work on one router. The pool prints what a worker dies of to stderr at best, so it is logged here."""
        router_id = ""
        try:
            with self.queue.each_update_to_next_router() as update:
                router_id = self._busy[eventlet.getcurrent()] = update.id
                self._process(update)
        except GreenletExit:
            raise
        except TransientError as exc:
            LOG.warning("router %s: %s; next try in %.1f s", router_id, exc, self.queue.seconds_to_retry(router_id))
        except BaseException:
            delay = self.queue.seconds_to_retry(router_id)
            LOG.exception("router %s: the worker died; next try in %.1f s", router_id, delay)
        finally:
            self._busy.pop(eventlet.getcurrent(), None)
            self.full_sync.tried(router_id)

    def _process(self, update: ResourceUpdate) -> None:
        taken = time.monotonic()
        timings = {"wait": taken - update.created_at}
        if update.needs_fetch:
            update = self._fetch.complete(update)
            timings["fetch"] = time.monotonic() - taken
        match update.action:
            case Action.UPDATE:
                self._router_updated(update, timings)
            case Action.DELETE:
                self._router_removed(update.id, timings)
            case Action.REAPPLY:
                self._apply(self.router_info[update.id], timings)

    def _router_updated(self, update: ResourceUpdate, timings: dict[str, float]) -> None:
        try:
            state = self._desired_state(update)
        except InvalidRouter as exc:
            self._refuse(update, exc)
        except RouterNotCompatible as exc:
            LOG.info("router %s is not for this agent: %s", update.id, exc)
            self._router_removed(update.id, timings)
        else:
            info = self.router_info.setdefault(update.id, RouterInfo(update.id))
            for note in info.take(update.resource or {}, state, update.stamp):
                LOG.warning("router %s: %s", update.id, note)
            self._apply(info, timings)

    def _desired_state(self, update: ResourceUpdate) -> RouterState:
        payload = update.resource or {}
        state = desired_state(payload, handle_internal_only_routers=self.conf.handle_internal_only_routers)
        if state.id != update.id:
            raise InvalidRouter("id", state.id, f"the server was asked for {update.id}")
        return state

    def _refuse(self, update: ResourceUpdate, error: InvalidRouter) -> None:
        """Leave the router as it is in the kernel until the server says something else."""
        LOG.error("router %s refused until its next update: %s", update.id, error)
        info = self.router_info.setdefault(update.id, RouterInfo(update.id))
        info.failed(str(error), time.monotonic())
        self._fip_statuses.report(info.id, info.floating_ips_to_report(ERROR))

    def _apply(self, info: RouterInfo, timings: dict[str, float]) -> None:
        report = self._reconcile(info.id, info.state, timings)
        info.succeeded(report, timings, time.monotonic())
        self._fip_statuses.report(info.id, self._only_ours(info, info.floating_ips_to_report(ACTIVE)))

    def _router_removed(self, router_id: str, timings: dict[str, float]) -> None:
        report = self._reconcile(router_id, None, timings)
        self.router_info.pop(router_id, None)
        self._fip_statuses.forget(router_id)
        self.removed.append({"id": router_id, "operations": list(report.operations), "timings": timings})

    def _reconcile(self, router_id: str, state: RouterState | None, timings: dict[str, float]) -> Report:
        """Have the data plane do it; a failure is kept for those who ask, and raised."""
        info = self.router_info.get(router_id)
        self._applying[eventlet.getcurrent()] = router_id
        try:
            [report] = self.dataplane.reconcile([(("router", router_id), state)])
            if report.error:
                raise ApplyError(report.error)
        except TransientError as exc:
            if info is not None:
                info.failed(str(exc), time.monotonic())
                if isinstance(exc, ApplyError):
                    self._fip_statuses.report(info.id, info.floating_ips_to_report(ERROR))
            raise
        finally:
            del self._applying[eventlet.getcurrent()]
        timings |= report.timings
        LOG.info(
            "router %s %s: %d operations, %s",
            router_id,
            "updated" if state else "removed",
            len(report.operations),
            ", ".join(f"{phase} {seconds:.4f} s" for phase, seconds in timings.items()),
        )
        for operation in report.operations:
            LOG.debug("router %s: %s", router_id, operation)
        return report

    def _only_ours(self, info: RouterInfo, statuses: Mapping[str, str]) -> dict[str, str]:
        """Leave out what is gone from this router because another one of this node has it now."""
        return {
            fip_id: status
            for fip_id, status in statuses.items()
            if fip_id in info.floating_ips
            or not any(fip_id in other.floating_ips for other in self.router_info.values())
        }

    # What the server is told

    def _routers_here(self) -> set[str]:
        return self.router_info.keys() | set(self.dataplane.inventory()["router"])

    def _report_first(self) -> None:
        self.reporter.report()
        if not self.reporter.started:
            raise PluginUnavailable("the server has not taken a state report of this agent yet")

    def _configurations(self) -> dict[str, Any]:
        states = [info.state for info in self.router_info.values() if info.state is not None]
        return {
            "agent_mode": self.conf.agent_mode,
            "handle_internal_only_routers": self.conf.handle_internal_only_routers,
            "interface_driver": self.conf.interface_driver,
            "log_agent_heartbeats": self.conf.AGENT.log_agent_heartbeats,
            "extensions": [],
            "routers": len(states),
            "ex_gw_ports": sum(state.gateway is not None for state in states),
            "interfaces": sum(len(state.ports) for state in states),
            "floating_ips": sum(len(state.floating_ips) for state in states),
        }
