# SPDX-License-Identifier: Apache-2.0
"""Routers made by the real data-plane process, asked through its socket as the agent asks it: one request a router."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgpack

from l3agent.model.names import BRIDGE_DEVICE, TAP_DEVICE
from l3agent.model.states import FloatingIP, RouterState
from l3agent.model.wire import pack_state

_ANSWER_S = 60
_START_S = 15


class DataplaneProcess:
    """``l3-dataplane``, all else at its defaults."""

    name = "l3agent"
    tribe = 0
    traces = (f"{TAP_DEVICE}{tribe:02x}",)
    leftovers = (f"{BRIDGE_DEVICE}{tribe:02x}",)

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._frames = msgpack.Unpacker(raw=False)

    def start(self, _: Iterable[RouterState]) -> None:
        """Start the process in the namespaces of the caller and connect."""
        folder = Path(tempfile.mkdtemp(prefix="bench-", dir="/run"))
        configuration = folder / "dataplane.conf"
        configuration.write_text(f"[DEFAULT]\nstate_path = {folder}\n")
        argv = [sys.executable, "-m", "l3agent.cmd.dataplane", "--config-file", str(configuration)]
        self._process = subprocess.Popen([*argv, "--exit-with-client"], stdin=subprocess.DEVNULL)
        self._socket = _connected(str(folder / "l3-dataplane.sock"))

    def cpu(self) -> float:
        """Return the CPU seconds of the process so far, all threads, user and system.

        The number of the clock is what clock_getcpuclockid(3) returns for a process.
        """
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def resident_mb(self, *, peak: bool = False) -> float:
        """Return the resident memory of the process in MB (10^6 bytes), now or at its peak."""
        name = "VmHWM:" if peak else "VmRSS:"
        status = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        (kibibytes,) = (line.split()[1] for line in status if line.startswith(name))
        return int(kibibytes) * 1024 / 1e6

    # ---- the operations: the same call for all ---------------------------------------------------------------

    def build(self, router: RouterState) -> Mapping[str, float]:
        """Make a router where there is none."""
        return self._reconcile(router.id, router)

    def look(self, router: RouterState) -> Mapping[str, float]:
        """Find that a router is as it should be."""
        return self._reconcile(router.id, router, operations=0)

    def add(self, router: RouterState, _: FloatingIP) -> Mapping[str, float]:
        """Bring one more floating IP: two map elements and an address."""
        return self._reconcile(router.id, router, operations=3)

    def remove(self, router: RouterState, _: FloatingIP) -> Mapping[str, float]:
        """Take one floating IP away with its flows."""
        return self._reconcile(router.id, router, operations=3)

    def delete(self, router: RouterState) -> Mapping[str, float]:
        """Remove a router; what is left to do for the kernel goes on afterwards."""
        return self._reconcile(router.id, None)

    def _reconcile(
        self, router_id: str, router: RouterState | None, operations: int | None = None
    ) -> Mapping[str, float]:
        wire = pack_state(("router", router_id), router)
        (report,) = self._request("reconcile", {"states": [wire], "dry_run": False})
        if report["error"] or operations not in (None, len(report["operations"])):
            raise RuntimeError(f"router {router_id}: {report['error']}; {report['operations']}")
        timings: Mapping[str, float] = report["timings"]
        return timings

    def _request(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        self._socket.sendall(msgpack.packb((next(self._ids), operation, arguments)))
        while data := self._socket.recv(1 << 18):
            self._frames.feed(data)
            for _, error, result in self._frames:
                if error:
                    raise RuntimeError(f"{operation}: {error}")
                return result
        raise RuntimeError("l3-dataplane hung up")


def _connected(path: str) -> socket.socket:
    deadline = time.monotonic() + _START_S
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            connection.settimeout(_ANSWER_S)
            return connection
        except OSError as exc:
            connection.close()
            if time.monotonic() > deadline:
                raise RuntimeError(f"l3-dataplane does not listen after {_START_S} s") from exc
        time.sleep(0.02)
