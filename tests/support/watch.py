# SPDX-License-Identifier: Apache-2.0
"""What happens in a namespace while a test does something: ``ip monitor``, ``nft monitor``, ``tcpdump``.

None of these programs says when it listens, so a watch makes events of its own, the marks: it begins when the first
mark is seen and ends when the last is. No time has to be waited out.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from tests.support.sandbox import Inside, Sandbox
from tests.support.waiting import poll

#: How ``nft monitor`` says that a batch was committed.
GENERATION = "# new generation"
#: Without ``neigh``: the kernel collects garbage of all namespaces when its one table of neighbours has many entries.
_OBJECTS = ("link", "address", "route", "mroute", "prefix", "netconf", "rule", "nsid", "nexthop")
_TIMEOUT_S = 60
_marks = itertools.count(1)


class Program:
    """A program whose output is read while it runs."""

    def __init__(self, sandbox: Sandbox, command: list[str], netns: str | None) -> None:
        # A file, for a full pipe would stop the program.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: Inside = sandbox.popen(
            ["stdbuf", "-oL", *command],
            netns=netns,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def lines(self) -> list[str]:
        """Return the complete lines so far."""
        # The processes share the file offset: with a seek of this one, the program would overwrite its own lines.
        descriptor = self._output.fileno()
        written = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        return written[: written.rfind(b"\n") + 1].decode().splitlines()

    def close(self) -> None:
        """End it."""
        if self._process.entrance.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.entrance.wait(_TIMEOUT_S)
        self._output.close()


class Events:
    """Lines of a monitor between two marks."""

    def __init__(self, program: Program, mark: Callable[[str], None]) -> None:
        self._program = program
        self._mark = mark
        self._first = self._listening()

    def so_far(self) -> list[str]:
        """Return what was seen until now, marks left out."""
        self._mark(last := _name())  # one only: the lines of a second would be taken for what happened
        poll(partial(self._seen_twice, last), timeout=_TIMEOUT_S)
        lines = self._program.lines()
        # A mark comes and goes: the first went with the last line that names it.
        begin = max(at for at, line in enumerate(lines) if self._first in line) + 1
        end = min(at for at, line in enumerate(lines) if last in line)
        found = [line for line in lines[begin:end] if line.strip()]
        # nft says a generation after each batch, that of the mark too.
        return found[1:] if found and found[0].startswith(GENERATION) else found

    def _listening(self) -> str:
        """Make marks until one is seen, and return that."""
        deadline = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < deadline:
            self._mark(name := _name())
            with suppress(TimeoutError):
                return poll(partial(self._seen_twice, name), timeout=0.05)
        raise TimeoutError(f"no mark was seen: {self._program.lines()}")

    def _seen_twice(self, name: str) -> str:
        return name if sum(name in line for line in self._program.lines()) >= 2 else ""


def _name() -> str:
    return f"{30000 + next(_marks)}"


@contextmanager
def ip_events(sandbox: Sandbox, netns: str | None = None) -> Iterator[Events]:
    """Watch links, addresses, routes, rules and settings of a namespace."""

    def mark(name: str) -> None:
        for verb in ("add", "delete"):
            sandbox.run(["ip", "rule", verb, "priority", name, "lookup", name], netns=netns)

    program = Program(sandbox, ["ip", "monitor", "label", *_OBJECTS], netns)
    try:
        yield Events(program, mark)
    finally:
        program.close()


@contextmanager
def nft_events(sandbox: Sandbox, netns: str) -> Iterator[Events]:
    """Watch the rules of a namespace."""

    def mark(name: str) -> None:
        for verb in ("add", "delete"):
            sandbox.run(["nft", verb, "table", "ip6", f"mark{name}"], netns=netns)

    program = Program(sandbox, ["nft", "monitor"], netns)
    try:
        yield Events(program, mark)
    finally:
        program.close()


@contextmanager
def capture(sandbox: Sandbox, device: str, expression: str, netns: str | None = None) -> Iterator[Program]:
    """Watch frames on a device, one line a frame, checksums verified."""
    program = Program(
        sandbox, ["tcpdump", "-l", "-nn", "-e", "-v", "--immediate-mode", "-i", device, expression], netns
    )
    try:
        poll(lambda: any("listening on" in line for line in program.lines()), timeout=_TIMEOUT_S)
        yield program
    finally:
        program.close()
