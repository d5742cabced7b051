# SPDX-License-Identifier: Apache-2.0
"""The server's side of L3, small: which agent has which router, what routers look like, how floating IPs do.

Knows neither files nor transports: :mod:`l3agent.standalone.endpoints` puts it on the wire and
:mod:`l3agent.standalone.standalone_service` follows the file. Every method answers at once.

Scheduling, as simple as it can be: a router goes to the agent that its ``agent`` key names, else to the living agent
with the fewest routers, at the latest when an agent asks for its routers. There it stays, also while that agent is
dead; to move it, name another agent in the file.
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

#: Seconds without a report after which an agent counts as dead; Neutron's ``agent_down_time`` has the same default.
AGENT_DOWN_TIME_S = 75.0


@dataclass(slots=True)
class Agent:
    """An agent that has reported.

    :param seen: when it did last, on the monotonic clock.
    """

    host: str
    seen: float
    configurations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A message that the agents need.

    :param method: ``routers_updated``, ``router_deleted`` or ``router_removed_from_agent``.
    :param host: whom to tell; None: all agents.
    """

    method: str
    host: str | None
    router_id: str


class Plugin:
    """Serves one topology.

    :param agent_down_time: seconds.
    :param bindings: which agent has which router (host by router id), from an earlier run.
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
        """Take the report of an agent and say what it was until now: ``new``, ``alive`` or ``revived``.

        An agent that has run for a while is ``revived`` too when this server is the one that started anew: either way
        it must ask for everything again.

        :param state: what the agent says of itself.
        :param sent: when, UTC without a time zone.
        :returns: None when the report is older than this server and so was sent to its predecessor.
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
        """Compare ages, not times of day: a clock that is set meanwhile must not make every report look old."""
        age = (datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - sent).total_seconds()
        return age > self._clock() - self._started

    def _is_alive(self, agent: Agent) -> bool:
        return self._clock() - agent.seen <= self._down_time

    # Routers

    def router_ids(self, host: str) -> list[str]:
        """Return the ids of the routers of an agent; routers without one are scheduled first.

        :returns: nothing for an agent that has not reported.
        """
        if host not in self.agents:
            return []
        for router_id in sorted(self._routers.keys() - self.bindings.keys()):
            self._schedule(router_id)
        return sorted(router_id for router_id, owner in self.bindings.items() if owner == host)

    def routers(self, host: str, router_ids: Iterable[str] | None = None) -> list[Payload]:
        """Return those routers that an agent should have now; one that is administratively down is not among them.

        :param router_ids: None: all of this agent.
        :raises AgentNotFoundByTypeHost: the agent has not reported.
        """
        if host not in self.agents:
            raise AgentNotFoundByTypeHost(f"Agent with agent_type={AGENT_TYPE} and host={host} could not be found")
        wanted = self.router_ids(host) if router_ids is None else router_ids
        found = (self._routers[router_id] for router_id in wanted if self.bindings.get(router_id) == host)
        return [self._payload(router, host) for router in found if router.admin_state_up]

    def _payload(self, router: Router, host: str) -> Payload:
        return router_payload(router, host=host, status=lambda pair: self.floating_ip_status(router.id, pair))

    def _schedule(self, router_id: str) -> str | None:
        living = [agent.host for agent in self.agents.values() if self._is_alive(agent)]
        load = Counter(self.bindings.values())
        host = min(living, key=lambda name: (load[name], name), default=None)
        if host is not None:
            self.bindings[router_id] = host
        return host

    def _bind_all(self, former: Mapping[str, str]) -> None:
        """Keep each router with its agent, or bring it to the one its description names."""
        kept = {router_id: host for router_id, host in former.items() if router_id in self._routers}
        pinned = {router.id: router.agent for router in self._routers.values() if router.agent is not None}
        self.bindings = kept | pinned

    # Floating IPs

    def set_floating_ip_statuses(self, router_id: str, statuses: Mapping[str, str]) -> None:
        """Remember what an agent says of the floating IPs of a router; ids the router does not have are ignored."""
        router = self._routers.get(router_id)
        for pair in router.floating_ips if router else ():
            if pair.id in statuses:
                self._statuses[router_id, pair] = str(statuses[pair.id])

    def floating_ip_status(self, router_id: str, pair: Association) -> str:
        """Return the last status; ``DOWN`` until one is reported for this address behind this router."""
        return self._statuses.get((router_id, pair), "DOWN")

    # Change

    def replace(self, topology: Topology) -> list[Change]:
        """Serve another topology from now on.

        :returns: what the agents must be told.
        """
        before, owners = self._routers, self.bindings
        self.topology = topology
        self._routers = {router.id: router for router in topology.routers}
        self._bind_all(owners)
        current = {(router.id, pair) for router in topology.routers for pair in router.floating_ips}
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
