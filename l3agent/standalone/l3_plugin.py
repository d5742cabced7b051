# SPDX-License-Identifier: Apache-2.0
"""The L3 plug-in of the server: bindings of routers to agents, payloads, statuses of floating IPs.

Independent of files and transports: :mod:`l3agent.standalone.endpoints` serves it over RPC and
:mod:`l3agent.standalone.standalone_service` follows the file. No method blocks.

Scheduling: a router is bound to the agent that its ``agent`` key names, else to the alive agent with the fewest
routers, at the latest when an agent requests its routers. The binding persists while that agent is dead; to move a
router, name another agent in the file.
"""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from l3agent.exceptions import AgentNotFoundByTypeHost
from l3agent.standalone.entities import Association, Router, Topology
from l3agent.standalone.router_payload import Payload, router_payload

AGENT_TYPE = "L3 agent"

#: Seconds without a report after which an agent is considered dead; Neutron's ``agent_down_time`` has the same default.
AGENT_DOWN_TIME_S = 75.0


@dataclass(slots=True)
class Agent:
    """An agent that has reported.

    :param reported_at: time of the last report, on the monotonic clock.
    """

    host: str
    reported_at: float
    configurations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A cast to agents.

    :param method: ``routers_updated``, ``router_deleted`` or ``router_removed_from_agent``.
    :param host: the agent; None: all agents.
    """

    method: str
    host: str | None
    router_id: str


class Plugin:
    """State of the server for one topology.

    :param agent_down_time: seconds.
    :param bindings: host by router id, from an earlier run.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        agent_down_time: float = AGENT_DOWN_TIME_S,
        bindings: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topology = topology
        self.agents: dict[str, Agent] = {}
        self.bindings: dict[str, str] = {}
        self._routers = {router.id: router for router in topology.routers}
        self._statuses: dict[tuple[str, Association], str] = {}
        self._down_time = agent_down_time
        self._clock = clock
        self._started = clock()
        self._bind_all(bindings or {})

    # Agents

    def report_state(self, state: Mapping[str, Any], sent: datetime.datetime) -> str | None:
        """Record the report of an agent; return its former status: ``new``, ``alive`` or ``revived``.

        An agent that started before this server is ``revived`` too, because it must resynchronize in both cases.

        :param state: the reported state.
        :param sent: time of the report, UTC without a time zone.
        :returns: None if the report is older than this server, so that it was sent to its predecessor.
        :raises KeyError: an identifying key is missing.
        """
        host, agent_type = state["host"], state["agent_type"]
        _ = state["binary"], state["topic"]
        if self._is_older_than_server(sent):
            return None
        known = self.agents.get(host)
        alive = known is not None and self._is_alive(known)
        if agent_type == AGENT_TYPE:
            self.agents[host] = Agent(host, self._clock(), dict(state.get("configurations") or {}))
        if alive:
            return "alive"
        return "new" if known is None and state.get("start_flag") else "revived"

    def _is_older_than_server(self, sent: datetime.datetime) -> bool:
        """Return True if a report is older than this server.

        Ages are compared, not times of day: otherwise a clock that is set meanwhile would make all reports old.
        """
        age = (datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - sent).total_seconds()
        return age > self._clock() - self._started

    def _is_alive(self, agent: Agent) -> bool:
        return self._clock() - agent.reported_at <= self._down_time

    # Routers

    def router_ids(self, host: str) -> list[str]:
        """Schedule unbound routers; return the ids of the routers bound to an agent.

        :returns: an empty list for an agent that has not reported.
        """
        if host not in self.agents:
            return []
        for router_id in sorted(self._routers.keys() - self.bindings.keys()):
            self._schedule(router_id)
        return sorted(router_id for router_id, owner in self.bindings.items() if owner == host)

    def routers(self, host: str, router_ids: Iterable[str] | None = None) -> list[Payload]:
        """Return the payloads of the routers bound to an agent, except administratively down ones.

        :param router_ids: the requested routers; None: all routers bound to the agent.
        :raises AgentNotFoundByTypeHost: the agent has not reported.
        """
        if host not in self.agents:
            raise AgentNotFoundByTypeHost(f"Agent with agent_type={AGENT_TYPE} and host={host} could not be found")
        requested = self.router_ids(host) if router_ids is None else router_ids
        found = (self._routers[router_id] for router_id in requested if self.bindings.get(router_id) == host)
        return [self._payload(router, host) for router in found if router.admin_state_up]

    def _payload(self, router: Router, host: str) -> Payload:
        return router_payload(
            router, host=host, status=lambda association: self.floating_ip_status(router.id, association)
        )

    def _schedule(self, router_id: str) -> str | None:
        alive = [agent.host for agent in self.agents.values() if self._is_alive(agent)]
        load = Counter(self.bindings.values())
        host = min(alive, key=lambda name: (load[name], name), default=None)
        if host is not None:
            self.bindings[router_id] = host
        return host

    def _bind_all(self, former: Mapping[str, str]) -> None:
        """Bind each router to the agent that its description names, else keep its former binding."""
        kept = {router_id: host for router_id, host in former.items() if router_id in self._routers}
        pinned = {router.id: router.agent for router in self._routers.values() if router.agent is not None}
        self.bindings = kept | pinned

    # Floating IPs

    def set_floating_ip_statuses(self, router_id: str, statuses: Mapping[str, str]) -> None:
        """Record the statuses of the floating IPs of a router; unknown ids are ignored."""
        router = self._routers.get(router_id)
        for association in router.floating_ips if router else ():
            if association.id in statuses:
                self._statuses[router_id, association] = str(statuses[association.id])

    def floating_ip_status(self, router_id: str, association: Association) -> str:
        """Return the last reported status; ``DOWN`` before the first report for this association on this router."""
        return self._statuses.get((router_id, association), "DOWN")

    # Change

    def replace(self, topology: Topology) -> list[Change]:
        """Serve another topology from now on.

        :returns: the casts that notify the agents.
        """
        before, owners = self._routers, self.bindings
        self.topology = topology
        self._routers = {router.id: router for router in topology.routers}
        self._bind_all(owners)
        current = {(router.id, association) for router in topology.routers for association in router.floating_ips}
        self._statuses = {key: status for key, status in self._statuses.items() if key in current}
        changes = [Change("router_deleted", None, router_id) for router_id in before if router_id not in self._routers]
        for router_id, router in self._routers.items():
            changes += self._changes_of(router, before.get(router_id), owners.get(router_id))
        return changes

    def _changes_of(self, router: Router, before: Router | None, owner: str | None) -> list[Change]:
        host = self.bindings.get(router.id) or self._schedule(router.id)
        moved = owner is not None and host != owner
        changes = [Change("router_removed_from_agent", owner, router.id)] if moved else []
        if host is not None and (moved or router != before):
            changes.append(Change("routers_updated", host, router.id))
        return changes
