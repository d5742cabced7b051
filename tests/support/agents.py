# SPDX-License-Identifier: Apache-2.0
"""Agents with a fake server and a fake data plane: types of their fixtures, states in the fake data plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from l3agent.agent.composition import compose
from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.agent.l3_agent import L3NATAgent
from l3agent.agent.operator_actions import OperatorActions
from l3agent.agent.routers import Dataplane
from l3agent.agent.view import AgentView
from l3agent.model.states import NamespaceState
from l3agent.service import Service
from l3agent.testing import FakeDataplane, FakePlugin


class OpenAgent(L3NATAgent):
    """An agent whose parts are attributes, for tests that change or read them."""

    def __init__(self, conf: Any, host: str, *, dataplane: Dataplane, transport: Any) -> None:
        super().__init__(conf, host, compose(conf, host, dataplane=dataplane, transport=transport))
        records = self.parts.records
        self.queue, self.full_sync, self.results = records.queue, records.sync_requests, records.results
        self.orphans, self.mass_delete_guard = records.orphans, records.mass_delete_guard
        self.plugin, self.routers, self.in_flight = self.parts.plugin, self.parts.routers, self.parts.in_flight
        self.maintenance, self.router_info = self.parts.maintenance, self.parts.routers.info
        self.view, self.actions = AgentView(self), OperatorActions(self)


MakeAgent = Callable[[], OpenAgent]
ServiceOf = Callable[[L3NATAgent], Service]
#: An agent that is not started, its server and its data plane.
Node = tuple[OpenAgent, FakePlugin, FakeDataplane]

#: Differs from each state that an agent requests.
FOREIGN_STATE: Any = object()


def router_state(dataplane: FakeDataplane, router_id: str) -> NamespaceState:
    """Return the state of a router in the data plane.

    :raises KeyError: there is none.
    """
    return cast(NamespaceState, dataplane.states["router", router_id])


def as_client(dataplane: FakeDataplane) -> DataplaneClient:
    """Return the data plane as the type that status and metrics require."""
    return cast(DataplaneClient, dataplane)
