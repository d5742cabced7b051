# SPDX-License-Identifier: Apache-2.0
"""Server, broker, agent, data plane and kernel together, with the captured router."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.kernel import RouterFacts, observed
from tests.support.neutron_server import NeutronServer
from tests.support.payloads import legacy_payload
from tests.support.processes import Agent, Dataplane, Options
from tests.support.rabbit import Rabbit

HOST = "node1"
ROUTER = legacy_payload()["id"]


class Cloud:
    """Server, broker, agent and data plane together."""

    def __init__(self, server: NeutronServer, agent: Agent, dataplane: Dataplane) -> None:
        self.server = server
        self.agent = agent
        self.dataplane = dataplane
        self.sandbox = dataplane.sandbox

    def facts(self, router_id: str = ROUTER) -> RouterFacts:
        return observed(self.sandbox, f"qrouter-{router_id}")

    def put(self, router: dict[str, Any]) -> dict[str, Any]:
        """Change a router as a user of the API does, and wait until the agent has processed the cast."""
        before = self._updates(router["id"])
        self.server.put(router)
        return self.agent.wait_for(lambda status: self._updates(router["id"], status) > before and _idle(status))

    def _updates(self, router_id: str, status: dict[str, Any] | None = None) -> int:
        known = (status or self.agent.status())["routers"].get(router_id)
        return known["updates"] if known else 0


def _idle(status: dict[str, Any]) -> bool:
    return not status["queue"]["waiting"] and not status["queue"]["processing"]


def options(rabbit: Rabbit, dataplane: Dataplane, folder: Path) -> Options:
    return {
        "DEFAULT": {
            "host": HOST,
            "state_path": folder,
            "transport_url": rabbit.url,
            "debug": True,
            "rpc_response_timeout": 10,
            "periodic_interval": 1,
            "periodic_fuzzy_delay": 0,
        },
        "AGENT": {"report_interval": 5},
        "dataplane": {"spawn_dataplane": False, "socket": dataplane.socket_path},
        "l3agent": {"resync_jitter": 0.1, "mass_delete_confirm_interval": 1},
    }


def assert_same(found: RouterFacts, expected: RouterFacts) -> None:
    """Compare subject by subject, so that a failure names the one that differs."""
    for subject in vars(expected):
        assert getattr(found, subject) == getattr(expected, subject), subject
