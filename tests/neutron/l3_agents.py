# SPDX-License-Identifier: Apache-2.0
"""The two L3 agents of the bed: ours, and Neutron's own. They have the same host, so only one may run at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from l3agent.exceptions import TransientError
from l3agent.ops.control_client import CONTROL_SOCKET, call_agent
from tests.neutron.files import Deployment
from tests.neutron.programs import Program
from tests.neutron.servers import agent
from tests.support.processes import SCRIPTS
from tests.support.sandbox import Sandbox
from tests.support.waiting import poll

BINARY = "neutron-l3-agent"


class L3Agent(Program):
    """``l3-agent``, with the files of Neutron's agent."""

    def __init__(self, sandbox: Sandbox, folder: Path, deployment: Deployment) -> None:
        self._socket_path = str(deployment.state_path / CONTROL_SOCKET)
        arguments = deployment.write(folder / "etc-l3-agent", "neutron.conf", "l3_agent.ini")
        super().__init__("l3-agent", [str(SCRIPTS / "l3-agent"), *arguments], sandbox=sandbox, folder=folder)

    def status(self) -> dict[str, Any]:
        """Return what the control socket says; an empty map while it is not there."""
        self.must_run()
        try:
            return call_agent(self._socket_path, {"op": "status"})
        except TransientError:
            return {}

    def wait_in_sync(self, timeout: float = 240) -> dict[str, Any]:
        """Wait for a complete full sync with nothing left to do, and return the status."""
        return poll(lambda: status if _in_sync(status := self.status()) else None, timeout)


def peer(sandbox: Sandbox, folder: Path, deployment: Deployment) -> Program:
    """Return Neutron's own L3 agent."""
    return agent(BINARY, "l3_agent.ini", sandbox, folder, deployment)


def _in_sync(status: dict[str, Any]) -> bool:
    return bool(status) and bool(status["in_sync"]) and not any(status["queue"].values())
