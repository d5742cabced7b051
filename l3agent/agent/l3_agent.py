# SPDX-License-Identifier: Apache-2.0
"""The endpoint that the server calls, and the start and stop of the agent; the parts are in ``composition.py``."""

from __future__ import annotations

import random
from collections.abc import Container, Iterable, Mapping
from typing import Any

import eventlet
from oslo_log import log as logging
from oslo_service import periodic_task

from l3agent.agent.composition import AgentParts
from l3agent.agent.distributed import DistributedRouterCasts
from l3agent.agent.resource_update import PRIORITY_RPC, Action
from l3agent.agent.server_answers import notified_ids
from l3agent.exceptions import TransientError
from l3agent.rpc import Target
from l3agent.service import Manager, Service

LOG = logging.getLogger(__name__)

#: Topic on which the server notifies all agents of changed networks.
NETWORK_UPDATE_TOPIC = "q-agent-notifier-network-update"
_DRAIN_POLL_S = 0.02
#: Seconds that the start waits for the broker before the routers of the state cache are served.
_BROKER_S = 5.0


class L3NATAgent(DistributedRouterCasts, Manager):
    """The manager of the L3 agent service, and the endpoint that the server calls.

    The methods that the server calls only enqueue updates; the workers of a pool process them.

    :param parts: see :func:`l3agent.agent.composition.compose`.

    Versions of the API that the server calls (``target``):

    * 1.0 ``router_deleted``, ``router_removed_from_agent``, ``router_added_to_agent``, ``agent_updated``
    * 1.1 ``routers_updated`` with ids
    * 1.4 ``network_update``
    """

    target = Target(version="1.4")
    not_rpc = Manager.not_rpc | {"periodic_sync_routers_task", "stuck"}

    def __init__(self, conf: Any, host: str, parts: AgentParts) -> None:
        super().__init__(conf, host)
        self.parts = parts
        self.pool = eventlet.GreenPool(size=conf.l3agent.router_workers)
        self._queue, self._sync_requests = parts.records.queue, parts.records.sync_requests
        self._greenthreads: list[Any] = []
        self._without_broker: list[Any] = []

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
        self._sync_requests.request(f"the server changed this agent: {payload}")

    def network_update(self, context: Any, network: Mapping[str, Any]) -> None:
        """Enqueue updates of the routers on a changed network, whose MTU may differ."""
        network_id = network.get("id") if isinstance(network, Mapping) else None
        for info in self.parts.routers.info.values():
            if info.state is not None and network_id in {port.network_id for port in info.state.all_ports()}:
                self._enqueue(info.id, Action.UPDATE, context)

    def _enqueue(self, router_id: str, action: Action, context: Any = None) -> None:
        self._queue.add(router_id, action, PRIORITY_RPC, context=context)

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
            parts = self.parts
            loops = (self._process_routers_loop, parts.statuses.run, parts.warm_start.run, parts.state_cache.run)
            self._greenthreads = [eventlet.spawn(loop) for loop in loops]
        self.parts.full_sync.ensure_running()
        # The second time with consumers: notifications sent before they existed are lost.
        self._sync_requests.request("the agent starts")

    def connection_lost(self) -> None:
        """Request a full sync, as notifications may be lost."""
        delay = random.uniform(0, self.conf.l3agent.resync_jitter)
        self._sync_requests.request("the connection to the broker was lost", delay=delay)

    def report_state(self) -> None:
        """Send a state report."""
        self.parts.registration.report()

    @periodic_task.periodic_task(spacing=1, run_immediately=True)  # type: ignore[untyped-decorator]
    def periodic_sync_routers_task(self, context: Any) -> None:
        """Request the periodic full sync when it is due; ensure that a greenthread runs the requested full syncs."""
        self.parts.full_sync.ensure_running()

    def stop(self, graceful: bool = True) -> None:
        """Stop processing, wait for the requests in flight to the data plane, and leave the kernel state in place.

        With option ``cleanup_on_shutdown`` the routers are removed.
        """
        self.parts.full_sync.stop()
        for greenthread in (*self._without_broker, *self._greenthreads):
            greenthread.kill()
        self._without_broker, self._greenthreads = [], []
        try:
            if graceful:
                self._kill_workers(spare=self.parts.routers.in_kernel_work)
                self._drain()
                if self.conf.cleanup_on_shutdown:
                    self._remove_all()
        finally:
            self._kill_workers(spare={})
            self.parts.state_cache.write()

    def _remove_all(self) -> None:
        routers = self.parts.routers
        served = set(filter(routers.is_managed, routers.info))
        LOG.info("Removing %d routers: cleanup_on_shutdown is on", len(served))
        for router_id in served - self.parts.maintenance.paused:
            try:
                routers.remove_from_kernel(router_id)
            except TransientError as exc:
                LOG.error("router %s is not removed: %s", router_id, exc)

    def _drain(self) -> None:
        """Wait for the requests in flight to the data plane; each request has a deadline."""
        while self.parts.routers.in_kernel_work:
            eventlet.sleep(_DRAIN_POLL_S)

    def _kill_workers(self, *, spare: Container[Any]) -> None:
        for worker in list(self.pool.coroutines_running):
            if worker not in spare:
                eventlet.kill(worker)

    # Workers and health

    def _process_routers_loop(self) -> None:
        while True:
            self.pool.spawn_n(self._process_router_update)

    def _process_router_update(self) -> None:
        # A name of the seed: an agent that derives from this one overrides the work of a worker here.
        self.parts.workers.process_next()

    def stuck(self) -> list[str]:
        """Return one message per stuck part, which only a restart may repair."""
        dead = any(one.dead for one in self._greenthreads[:1])
        return [*self.parts.in_flight.stuck(), *(["the loop that starts workers has ended"] if dead else [])]

    def ready(self) -> bool:
        """Return True if a full sync is complete: all routers of this node are known and enqueued."""
        return self._sync_requests.completed > 0

    def healthy(self) -> bool:
        """Return True if no worker is stuck."""
        return not self.stuck()
