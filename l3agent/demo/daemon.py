# SPDX-License-Identifier: Apache-2.0
"""The real ``l3-agent`` as a child process, watched through its control socket: for the demo and for tests.

It is started the way an operator starts it, by its command line; nothing of it is imported here.
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
from l3agent.ops.control_client import CONTROL_SOCKET, ask_agent

_LOOK_S = 0.01


class DaemonFailed(L3AgentError):
    """The agent ended, or did not get where it should within the deadline."""


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
        """Start the process; its output goes to ``log``, after what is there."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        """End the process by ``SIGKILL`` and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def status(self) -> dict[str, Any]:
        """Return what the control socket says.

        :raises TransientError: it is not there yet.
        """
        return ask_agent(self.socket, {"op": "status"})

    def wait(self, what: str, reached: Callable[[dict[str, Any]], bool], timeout: float) -> dict[str, Any]:
        """Look at the status until ``reached`` says yes, and return it.

        :param what: is awaited, for the message.
        :raises DaemonFailed: the process ended, or ``timeout`` seconds went by.
        """
        deadline = time.monotonic() + timeout
        status: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                status = self.status()
                if reached(status):
                    return status
            except TransientError:
                self._must_live()
            time.sleep(_LOOK_S)
        raise DaemonFailed(f"not {what} after {timeout:.0f} s: {_summary(status)}")

    def wait_in_sync(self, routers: Collection[str], timeout: float) -> dict[str, Any]:
        """Wait until the routers with these names, and no others, are as they should be."""
        return self.wait("in sync", lambda status: in_sync(status, routers), timeout)

    def wait_updated(self, router: str, since: float, timeout: float) -> dict[str, Any]:
        """Wait until the router named ``router`` was processed after ``since`` (monotonic); return its entry."""
        status = self.wait(
            f"updated ({router})",
            lambda status: any((r["updated_at"] or 0.0) > since for r in named(status, router)) and idle(status),
            timeout,
        )
        return named(status, router)[0]

    def kill_dataplane(self) -> int:
        """End the data-plane process by ``SIGKILL``; return the pid it had."""
        pid = int(self.status()["dataplane"]["pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    def last_lines(self, count: int = 15) -> list[str]:
        """Return the end of the log."""
        return self.log.read_text(errors="replace").splitlines()[-count:] if self.log.exists() else []

    def _must_live(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise DaemonFailed(f"l3-agent ended with status {self._process.returncode}")


def named(status: dict[str, Any], router: str) -> list[dict[str, Any]]:
    """Return the entries of a status for the routers of this name."""
    return [entry for entry in status["routers"].values() if entry["name"] == router]


def idle(status: dict[str, Any]) -> bool:
    """Say whether nothing waits, is processed or will be tried again."""
    return not any(status["queue"].values())


def in_sync(status: dict[str, Any], routers: Collection[str]) -> bool:
    """Say whether exactly these routers are active and nothing is left to do."""
    entries = status["routers"].values()
    return (
        bool(status["in_sync"])
        and idle(status)
        and bool(status["dataplane"]["connected"])
        and {entry["name"] for entry in entries} == set(routers)
        and all(entry["state"] == "active" for entry in entries)
    )


def _summary(status: dict[str, Any]) -> str:
    if not status:
        return "its control socket does not answer"
    errors = {entry["error"] for entry in status["routers"].values() if entry["error"]}
    return "; ".join([f"in_sync {status['in_sync']}", f"queue {status['queue']}", *sorted(errors)])
