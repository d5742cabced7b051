# SPDX-License-Identifier: Apache-2.0
"""Fake server: a dictionary of payloads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import eventlet

from l3agent.rpc import Client, Connection, Target, admin_context
from l3agent.testing.failures import Failures

L3_TOPIC, REPORTS_TOPIC, AGENT_TOPIC = "q-l3-plugin", "q-reports-plugin", "l3_agent"


class FakePlugin:
    """Replaces the server: a service and its endpoint, over any transport.

    :param transport: transport of the consumers of ``q-l3-plugin`` and ``q-reports-plugin``.
    :param routers: initial payloads; ``self.routers`` has them by id and may be changed at any time.
    """

    target = Target(version="1.13")

    def __init__(self, transport: Any, routers: Iterable[Mapping[str, Any]] = ()) -> None:
        self.routers: dict[str, Mapping[str, Any]] = {router["id"]: router for router in routers}
        #: Received calls, in order: method and arguments.
        self.calls: list[tuple[str, dict[str, Any]]] = []
        #: Last reported status of each floating IP, by its id.
        self.fip_statuses: dict[str, str] = {}
        self._last_router: dict[str, str] = {}
        #: Answer to the next state reports.
        self.report_answer = "alive"
        #: Duration of each method in seconds, by name.
        self.delays: dict[str, float] = {}
        self._failures = Failures()
        self._transport = transport
        self._connection: Connection | None = None

    # As a service

    def start(self) -> None:
        """Start to consume."""
        self._connection = Connection(self._transport, host="server")
        for topic in (L3_TOPIC, REPORTS_TOPIC):
            self._connection.create_consumer(topic, [self])
        self._connection.consume_in_threads()

    def stop(self) -> None:
        """Stop to consume: calls get no answer."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def wait(self) -> None:
        """Return immediately: ``stop`` has waited."""

    def reset(self) -> None:
        """Do nothing."""

    # For tests

    def fail_next(self, method: str, error: BaseException, times: int = 1) -> None:
        """Schedule an error of the next calls of a method."""
        self._failures.schedule(method, error, times)

    def cast_to_agents(self, method: str, *, topic: str = AGENT_TOPIC, version: str = "1.0", **arguments: Any) -> None:
        """Cast a method to all agents."""
        Client(self._transport, topic, version=version).cast(admin_context(), method, fanout=True, **arguments)

    def called(self, method: str) -> list[dict[str, Any]]:
        """Return the arguments of all calls of one method, in order."""
        return [arguments for name, arguments in self.calls if name == method]

    # RPC methods

    def get_router_ids(self, context: Any, **arguments: Any) -> list[str]:
        """Return all ids."""
        # Read before the delay: a slow server answers with the values at the time of the call.
        found = list(self.routers)
        self._record_call("get_router_ids", arguments)
        return found

    def sync_routers(self, context: Any, **arguments: Any) -> list[Mapping[str, Any]]:
        """Return the payloads of the requested ids."""
        wanted = arguments["router_ids"]
        found = [self.routers[router_id] for router_id in wanted if router_id in self.routers]
        self._record_call("sync_routers", arguments)
        return found

    def update_floatingip_statuses(self, context: Any, **arguments: Any) -> None:
        """Store statuses; as Neutron, set DOWN floating IPs that were on the router last and are on none now."""
        self._record_call("update_floatingip_statuses", arguments)
        router_id, statuses = arguments["router_id"], arguments["fip_statuses"]
        self.fip_statuses.update(statuses)
        self._last_router |= dict.fromkeys(statuses, router_id)
        associated = {fip["id"] for router in self.routers.values() for fip in router.get("_floatingips") or []}
        for fip_id, last in self._last_router.items():
            if last == router_id and fip_id not in associated:
                self.fip_statuses[fip_id] = "DOWN"

    def get_service_plugin_list(self, context: Any, **arguments: Any) -> list[str]:
        """Return the service plug-ins."""
        self._record_call("get_service_plugin_list", arguments)
        return ["L3_ROUTER_NAT"]

    def get_host_ha_router_count(self, context: Any, **arguments: Any) -> int:
        """Return the number of HA routers: 0."""
        self._record_call("get_host_ha_router_count", arguments)
        return 0

    def report_state(self, context: Any, **arguments: Any) -> str:
        """Record a state report."""
        self._record_call("report_state", arguments)
        return self.report_answer

    def _record_call(self, method: str, arguments: dict[str, Any]) -> None:
        self.calls.append((method, arguments))
        eventlet.sleep(self.delays.get(method, 0.0))
        self._failures.raise_next(method)
