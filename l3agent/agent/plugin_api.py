# SPDX-License-Identifier: Apache-2.0
"""What the agent asks the server, on topic ``q-l3-plugin``.

Each method is sent with the lowest version that has it, so that servers of any age understand.
Source: neutron ``api/rpc/handlers/l3_rpc.py``, version history of ``L3RpcCallback``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from l3agent.rpc.context import admin_context

TOPIC = "q-l3-plugin"


class RpcClient(Protocol):
    """What is needed of :class:`l3agent.rpc.transport.Client`."""

    def call(self, context: Any, method: str, /, *, version: str | None = None, **arguments: Any) -> Any:
        """Call a method of the server and return its answer."""


class L3PluginApi:
    """The server's L3 plug-in, as this agent sees it.

    Every method raises :class:`~l3agent.exceptions.PluginUnavailable` when no answer came in time.

    :param client: calls topic ``q-l3-plugin``.
    :param host: name of this node towards the server.
    """

    def __init__(self, client: RpcClient, host: str) -> None:
        self._client = client
        self._host = host

    def get_router_ids(self) -> list[str]:
        """Return the ids of the routers that the server wants on this node; it may schedule some to it now."""
        return list(self._client.call(admin_context(), "get_router_ids", version="1.9", host=self._host))

    def sync_routers(self, router_ids: Iterable[str]) -> list[dict[str, Any]]:
        """Return the payloads of those routers that belong on this node; the server binds their ports to it."""
        return list(
            self._client.call(
                admin_context(), "sync_routers", version="1.0", host=self._host, router_ids=list(router_ids)
            )
        )

    def update_floatingip_statuses(self, router_id: str, statuses: Mapping[str, str]) -> None:
        """Tell the server ``ACTIVE``, ``DOWN`` or ``ERROR`` by id of the floating IP."""
        self._client.call(
            admin_context(),
            "update_floatingip_statuses",
            version="1.1",
            router_id=router_id,
            fip_statuses=dict(statuses),
        )

    def get_service_plugin_list(self) -> list[str]:
        """Return the service plug-ins that the server has loaded."""
        return list(self._client.call(admin_context(), "get_service_plugin_list", version="1.3"))
