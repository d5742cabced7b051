# SPDX-License-Identifier: Apache-2.0
"""The L3 agent: receives router updates from neutron-server and applies them through the data plane."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Container, Iterable, Mapping
from typing import Any

import eventlet
from greenlet import GreenletExit
from oslo_log import log as logging
from oslo_service import periodic_task

from l3agent.agent.batch_fetch import BatchFetcher
from l3agent.agent.distributed import DistributedRouterCasts
from l3agent.agent.fip_statuses import FloatingIPStatuses
from l3agent.agent.full_sync import FullSync
from l3agent.agent.in_flight import InFlight
from l3agent.agent.maintenance import Maintenance
from l3agent.agent.mass_delete import MassDeleteGuard
from l3agent.agent.orphans import Orphans
from l3agent.agent.plugin_api import TOPIC, L3PluginApi
from l3agent.agent.processing_queue import ResourceProcessingQueue
from l3agent.agent.registration import Registration
from l3agent.agent.resource_update import PRIORITY_FULL_SYNC, PRIORITY_RPC, Action, ResourceUpdate
from l3agent.agent.results import UpdateResult, UpdateResults
from l3agent.agent.routers import Dataplane, Routers
from l3agent.agent.server_answers import notified_ids
from l3agent.agent.state_cache import StateCache
from l3agent.agent.warm_start import WarmStart
from l3agent.exceptions import TransientError
from l3agent.model.router_keys import router_ids
from l3agent.rpc import Client, FailureLog, Target
from l3agent.service import Manager, Service

LOG = logging.getLogger(__name__)

#: Topic on which the server notifies all agents of changed networks.
NETWORK_UPDATE_TOPIC = "q-agent-notifier-network-update"
#: Files below ``state_path``: the state cache and the ids of the paused routers.
STATE_CACHE_FILE, PAUSED_FILE = "l3-agent-routers.jsonl", "l3-agent-paused.json"
_DRAIN_POLL_S = 0.02
#: Workers that only process updates without a fetch: a deleted router is removed although the server does not answer.
_NEVER_FETCHING = 2
#: Seconds that the start waits for the broker before the routers of the state cache are served.
_BROKER_S = 5.0


class L3NATAgent(DistributedRouterCasts, Manager):
    """The manager of the L3 agent service, and the endpoint that the server calls.

    The methods that the server calls only enqueue updates; the workers of a pool process them.

    :param dataplane: applies states to the kernel.
    :param transport: transport to the server.

    Versions of the API that the server calls (``target``):

    * 1.0 ``router_deleted``, ``router_removed_from_agent``, ``router_added_to_agent``, ``agent_updated``
    * 1.1 ``routers_updated`` with ids
    * 1.4 ``network_update``
    """

    target = Target(version="1.4")
    not_rpc = Manager.not_rpc | {"reapply_all", "report_soon", "periodic_sync_routers_task"}

    def __init__(self, conf: Any, host: str, *, dataplane: Dataplane, transport: Any) -> None:
        super().__init__(conf, host)
        self.dataplane = dataplane
        backoff = {"retry_min": conf.l3agent.retry_min, "retry_max": conf.l3agent.retry_max}
        workers = conf.l3agent.router_workers
        self.queue = ResourceProcessingQueue(**backoff, max_fetching=max(1, workers - _NEVER_FETCHING))
        self.pool = eventlet.GreenPool(size=workers)
        #: Failed attempts of workers and full syncs, by cause.
        self.failures = FailureLog(LOG)
        #: Results of updates.
        self.results = UpdateResults()
        self.registration = self._registration(transport)
        self.plugin = self._plugin_api(transport)
        self._fip_statuses = FloatingIPStatuses(self.plugin.update_floatingip_statuses, **backoff)
        path = os.path.join(conf.state_path, STATE_CACHE_FILE)
        self._state_cache = StateCache(path, host, interval=conf.l3agent.state_cache_interval)
        self.routers = Routers(
            conf, dataplane, self._fip_statuses, self._state_cache, self._refetch, self.registration.contact
        )
        #: The routers of this node, by id.
        self.router_info = self.routers.info
        #: Holds removals that an answer of the server may order by mistake.
        self.mass_delete_guard = MassDeleteGuard(
            share=conf.l3agent.mass_delete_share, confirm_interval=conf.l3agent.mass_delete_confirm_interval
        )
        #: Routers of other agents in the kernel, removed after their grace period.
        self.orphans = Orphans(grace_period=conf.l3agent.orphan_grace_period)
        self._warm_start = WarmStart(
            self.routers,
            self._state_cache,
            self.queue,
            dataplane,
            is_needed=lambda: not self.full_sync.completed,
            retry_interval=conf.l3agent.retry_min,
        )
        self._fetcher = BatchFetcher(self.plugin.sync_routers, self.queue, batch=conf.l3agent.fetch_batch)
        #: The routers that workers process.
        self.in_flight = InFlight(conf.dataplane.timeout + conf.rpc_response_max_timeout, self._fetcher.is_awaited)
        self.full_sync = FullSync(
            self.plugin,
            self.queue,
            local_ids=self._local_routers,
            is_managed=self.routers.is_managed,
            rank=self.routers.rank,
            report_state=self.registration.ensure_registered,
            on_failure=self._warm_start.reapply_all,
            guard=self.mass_delete_guard,
            orphans=self.orphans,
            failures=self.failures,
            interval=conf.l3agent.resync_interval,
            **backoff,
        )
        #: Routers that an operator paused, and the drain of the node.
        self.maintenance = Maintenance(
            os.path.join(conf.state_path, PAUSED_FILE),
            self.routers,
            self.queue,
            dataplane,
            self.full_sync.mark_processed,
        )
        self._greenthreads: list[Any] = []
        self._without_broker: list[Any] = []
        dataplane.on_new_process(self.reapply_all)

    def _registration(self, transport: Any) -> Registration:
        return Registration(
            self.conf,
            self.host,
            transport,
            routers=lambda: self.router_info.values(),
            ha_routers=lambda: self.plugin.get_host_ha_router_count(),
            on_ha_routers=self._report_ha_ports_down,
            admin=lambda: self.maintenance.state,
            on_revived=lambda: self.full_sync.request("the server had considered this agent dead"),
        )

    def _plugin_api(self, transport: Any) -> L3PluginApi:
        # Read here: the option is registered when a client is created.
        timeout = self.conf.rpc_response_timeout
        client = Client(transport, TOPIC, timeout=timeout, max_timeout=self.conf.rpc_response_max_timeout)
        return L3PluginApi(client, self.host)

    # Endpoints, called by the server. None of them waits.

    def routers_updated(self, context: Any, routers: Iterable[str | Mapping[str, Any]]) -> None:
        """Enqueue updates of changed routers; old servers send whole payloads, and only their ids are used."""
        for router_id in notified_ids("routers_updated", routers):
            self._enqueue(router_id, Action.UPDATE, context)

    def router_deleted(self, context: Any, router_id: str) -> None:
        """Enqueue the removal of a deleted router."""
        for valid_id in notified_ids("router_deleted", [router_id]):
            self._enqueue(valid_id, Action.DELETE, context)

    def router_removed_from_agent(self, context: Any, payload: Mapping[str, Any]) -> None:
        """Enqueue the removal of a router that the server has unscheduled from this agent."""
        for router_id in notified_ids("router_removed_from_agent", [payload], key="router_id"):
            self._enqueue(router_id, Action.UNSCHEDULE, context)

    def router_added_to_agent(self, context: Any, payload: Iterable[str | Mapping[str, Any]]) -> None:
        """Enqueue updates of routers that the server has scheduled to this agent."""
        self.routers_updated(context, payload)

    def agent_updated(self, context: Any, payload: Mapping[str, Any]) -> None:
        """Request a full sync after an administrator changed this agent."""
        self.full_sync.request(f"the server changed this agent: {payload}")

    def network_update(self, context: Any, network: Mapping[str, Any]) -> None:
        """Enqueue updates of the routers on a changed network, whose MTU may differ."""
        network_id = network.get("id") if isinstance(network, Mapping) else None
        for info in self.router_info.values():
            if info.state is not None and network_id in {port.network_id for port in info.state.all_ports()}:
                self._enqueue(info.id, Action.UPDATE, context)

    def _enqueue(self, router_id: str, action: Action, context: Any = None) -> None:
        self.queue.add(router_id, action, PRIORITY_RPC, context=context)

    # Life cycle

    def initialize_service_hook(self, service: Service) -> None:
        """Subscribe to network changes; start the workers after a delay even without a broker."""
        assert service.conn is not None
        service.conn.create_consumer(NETWORK_UPDATE_TOPIC, [self], fanout=True)
        self._without_broker = [eventlet.spawn_after(_BROKER_S, self._start_work)]

    def after_start(self) -> None:
        """Start the workers and a full sync."""
        for greenthread in self._without_broker:
            greenthread.kill()
        self._start_work()

    def _start_work(self) -> None:
        if not self._greenthreads:
            parts = (self._process_routers_loop, self._fip_statuses.run, self._warm_start.run, self._state_cache.run)
            self._greenthreads = [eventlet.spawn(part) for part in parts]
        # The second time with consumers: notifications sent before they existed are lost.
        self.full_sync.request("the agent starts")

    def connection_lost(self) -> None:
        """Request a full sync, as notifications may be lost."""
        delay = random.uniform(0, self.conf.l3agent.resync_jitter)
        self.full_sync.request("the connection to the broker was lost", delay=delay)

    def report_state(self) -> None:
        """Send a state report."""
        self.registration.report()

    def report_soon(self) -> None:
        """Send a state report now, without waiting for its answer."""
        eventlet.spawn_n(self.registration.report)

    @periodic_task.periodic_task(spacing=1, run_immediately=True)  # type: ignore[untyped-decorator]
    def periodic_sync_routers_task(self, context: Any) -> None:
        """Ensure that a requested full sync runs, although the greenthread that started it may be dead."""
        self.full_sync.ensure_running()

    def stop(self, graceful: bool = True) -> None:
        """Stop processing, wait for the requests in flight to the data plane, and leave the kernel state in place.

        With option ``cleanup_on_shutdown`` the routers are removed.
        """
        self.full_sync.stop()
        for greenthread in (*self._without_broker, *self._greenthreads):
            greenthread.kill()
        self._without_broker, self._greenthreads = [], []
        try:
            if graceful:
                self._kill_workers(spare=self.routers.in_kernel_work)
                self._drain()
                if self.conf.cleanup_on_shutdown:
                    self._remove_all()
        finally:
            self._kill_workers(spare={})
            self._state_cache.write()

    def _remove_all(self) -> None:
        served = set(filter(self.routers.is_managed, self.router_info))
        LOG.info("Removing %d routers: cleanup_on_shutdown is on", len(served))
        for router_id in served - self.maintenance.paused:
            try:
                self.routers.remove_from_kernel(router_id, {})
            except TransientError as exc:
                LOG.error("router %s is not removed: %s", router_id, exc)

    def _drain(self) -> None:
        """Wait for the requests in flight to the data plane; each request has a deadline."""
        while self.routers.in_kernel_work:
            eventlet.sleep(_DRAIN_POLL_S)

    def _kill_workers(self, *, spare: Container[Any]) -> None:
        for worker in list(self.pool.coroutines_running):
            if worker not in spare:
                eventlet.kill(worker)

    def reapply_all(self) -> None:
        """Enqueue all desired states again, for a new data-plane process."""
        for info in self.router_info.values():
            if info.state is not None:
                self.queue.add(info.id, Action.REAPPLY, PRIORITY_FULL_SYNC, sequence=info.sequence)

    # Workers

    def statuses_flushed(self) -> bool:
        """Return True if the server has received all statuses of floating IPs."""
        return not self._fip_statuses.pending_count

    def stuck(self) -> list[str]:
        """Return one message per stuck part, which only a restart may repair."""
        dead = any(one.dead for one in self._greenthreads[:1])
        return [*self.in_flight.stuck(), *(["the loop that starts workers has ended"] if dead else [])]

    def ready(self) -> bool:
        """Return True if a full sync is complete: all routers of this node are known and enqueued."""
        return self.full_sync.completed > 0

    def healthy(self) -> bool:
        """Return True if no worker is stuck."""
        return not self.stuck()

    def _process_routers_loop(self) -> None:
        while True:
            self.pool.spawn_n(self._process_router_update)

    def _process_router_update(self) -> None:
        """Process one router. Exceptions are logged here, since the pool prints them to stderr at best."""
        update: ResourceUpdate | None = None
        try:
            with self.queue.each_update_to_next_router() as update:
                self.in_flight.start(update.id)
                result = self._process(update)
            self.results.publish(result)
        except GreenletExit:
            raise
        except BaseException as exc:
            if update is None:
                LOG.exception("A worker failed before it had a router")
            else:
                self._publish_failure(update, exc)
        finally:
            self.in_flight.finish()
            if update is not None:
                self.full_sync.mark_processed(update.id)

    def _publish_failure(self, update: ResourceUpdate, error: BaseException) -> None:
        if isinstance(error, TransientError):
            text, log, message = str(error), self.failures.warning, "router %s: %s; retrying in %.1f s"
        else:
            text = f"{type(error).__name__}: {error}"
            log, message = self.failures.exception, "router %s: the worker failed: %s; retrying in %.1f s"
        log(text, message, update.id, text, self.queue.seconds_to_retry(update.id), context=update.context)
        name = self.router_info[update.id].name if update.id in self.router_info else ""
        result = UpdateResult(update.id, update.action.value, "retry", name=name, error=text, context=update.context)
        self.results.publish(result)

    def _process(self, update: ResourceUpdate) -> UpdateResult:
        started = time.monotonic()
        timings = {"wait": started - update.created_at}
        if update.needs_fetch:
            update = self._fetcher.fetch(update)
            timings["fetch"] = time.monotonic() - started
            self.in_flight.record_fetch()
        match update.action:
            case Action.UPDATE:
                return self.routers.update(update, timings)
            case Action.DELETE | Action.UNSCHEDULE:
                return self.routers.remove(update, timings)
            case Action.MISSING:
                return self._remove_missing(update, timings)
            case Action.REAPPLY:
                return self.routers.apply(update, timings)

    def _remove_missing(self, update: ResourceUpdate, timings: dict[str, float]) -> UpdateResult:
        """Remove a router that an answer does not name; leave further ones to a full sync, which the guard checks."""
        if self.mass_delete_guard.allow_one(len(self.router_info)):
            return self.routers.remove(update, timings)
        reason = f"router {update.id} is missing, as other routers were recently"
        self.full_sync.request(reason, delay=self.conf.l3agent.retry_min)
        return UpdateResult(update.id, update.action.value, "skipped", context=update.context)

    def _refetch(self, router_id: str) -> None:
        eventlet.spawn_after(self.conf.l3agent.retry_min, self._enqueue, router_id, Action.UPDATE)

    def _local_routers(self) -> set[str]:
        return self.router_info.keys() | router_ids(self.dataplane.inventory())

    def _report_ha_ports_down(self) -> None:
        """Report the HA ports of this node down after a reboot, when the kernel has no router."""
        if not router_ids(self.dataplane.inventory()):
            self.plugin.update_all_ha_network_port_statuses()
