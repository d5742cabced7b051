# SPDX-License-Identifier: Apache-2.0
"""Runs the real ``l3-agent`` as a child process and reads its control socket; for the demo and for tests.

The process is started by its command line, as an operator starts it; this module imports no part of the agent.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from l3agent.exceptions import L3AgentError, TransientError
from l3agent.ops.control_client import CONTROL_SOCKET, call_agent

_POLL_S = 0.01


class DaemonFailed(L3AgentError):
    """The agent ended, or did not reach a state within the deadline."""


class Daemon:
    """One ``l3-agent`` with its state in ``folder``.

    :param config_files: passed as ``--config-file``, in this order.
    """

    def __init__(self, folder: Path, config_files: Collection[Path]) -> None:
        self.socket = str(folder / CONTROL_SOCKET)
        self.log = folder / "l3-agent.log"
        self._argv = [sys.executable, "-m", "l3agent"]
        for path in config_files:
            self._argv += ["--config-file", str(path)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; its output is appended to ``log``."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        """End the process by ``SIGKILL`` and wait for it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def status(self) -> dict[str, Any]:
        """Return the status of the agent.

        :raises TransientError: its control socket does not exist yet.
        """
        return call_agent(self.socket, {"op": "status"})

    def wait(self, state: str, is_reached: Callable[[dict[str, Any]], bool], timeout: float) -> dict[str, Any]:
        """Poll the status until ``is_reached`` returns True for it; return that status.

        :param state: name of the awaited state, for the error message.
        :raises DaemonFailed: the process ended, or ``timeout`` seconds passed.
        """
        deadline = time.monotonic() + timeout
        status: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                status = self.status()
                if is_reached(status):
                    return status
            except TransientError:
                self._require_alive()
            time.sleep(_POLL_S)
        raise DaemonFailed(f"not {state} after {timeout:.0f} s: {_summary(status)}")

    def wait_in_sync(self, routers: Collection[str], timeout: float) -> dict[str, Any]:
        """Wait until exactly the routers with these names are active and in sync."""
        return self.wait("in sync", lambda status: is_in_sync(status, routers), timeout)

    def wait_updated(self, router: str, since: float, timeout: float) -> dict[str, Any]:
        """Wait until the router named ``router`` was processed after ``since`` (monotonic); return its entry."""
        status = self.wait(
            f"updated ({router})",
            lambda status: (
                any((entry["updated_at"] or 0.0) > since for entry in routers_named(status, router)) and is_idle(status)
            ),
            timeout,
        )
        return routers_named(status, router)[0]

    def kill_dataplane(self) -> int:
        """End the data-plane process by ``SIGKILL``; return its pid."""
        pid = int(self.status()["dataplane"]["pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    def log_tail(self, count: int = 15) -> list[str]:
        """Return the last ``count`` lines of the log."""
        return self.log.read_text(errors="replace").splitlines()[-count:] if self.log.exists() else []

    def _require_alive(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise DaemonFailed(f"l3-agent ended with status {self._process.returncode}")


def routers_named(status: dict[str, Any], router: str) -> list[dict[str, Any]]:
    """Return the entries of a status for the routers with this name."""
    return [entry for entry in status["routers"].values() if entry["name"] == router]


def is_idle(status: dict[str, Any]) -> bool:
    """Return True if no update waits, is processed or is due for a retry."""
    return not any(status["queue"].values())


def is_in_sync(status: dict[str, Any], routers: Collection[str]) -> bool:
    """Return True if exactly the routers with these names are active and no work is left."""
    entries = status["routers"].values()
    return (
        bool(status["in_sync"])
        and is_idle(status)
        and bool(status["dataplane"]["connected"])
        and {entry["name"] for entry in entries} == set(routers)
        and all(entry["state"] == "active" for entry in entries)
    )


def _summary(status: dict[str, Any]) -> str:
    if not status:
        return "its control socket does not answer"
    errors = {entry["error"] for entry in status["routers"].values() if entry["error"]}
    return "; ".join([f"in_sync {status['in_sync']}", f"queue {status['queue']}", *sorted(errors)])
