# SPDX-License-Identifier: Apache-2.0
"""A machine of its own for one test: network, mount and process namespaces (and a user namespace without root).

Its init is a ``cat`` on a pipe of ours. When the pipe closes, because we close it or because we die, init ends and the
kernel ends everything inside. Files are those of the machine, but /run is empty and /proc is the sandbox's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

# The ignored SIGCHLD outlives exec: the kernel then buries the orphans that init inherits.
_INIT = """
mount -t tmpfs tmpfs /run && mkdir -p /run/netns && ip link set lo up || exit 1
# As `ip netns` leaves it, and as a container must have it.
mount --bind /run/netns /run/netns && mount --make-shared /run/netns || exit 1
trap '' CHLD
echo ready
exec cat > /dev/null
"""

#: User and group of an agent that has no privilege.
NOBODY = 65534


#: Seconds that the kernel may take to end what is inside; it takes apart some hundred namespaces a second.
_END_S = 120


class SandboxError(Exception):
    """The machine does not let us have a sandbox, or a command in it failed."""


class Sandbox:
    """A running sandbox; use it as a context manager."""

    def __init__(self) -> None:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self._unshare = subprocess.Popen(
            [
                "unshare",
                *user,
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                _INIT,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._unshare.stdout is not None and self._unshare.stderr is not None
        if self._unshare.stdout.readline() != "ready\n":
            raise SandboxError(self._unshare.stderr.read().strip() or "init did not start")
        (self.init_pid,) = children(self._unshare.pid)
        self._enter = ["nsenter", f"--target={self.init_pid}", "--net", "--mount", "--pid"]
        if user:
            self._enter += ["--user", "--preserve-credentials"]

    def close(self) -> None:
        """End everything inside, with the namespaces."""
        assert self._unshare.stdin is not None
        self._unshare.stdin.close()
        self._unshare.wait(_END_S)
        for stream in (self._unshare.stdout, self._unshare.stderr):
            assert stream is not None
            stream.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def argv(self, command: list[str], netns: str | None = None) -> list[str]:
        """Return the command as it must be started from outside."""
        inner = [] if netns is None else ["nsenter", f"--net=/run/netns/{netns}"]
        return [*self._enter, *inner, *command]

    def run(
        self, command: list[str], *, netns: str | None = None, input: str | None = None, timeout: float = 60
    ) -> str:
        """Run a command to its end and return what it wrote.

        :raises SandboxError: it failed; the message has its output.
        """
        done = subprocess.run(
            self.argv(command, netns), capture_output=True, text=True, timeout=timeout, input=input, check=False
        )
        if done.returncode:
            raise SandboxError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip() or done.stdout}")
        return done.stdout

    def json(self, command: str, *, netns: str | None = None) -> Any:
        """Run a command that answers in JSON, such as ``ip -j addr``; no output at all is an empty list."""
        return json.loads(self.run(command.split(), netns=netns) or "[]")

    def popen(self, command: list[str], *, netns: str | None = None, **options: Any) -> Inside:
        """Start a command and leave it running."""
        return Inside(subprocess.Popen(self.argv(command, netns), **options))

    def namespaces(self) -> set[str]:
        """Name the network namespaces that are pinned in /run/netns."""
        return set(self.run(["ls", "/run/netns"]).split())


class Inside:
    """A process in a sandbox. ``nsenter`` stands between it and us, and passes its exit status on."""

    def __init__(self, entrance: subprocess.Popen[Any]) -> None:
        self.entrance = entrance

    @property
    def stdin(self) -> IO[Any]:
        """Its standard input, if that is a pipe."""
        assert self.entrance.stdin is not None
        return self.entrance.stdin

    @property
    def stdout(self) -> IO[Any]:
        """Its standard output, if that is a pipe."""
        assert self.entrance.stdout is not None
        return self.entrance.stdout

    @property
    def pid(self) -> int:
        """The process id, as this side of the sandbox sees it."""
        return children(self.entrance.pid)[0]

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself."""
        os.kill(self.pid, number)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have it stand still."""
        self.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            # nsenter stops with what it started.
            for pid in (self.pid, self.entrance.pid):
                os.kill(pid, signal.SIGCONT)

    def kill(self, timeout: float = 10) -> None:
        """End it with SIGKILL and wait until it is gone."""
        if self.entrance.poll() is None:
            self.send_signal(signal.SIGKILL)
        self.entrance.wait(timeout)

    def wait(self, timeout: float = 10) -> int:
        """Wait for the end and return the exit status."""
        return self.entrance.wait(timeout)


def children(pid: int) -> list[int]:
    """Return the children of a process with one thread."""
    with open(f"/proc/{pid}/task/{pid}/children") as listing:
        return [int(word) for word in listing.read().split()]


def end_group(process: subprocess.Popen[Any], timeout: float) -> None:
    """Ask the process group that a process leads to end, and wait until it and all of its descendants have.

    :raises TimeoutError: somebody is left.
    """
    family = _family(process.pid)
    _signal((pid for pid, group in family.items() if group == process.pid), signal.SIGTERM)
    _wait_gone(process, family, timeout)


def kill_family(process: subprocess.Popen[Any], timeout: float = 10) -> None:
    """Kill a process with its group and all of its descendants, whatever sessions they have made for themselves.

    :raises TimeoutError: somebody is left.
    """
    family = _family(process.pid)
    _signal(family, signal.SIGKILL)
    _wait_gone(process, family, timeout)


def _family(leader: int) -> dict[int, int]:
    """Return the living members of a process's group and its descendants, by process id: the group of each.

    ``nsenter`` is left out. Signalled, it would leave the program that it waits for to an init that may not bury it;
    left alone, it ends with the program.
    """
    living = _processes()
    family = {pid for pid, (_, group, _) in living.items() if pid == leader or group == leader}
    while more := {pid for pid, (parent, _, _) in living.items() if parent in family} - family:
        family |= more
    return {pid: living[pid][1] for pid in family if living[pid][2] != "nsenter"}


def _processes() -> dict[int, tuple[int, int, str]]:
    """Return parent, group and command of every process that is no zombie."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, _, rest = path.read_text().partition(" (")
            command, _, fields = rest.rpartition(") ")
            state, parent, group = fields.split()[:3]
            if state != "Z":
                found[int(pid)] = int(parent), int(group), command
    return found


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_gone(process: subprocess.Popen[Any], family: Mapping[int, int], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while (left := family.keys() & _processes().keys()) or process.poll() is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"of process {process.pid}, {left} still there after {timeout:g} s")
        time.sleep(0.05)
