# SPDX-License-Identifier: Apache-2.0
"""Registration of this agent in the server: its identity, and the contents of each state report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from oslo_log import log as logging

from l3agent.agent.router_info import RouterInfo
from l3agent.agent.server_contact import ServerContact
from l3agent.exceptions import ServerUnavailable
from l3agent.rpc import StateReporter

LOG = logging.getLogger(__name__)

L3_AGENT_TOPIC = "l3_agent"
#: Names of an L3 agent in the server's table of agents.
BINARY, AGENT_TYPE = "neutron-l3-agent", "L3 agent"
#: Versions of the server's API for state reports: the current one and the oldest. The report is the same.
_VERSIONS = ("1.4", "1.0")


class Registration:
    """Keeps the row of this agent in the server's table alive.

    :param conf: the parsed options.
    :param contact: since when the server has considered this agent alive; the answers to reports are recorded there.
    :param routers: returns the routers of this node.
    :param ha_routers: fetches the number of HA routers of this node; None if the server does not support that.
    :param admin: returns the maintenance state of this node; reported unless it is ``serving``.
    :param on_ha_routers: called before the first report if the node has HA routers.
    :param on_revived: called when the server reports that it had considered this agent dead.
    """

    def __init__(
        self,
        conf: Any,
        host: str,
        transport: Any,
        *,
        contact: ServerContact,
        routers: Callable[[], Iterable[RouterInfo]],
        ha_routers: Callable[[], int | None],
        on_ha_routers: Callable[[], None],
        admin: Callable[[], str],
        on_revived: Callable[[], None],
    ) -> None:
        self._conf = conf
        self._contact = contact
        self._routers = routers
        self._ha_routers = ha_routers
        self._on_ha_routers = on_ha_routers
        self._ha_routers_reported = False
        self._admin = admin
        self._reporter = StateReporter(
            transport,
            host=host,
            binary=BINARY,
            topic=L3_AGENT_TOPIC,
            agent_type=AGENT_TYPE,
            configurations=self._configurations,
            availability_zone=conf.AGENT.availability_zone,
            timeout=conf.AGENT.report_interval,
            versions=_VERSIONS,
            on_revived=on_revived,
        )

    def report(self) -> None:
        """Send a state report."""
        sent = time.monotonic()
        self._contact.record(self._reporter.report(), sent)

    def ensure_registered(self) -> None:
        """Send a state report and require its success: the server hands out routers to registered agents only.

        :raises ServerUnavailable: the server has not accepted a report yet.
        """
        self._report_ha_routers()
        self.report()
        if not self._reporter.is_registered:
            raise ServerUnavailable("the server has not accepted a state report of this agent yet")

    def _report_ha_routers(self) -> None:
        if not self._ha_routers_reported:
            count = self._ha_routers()
            if count:
                self._on_ha_routers()
            self._ha_routers_reported = True
            if count:
                LOG.error("The server has %d HA routers for this node, and this agent serves none: move them", count)

    def _configurations(self) -> dict[str, Any]:
        admin = self._admin()
        return {
            "agent_mode": self._conf.agent_mode,
            "handle_internal_only_routers": self._conf.handle_internal_only_routers,
            "interface_driver": self._conf.interface_driver,
            "log_agent_heartbeats": self._conf.AGENT.log_agent_heartbeats,
            "extensions": [],
            **_counts(self._routers()),
            **({} if admin == "serving" else {"admin": admin}),
        }


def _counts(routers: Iterable[RouterInfo]) -> dict[str, int]:
    states = [info.state for info in routers if info.state is not None]
    return {
        "routers": len(states),
        "ex_gw_ports": sum(state.gateway is not None for state in states),
        "interfaces": sum(len(one.ports) for state in states for one in state.namespaces),
        "floating_ips": sum(len(one.floating_ips) for state in states for one in state.namespaces),
    }
