# SPDX-License-Identifier: Apache-2.0
"""Routers of the real data-plane process, by requests through its socket like those of the agent: one per router."""

from __future__ import annotations

import atexit
import itertools
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack

from l3agent.model.names import TAP_DEVICE, namespace_name
from l3agent.model.states import FloatingIP, NamespaceState
from l3agent.model.wire import pack_state
from tests.bench.canonical import seed

_ANSWER_S = 60
_START_S = 15


class DataplaneProcess:
    """``l3-dataplane``, all else at its defaults.

    :param tribe: see :mod:`tests.bench.canonical`; two processes beside each other have two.
    :param options: lines of the section ``[dataplane]``.
    :param switch: address of the database of Open vSwitch; None for Linux bridges.
    """

    leftovers = ()

    def __init__(
        self, name: str = "l3agent", tribe: int = 0, options: Sequence[str] = (), switch: str | None = None
    ) -> None:
        self.name, self.tribe, self._options, self._switch = name, tribe, options, switch
        self.traces = (f"{TAP_DEVICE}{tribe:02x}",)
        self._ids = itertools.count(1)
        self._frames = msgpack.Unpacker(raw=False)

    def start(self, routers: Iterable[NamespaceState] = ()) -> None:
        """Start the process in the namespaces of the caller, connect, and have the networks of some routers there."""
        folder = Path(tempfile.mkdtemp(prefix="bench-", dir="/run"))
        self._configuration = configuration = folder / "dataplane.conf"
        section = "\n".join(
            ("[dataplane]", f"netns_path = {folder}/netns", "allow_private_netns_path = true", *self._options)
        )
        driver = "bridge" if self._switch is None else "openvswitch"
        database = f"[OVS]\novsdb_connection = {self._switch}\n" if self._switch else ""
        configuration.write_text(
            f"[DEFAULT]\nstate_path = {folder}\ninterface_driver = {driver}\n{section}\n{database}"
        )
        self._argv = [sys.executable, "-m", "l3agent.cmd.dataplane", "--config-file", str(configuration)]
        self._path = str(folder / "l3-dataplane.sock")
        self._begin()
        if routers := list(routers):
            self.build(seed(routers))

    def restart(self, *options: str) -> None:
        """Kill the process and start another one on the same namespaces, with more lines of ``[dataplane]``."""
        with self._configuration.open("a") as file:
            file.writelines(f"{line}\n" for line in options)
        self._socket.close()
        self._process.kill()
        self._process.wait()
        self._begin()

    def reconnect(self) -> None:
        """Connect as another client, like an agent that was restarted."""
        self._socket.close()
        self._frames = msgpack.Unpacker(raw=False)
        self._socket = _connected(self._path)

    def cpu(self) -> float:
        """Return the CPU seconds of the process so far, all threads, user and system.

        The number of the clock is what clock_getcpuclockid(3) returns for a process.
        """
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def stats(self) -> Mapping[str, Any]:
        """Return the counters of the process."""
        self._socket.sendall(msgpack.packb((next(self._ids), "stats", {})))
        counters: Mapping[str, Any] = self._answer()
        return counters

    def resident_mb(self, *, peak: bool = False) -> float:
        """Return the resident memory of the process in MB (10^6 bytes), now or at its peak."""
        name = "VmHWM:" if peak else "VmRSS:"
        status = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        (kibibytes,) = (line.split()[1] for line in status if line.startswith(name))
        return int(kibibytes) * 1024 / 1e6

    # ---- the operations: the same call for all ---------------------------------------------------------------

    def build(self, router: NamespaceState) -> Mapping[str, float]:
        """Make a router where there is none."""
        return self._reconcile(router.id, router)

    def look(self, router: NamespaceState) -> Mapping[str, float]:
        """Find that a router is as it should be."""
        return self._reconcile(router.id, router, operations=0)

    def add(self, router: NamespaceState, _: FloatingIP) -> Mapping[str, float]:
        """Bring one more floating IP: two map elements, an address, and a deletion of conntrack entries."""
        return self._reconcile(router.id, router, operations=4)

    def remove(self, router: NamespaceState, _: FloatingIP) -> Mapping[str, float]:
        """Take one floating IP away with its flows."""
        return self._reconcile(router.id, router, operations=5)

    def delete(self, router: NamespaceState) -> Mapping[str, float]:
        """Remove a router; what is left to do for the kernel goes on afterwards."""
        return self._reconcile(router.id, None)

    def bring(
        self, routers: Sequence[NamespaceState], *, at_a_time: int, operations: int | None = None, absent: bool = False
    ) -> list[Mapping[str, float]]:
        """Apply or remove routers with ``at_a_time`` requests under way; return the phases of each."""
        waiting = [self._frame(one.id, None if absent else one) for one in reversed(routers)]
        phases: list[Mapping[str, float]] = []
        under_way = 0
        while waiting or under_way:
            while waiting and under_way < at_a_time:
                self._socket.sendall(waiting.pop())
                under_way += 1
            (report,) = self._answer()
            under_way -= 1
            phases.append(_checked(report, operations))
        return phases

    def pin(self, router: NamespaceState) -> Path:
        """Return the file of the namespace of a router."""
        return Path(self._path).parent / "netns" / namespace_name(*router.key)

    def descriptors(self) -> int:
        """Return how many descriptors the process has open."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    # ---- private ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL)
        atexit.register(self._process.kill)
        self._socket = _connected(self._path)
        self._frames = msgpack.Unpacker(raw=False)

    def _reconcile(
        self, router_id: str, router: NamespaceState | None, operations: int | None = None
    ) -> Mapping[str, float]:
        self._socket.sendall(self._frame(router_id, router))
        (report,) = self._answer()
        return _checked(report, operations)

    def _frame(self, router_id: str, router: NamespaceState | None) -> bytes:
        wire = pack_state(("router", router_id), router)
        # As the agent does: it keeps the first lines of a plan.
        frame: bytes = msgpack.packb((next(self._ids), "reconcile", {"states": [wire], "lines": 10}))
        return frame

    def _answer(self) -> Any:
        for _, error, result in self._frames:
            return _result(error, result)
        while data := self._socket.recv(1 << 18):
            self._frames.feed(data)
            for _, error, result in self._frames:
                return _result(error, result)
        raise RuntimeError("l3-dataplane hung up")


def _result(error: object, result: Any) -> Any:
    if error:
        raise RuntimeError(f"l3-dataplane: {error}")
    return result


def _checked(report: Mapping[str, Any], operations: int | None) -> Mapping[str, float]:
    if report["error"] or operations not in (None, report["count"]):
        raise RuntimeError(f"router {report['id']}: {report['error']}; {report['operations']}")
    timings: Mapping[str, float] = report["timings"]
    return timings


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
