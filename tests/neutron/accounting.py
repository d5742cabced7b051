# SPDX-License-Identifier: Apache-2.0
"""What a program and everything it starts, whatever becomes of its parents, costs: CPU, memory, processes started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import poll

#: Where control groups of version 2 are mounted: alone, or beside version 1.
_MOUNTS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
# The process events connector (linux/cn_proc.h, linux/connector.h).
_NETLINK_CONNECTOR, _CN_IDX_PROC, _CN_VAL_PROC = 11, 1, 1
_LISTEN, _IGNORE, _FORK = 1, 2, 1
_NLMSG_DONE = 3
_HEADERS = struct.Struct("=IHHII IIIIHH")
_EVENT = struct.Struct("=IIQ")
_FORKED = struct.Struct("=IIII")
_SO_RCVBUFFORCE = 33
_BUFFER = 16 << 20


@dataclass(frozen=True)
class Usage:
    """What was used so far.

    :param cpu: seconds, user and system.
    :param started: processes, threads not among them.
    """

    cpu: float
    started: int

    def since(self, before: Usage) -> Usage:
        """Return what was used after another time."""
        return Usage(self.cpu - before.cpu, self.started - before.started)


class Account:
    """A control group for one program; use it as a context manager. Needs root.

    :raises RuntimeError: this machine has no control groups of version 2.
    """

    def __init__(self) -> None:
        mount = next((path for path in _MOUNTS if (path / "cgroup.procs").exists()), None)
        if mount is None:
            raise RuntimeError("no control groups of version 2")
        self._group = mount / f"l3agent-bench-{uuid.uuid4().hex[:8]}"
        self._births = _Births()

    def __enter__(self) -> Account:
        self._group.mkdir()
        self._births.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._births.stop()
        for pid in self._members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        poll(lambda: not self._members(), 30)
        self._group.rmdir()

    def argv(self, command: list[str]) -> list[str]:
        """Return a command that enters the group before it becomes the program."""
        return ["sh", "-c", 'echo 0 > "$0" && exec "$@"', str(self._group / "cgroup.procs"), *command]

    def usage(self, root: int) -> Usage:
        """Return what was used so far.

        :param root: the process of which all others in the group descend.
        """
        lines = (self._group / "cpu.stat").read_text().splitlines()
        cpu = int(dict(line.split() for line in lines)["usage_usec"]) / 1e6
        return Usage(cpu, self._births.descendants(root))

    def memory(self) -> dict[str, float]:
        """Return MB of the living: ``rss``, and ``pss``, where what several share counts once."""
        found = {"rss": 0.0, "pss": 0.0}
        for pid in self._members():
            # One that ends just now has none.
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                    name, value = line.split()[:2]
                    if name.lower()[:-1] in found:
                        found[name.lower()[:-1]] += int(value) / 1024
        return found

    def processes(self) -> int:
        """Return how many live."""
        return len(self._members())

    def _members(self) -> list[int]:
        return [int(word) for word in (self._group / "cgroup.procs").read_text().split()]


class _Births:
    """Hears of every process of the machine that is started."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_CONNECTOR)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.bind((0, _CN_IDX_PROC))
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._born: list[tuple[int, int]] = []
        self._stopped = False

    def start(self) -> None:
        self._ask(_LISTEN)
        self._listener.start()

    def stop(self) -> None:
        self._stopped = True
        self._ask(_IGNORE)
        os.waitpid(os.spawnlp(os.P_NOWAIT, "true", "true"), 0)
        self._listener.join(1)
        self._socket.close()

    def descendants(self, root: int) -> int:
        """Count the processes that descend of one; each was started after its parent."""
        family = {root}
        return sum(1 for parent, child in list(self._born) if parent in family and not family.add(child))  # type: ignore[func-returns-value]

    def _ask(self, what: int) -> None:
        size = _HEADERS.size + 4
        header = _HEADERS.pack(size, _NLMSG_DONE, 0, 0, 0, _CN_IDX_PROC, _CN_VAL_PROC, 0, 0, 4, 0)
        self._socket.send(header + struct.pack("=I", what))

    def _listen(self) -> None:
        while not self._stopped:
            data = self._socket.recv(4096)
            if _EVENT.unpack_from(data, _HEADERS.size)[0] != _FORK:
                continue
            _, parent, thread, child = _FORKED.unpack_from(data, _HEADERS.size + _EVENT.size)
            if thread == child:
                self._born.append((parent, child))
