# SPDX-License-Identifier: Apache-2.0
"""Client of the server's L3 plug-in: all methods of topic ``q-l3-plugin`` that an L3 agent calls.

Each call has the lowest version that has its method, so that servers of any release support it. A method that the
server does not support is called once and then skipped.
Source: neutron ``api/rpc/handlers/l3_rpc.py``, version history of ``L3RpcCallback``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from oslo_log import log as logging

from l3agent.agent.server_answers import IdAnswer, RouterAnswer, id_answer, router_answer
from l3agent.rpc import RemoteError, is_unknown_method
from l3agent.rpc.context import admin_context

LOG = logging.getLogger(__name__)

TOPIC = "q-l3-plugin"


class RpcClient(Protocol):
    """The required methods of :class:`l3agent.rpc.client.Client`."""

    def call(self, context: Any, method: str, /, *, version: str | None = None, **arguments: Any) -> Any:
        """Call a method of the server and return its answer."""

    def cast(self, context: Any, method: str, /, *, version: str | None = None, **arguments: Any) -> None:
        """Send a message without an answer."""


class L3PluginApi:
    """Client of the server's L3 plug-in.

    Every method raises :class:`~l3agent.exceptions.ServerUnavailable` when no answer came in time.

    :param client: calls topic ``q-l3-plugin``.
    :param host: name of this node towards the server.
    """

    def __init__(self, client: RpcClient, host: str) -> None:
        self._client = client
        self._host = host
        self._unsupported: set[str] = set()

    def get_router_ids(self) -> IdAnswer:
        """Return the ids of the routers that the server wants on this node; it may schedule some to it now.

        :raises InvalidAnswer: the answer is not a list.
        """
        return id_answer(self._call("get_router_ids", "1.9", host=self._host))

    def sync_routers(self, router_ids: Iterable[str]) -> RouterAnswer:
        """Return the payloads of those routers that belong on this node; the server binds their ports to it.

        :raises InvalidAnswer: the answer is not a list.
        """
        return router_answer(self._call("sync_routers", "1.0", host=self._host, router_ids=list(router_ids)))

    def update_floatingip_statuses(
        self, router_id: str, statuses: Mapping[str, str], *, timeout: float | None = None
    ) -> None:
        """Report ``ACTIVE``, ``DOWN`` or ``ERROR`` by id of the floating IP.

        The server sets those DOWN that were on this router last, are on none now, and are not in the report.

        :param timeout: seconds; the configured ones if None.
        """
        limit = {} if timeout is None else {"timeout": timeout}
        self._call("update_floatingip_statuses", "1.1", router_id=router_id, fip_statuses=dict(statuses), **limit)

    def get_service_plugin_list(self) -> list[str]:
        """Return the service plug-ins that the server has loaded."""
        return list(self._call("get_service_plugin_list", "1.3"))

    # HA routers

    def get_host_ha_router_count(self) -> int | None:
        """Return how many HA routers belong on this node; None from a server without that method (before Stein)."""
        count: int | None = self._call_if_supported("get_host_ha_router_count", "1.11", host=self._host)
        return count

    def update_ha_routers_states(self, states: Mapping[str, str]) -> None:
        """Report ``active``, ``standby`` or ``unknown`` by id of the router, without an answer."""
        arguments = {"host": self._host, "states": dict(states)}
        self._client.cast(admin_context(), "update_ha_routers_states", version="1.5", **arguments)

    def update_all_ha_network_port_statuses(self) -> None:
        """Report the HA ports of this node down, until its L2 agent reports them (since Pike)."""
        self._call_if_supported("update_all_ha_network_port_statuses", "1.10", host=self._host)

    # Distributed routers

    def get_ports_by_subnet(self, subnet_id: str) -> list[dict[str, Any]]:
        """Return the ports with an address in a subnet."""
        return list(self._call("get_ports_by_subnet", "1.2", host=self._host, subnet_id=subnet_id))

    def get_agent_gateway_port(self, network_id: str) -> dict[str, Any]:
        """Return the port of this node on an external network; the server creates it if it does not exist."""
        port: dict[str, Any] = self._call("get_agent_gateway_port", "1.2", network_id=network_id, host=self._host)
        return port

    def delete_agent_gateway_port(self, network_id: str) -> None:
        """Delete the port of this node on an external network, in the server."""
        self._call("delete_agent_gateway_port", "1.7", host=self._host, network_id=network_id)

    def get_networks(
        self, filters: Mapping[str, Any] | None = None, fields: list[str] | None = None
    ) -> list[dict[str, Any]]:
        """Return networks; none from a server without that method (before Train)."""
        return list(self._call_if_supported("get_networks", "1.12", filters=filters, fields=fields) or [])

    def _call(self, method: str, version: str, **arguments: Any) -> Any:
        return self._client.call(admin_context(), method, version=version, **arguments)

    def _call_if_supported(self, method: str, version: str, **arguments: Any) -> Any:
        """Call a method that old servers lack; return None if the server lacks it."""
        if method in self._unsupported:
            return None
        try:
            return self._call(method, version, **arguments)
        except RemoteError as error:
            if not is_unknown_method(error):
                raise
            LOG.info("The server does not support %s (%s); it is not called again", method, version)
            self._unsupported.add(method)
            return None
