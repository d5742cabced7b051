# SPDX-License-Identifier: Apache-2.0
"""RPC endpoints of the server: names, arguments and versions of the neutron-server methods that L3 agents call.

Source: neutron ``api/rpc/handlers/l3_rpc.py`` (``L3RpcCallback`` 1.13) and ``db/agents_db.py``
(``AgentExtRpcCallback`` 1.4). A call of a method of DVR or prefix delegation fails with ``NoSuchMethod``.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import oslo_messaging
from oslo_log import log as logging

from l3agent.exceptions import AgentNotFoundByTypeHost
from l3agent.rpc import Target
from l3agent.standalone.l3_plugin import Plugin
from l3agent.standalone.router_payload import Payload, network_payload, ports_of_subnet

LOG = logging.getLogger(__name__)

#: Topics that the server consumes.
L3_TOPIC = "q-l3-plugin"
REPORTS_TOPIC = "q-reports-plugin"


class L3Endpoint:
    """Serves topic ``q-l3-plugin``."""

    target = Target(version="1.13")

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    def get_router_ids(self, context: Any, host: str) -> list[str]:
        """Return the ids of the routers of an agent."""
        return self._plugin.router_ids(host)

    @oslo_messaging.expected_exceptions(AgentNotFoundByTypeHost)  # type: ignore[untyped-decorator]
    def sync_routers(self, context: Any, host: str, router_ids: list[str] | None = None, **_: Any) -> list[Payload]:
        """Return the payloads of the requested routers that are bound to an agent.

        :raises AgentNotFoundByTypeHost: the agent has not reported yet.
        """
        return self._plugin.routers(host, router_ids)

    def update_floatingip_statuses(self, context: Any, router_id: str, fip_statuses: Mapping[str, str]) -> None:
        """Record the statuses of the floating IPs of a router."""
        self._plugin.set_floating_ip_statuses(router_id, fip_statuses)

    def get_ports_by_subnet(self, context: Any, subnet_id: str, **_: Any) -> list[Payload]:
        """Return the ports with an address in a subnet."""
        return ports_of_subnet(self._plugin.topology, subnet_id)

    def get_service_plugin_list(self, context: Any, **_: Any) -> list[str]:
        """Return the names of the service plug-ins."""
        return ["CORE", "L3_ROUTER_NAT"]

    def get_host_ha_router_count(self, context: Any, host: str) -> int:
        """Return 0: a topology file describes legacy routers only."""
        return 0

    def update_ha_routers_states(self, context: Any, host: str, states: Mapping[str, str]) -> None:
        """Ignore state changes of HA routers: a topology file has none."""

    def update_all_ha_network_port_statuses(self, context: Any, host: str) -> None:
        """Ignore the statuses of HA ports: a topology file has none."""

    def get_networks(
        self, context: Any, filters: Mapping[str, list[Any]] | None = None, fields: list[str] | None = None
    ) -> list[Payload]:
        """Return networks.

        :param filters: allowed values by key; a network must match all of them.
        :param fields: keys to return; None or empty: all.
        """
        networks = map(network_payload, self._plugin.topology.networks)
        return [
            {key: value for key, value in network.items() if not fields or key in fields}
            for network in networks
            if all(network.get(key) in values for key, values in (filters or {}).items())
        ]


class ReportsEndpoint:
    """Serves topic ``q-reports-plugin``."""

    target = Target(version="1.4")

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    def report_state(self, context: Any, agent_state: Mapping[str, Any], time: str, **_: Any) -> str | None:
        """Record a state report of an agent.

        :param agent_state: a dict whose key ``agent_state`` holds the state.
        :param time: when it was sent, UTC.
        :returns: ``new``, ``alive`` or ``revived``; None for a report sent before this server started.
        """
        state = agent_state["agent_state"]
        status = self._plugin.report_state(state, datetime.datetime.fromisoformat(time))
        if status in ("new", "revived"):
            LOG.info("%s on %s reports: %s", state["agent_type"], state["host"], status)
        return status

    def has_alive_neutron_server(self, context: Any, **_: Any) -> bool:
        """Return True: the server that answers is alive."""
        return True
