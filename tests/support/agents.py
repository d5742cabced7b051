# SPDX-License-Identifier: Apache-2.0
"""Types of the fixtures that create agents and their services."""

from __future__ import annotations

from collections.abc import Callable

from l3agent.agent.l3_agent import L3NATAgent
from l3agent.service import Service
from l3agent.testing import FakeDataplane, FakePlugin

MakeAgent = Callable[[], L3NATAgent]
ServiceOf = Callable[[L3NATAgent], Service]
#: An agent that is not started, its server and its data plane.
Node = tuple[L3NATAgent, FakePlugin, FakeDataplane]
