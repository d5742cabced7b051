# SPDX-License-Identifier: Apache-2.0
"""A table of checks that grows while a person looks on: a row a check, with what was seen and how long it took.

On a terminal the check at work is shown until its row replaces it; elsewhere there are plain lines only.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from l3agent.exceptions import L3AgentError

_CHECK_WIDTH = 44
_SEEN_WIDTH = 62
_GREEN, _RED, _DIM, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


class CheckFailed(L3AgentError):
    """What was seen is not what should be."""


class Row:
    """The check at work; what ends up in its row."""

    def __init__(self) -> None:
        self.seen = ""
        self.details: list[str] = []
        self.started = time.monotonic()
        self.took: float | None = None

    def expect(self, holds: object, seen: str) -> None:
        """Note what was seen.

        :raises CheckFailed: it does not hold.
        """
        if not holds:
            raise CheckFailed(seen)
        self.seen = seen

    def fail(self, reason: str) -> None:
        """Note what went wrong; a long story gets a line of its own."""
        self.seen, self.details = (reason, []) if len(reason) <= _SEEN_WIDTH else ("see below", [reason])


class Table:
    """Rows of checks, printed one by one; ``failed`` names those that did not pass."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._live = out.isatty()
        self._colour = self._live and "NO_COLOR" not in os.environ
        self.total = 0
        self.failed: list[str] = []

    def title(self, text: str) -> None:
        """Begin a group of checks."""
        self._line("")
        self._line(f"{text:<{_CHECK_WIDTH + 6}}{'SEEN':<{_SEEN_WIDTH}}{'TIME':>9}")

    def say(self, *lines: str) -> None:
        """Print lines that are no checks."""
        for line in lines:
            self._line(line)

    @contextmanager
    def check(self, name: str) -> Iterator[Row]:
        """Print the row of a check when the block ends; a failed one is noted and the next may go on."""
        row = Row()
        self.total += 1
        if self._live:
            self._out.write(f"  ...   {name}")
            self._out.flush()
        try:
            yield row
        except L3AgentError as exc:
            self.failed.append(name)
            row.fail(str(exc))
            verdict = self._paint(_RED, "FAIL")
        else:
            verdict = self._paint(_GREEN, " ok ")
        took = time.monotonic() - row.started if row.took is None else row.took
        self._clear()
        self._line(f"{verdict}  {name:<{_CHECK_WIDTH}}{row.seen:<{_SEEN_WIDTH}}{_duration(took):>9}")
        for detail in row.details:
            self._line(self._paint(_DIM, f"        {detail}"))

    def _line(self, text: str) -> None:
        self._out.write(text.rstrip() + "\n")
        self._out.flush()

    def _clear(self) -> None:
        if self._live:
            self._out.write("\r\x1b[K")

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour else text


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
