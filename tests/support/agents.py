# SPDX-License-Identifier: Apache-2.0
"""Agents with a fake server and a fake data plane: types of their fixtures, states in the fake data plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.agent.l3_agent import L3NATAgent
from l3agent.model.states import NamespaceState
from l3agent.service import Service
from l3agent.testing import FakeDataplane, FakePlugin

MakeAgent = Callable[[], L3NATAgent]
ServiceOf = Callable[[L3NATAgent], Service]
#: An agent that is not started, its server and its data plane.
Node = tuple[L3NATAgent, FakePlugin, FakeDataplane]

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
