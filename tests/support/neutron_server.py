# SPDX-License-Identifier: Apache-2.0
"""A server of the real RPC interface over RabbitMQ: what an agent sees of neutron-server, with a memory.

Plain oslo.messaging, nothing of this project, so that both ends of the wire are not wrong in the same way.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import eventlet
import oslo_messaging
from oslo_config import cfg

#: What Neutron sets in place of oslo.messaging's default.
_EXCHANGE = "neutron"
#: The topics of calls to the server, which are the names of its queues.
TOPICS = ("q-l3-plugin", "q-reports-plugin")
# None of these takes part in a declaration; they only keep the tests short after an outage.
_FAST = {
    "rabbit_retry_interval": 1,
    "rabbit_retry_backoff": 0,
    "rabbit_interval_max": 1,
    "kombu_reconnect_delay": 0.1,
}


class NeutronServer:
    """Serves router payloads, and casts as neutron-server does when they change.

    :param url: transport URL of the broker.
    :param host: the agent that the routers are scheduled to.
    """

    target = oslo_messaging.Target(version="1.13")

    def __init__(self, url: str, host: str, routers: Iterable[Mapping[str, Any]] = ()) -> None:
        self.routers: dict[str, Mapping[str, Any]] = {router["id"]: router for router in routers}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.fip_statuses: dict[str, str] = {}
        self._host = host
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[], default_config_dirs=[])
        _register_private_options(conf)
        self._transport = oslo_messaging.get_rpc_transport(conf, url)
        for name, value in _FAST.items():
            conf.set_override(name, value, group="oslo_messaging_rabbit")
        self._servers = [
            oslo_messaging.get_rpc_server(self._transport, _target(topic, server="server1"), [self]) for topic in TOPICS
        ]
        self._agents = oslo_messaging.get_rpc_client(self._transport, _target("l3_agent", version="1.0"))

    def start(self) -> None:
        """Consume."""
        for server in self._servers:
            server.start()

    def stop(self) -> None:
        """Consume no more. Without a broker there is nobody to take leave of."""
        with eventlet.Timeout(10, False):
            for server in self._servers:
                server.stop()
                server.wait()
            self._transport.cleanup()

    # What operators do

    def put(self, router: Mapping[str, Any], *, cast: bool = True) -> None:
        """Make or change a router; ``cast`` off is a cast that got lost."""
        self.routers[router["id"]] = copy.deepcopy(router)
        if cast:
            self._agents.prepare(server=self._host, version="1.1").cast({}, "routers_updated", routers=[router["id"]])

    def delete(self, router_id: str, *, cast: bool = True) -> None:
        """Delete a router; the real server tells all agents."""
        del self.routers[router_id]
        if cast:
            self._agents.prepare(fanout=True).cast({}, "router_deleted", router_id=router_id)

    def add_to_agent(self, router: Mapping[str, Any]) -> None:
        """Schedule a router to the agent; the API request waits for the answer, so it is a call."""
        self.routers[router["id"]] = router
        self._agents.prepare(server=self._host, timeout=10).call({}, "router_added_to_agent", payload=[router["id"]])

    def remove_from_agent(self, router_id: str) -> None:
        """Take a router away from the agent."""
        del self.routers[router_id]
        self._agents.prepare(server=self._host).cast({}, "router_removed_from_agent", payload={"router_id": router_id})

    def called(self, method: str) -> list[dict[str, Any]]:
        """Return the arguments of all calls of a method, in order."""
        return [arguments for name, arguments in self.calls if name == method]

    # What agents call

    def report_state(self, context: Mapping[str, Any], **arguments: Any) -> str:
        """Take a report; the first one of a process is answered as the real server does."""
        self._take("report_state", context, arguments)
        return "new" if arguments["agent_state"]["agent_state"].get("start_flag") else "alive"

    def get_router_ids(self, context: Mapping[str, Any], **arguments: Any) -> list[str]:
        """Return the ids of all routers of the host."""
        self._take("get_router_ids", context, arguments)
        return list(self.routers) if arguments["host"] == self._host else []

    def sync_routers(self, context: Mapping[str, Any], **arguments: Any) -> list[Mapping[str, Any]]:
        """Return payloads; null asks for all."""
        self._take("sync_routers", context, arguments)
        wanted = arguments.get("router_ids")
        return [router for key, router in self.routers.items() if wanted is None or key in wanted]

    def update_floatingip_statuses(self, context: Mapping[str, Any], **arguments: Any) -> None:
        """Remember statuses."""
        self._take("update_floatingip_statuses", context, arguments)
        self.fip_statuses.update(arguments["fip_statuses"])

    def get_service_plugin_list(self, context: Mapping[str, Any], **arguments: Any) -> list[str]:
        """Return the service plug-ins."""
        self._take("get_service_plugin_list", context, arguments)
        return ["CORE", "L3_ROUTER_NAT"]

    def get_host_ha_router_count(self, context: Mapping[str, Any], **arguments: Any) -> int:
        """Return how many HA routers there are: none."""
        self._take("get_host_ha_router_count", context, arguments)
        return 0

    def _take(self, method: str, context: Mapping[str, Any], arguments: dict[str, Any]) -> None:
        # The real server answers nobody without this.
        assert context["is_admin"] is True, context
        self.calls.append((method, arguments))


def _target(topic: str, **attributes: str) -> oslo_messaging.Target:
    return oslo_messaging.Target(exchange=_EXCHANGE, topic=topic, **attributes)


def _register_private_options(conf: cfg.ConfigOpts) -> None:
    """Register what oslo.messaging reads from any configuration and registers on the global one only."""
    from oslo_messaging._metrics.client import oslo_messaging_metrics
    from oslo_messaging._tracing.client import oslo_messaging_tracing

    conf.register_opts(oslo_messaging_tracing, "oslo_messaging_tracing")
    conf.register_opts(oslo_messaging_metrics, "oslo_messaging_metrics")
