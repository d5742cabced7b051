# SPDX-License-Identifier: Apache-2.0
"""A table of checks that grows while they run: one row per check, with what it observed and its duration.

On a terminal the running check is shown until its row replaces it; other outputs get plain lines only.
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
_OBSERVED_WIDTH = 62
_GREEN, _RED, _DIM, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


class CheckFailed(L3AgentError):
    """A check observed another result than the expected one."""


class CheckRow:
    """The result of one check.

    :ivar duration: seconds to print; None: the running time of the check.
    """

    def __init__(self) -> None:
        self.observed = ""
        self.details: list[str] = []
        self.started = time.monotonic()
        self.duration: float | None = None

    def expect(self, holds: object, observed: str) -> None:
        """Record what the check observed.

        :raises CheckFailed: ``holds`` is false.
        """
        if not holds:
            raise CheckFailed(observed)
        self.observed = observed

    def fail(self, reason: str) -> None:
        """Record the reason of a failure; a reason that is wider than the column gets its own line."""
        self.observed, self.details = (reason, []) if len(reason) <= _OBSERVED_WIDTH else ("see below", [reason])


class CheckTable:
    """Prints the rows of checks as they end.

    :ivar total: number of checks begun.
    :ivar failed: names of the checks that failed.
    """

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._is_terminal = out.isatty()
        self._has_colour = self._is_terminal and "NO_COLOR" not in os.environ
        self.total = 0
        self.failed: list[str] = []

    def print_title(self, text: str) -> None:
        """Print the title of a group of checks."""
        self._print_line("")
        self._print_line(f"{text:<{_CHECK_WIDTH + 6}}{'OBSERVED':<{_OBSERVED_WIDTH}}{'TIME':>9}")

    def print_lines(self, *lines: str) -> None:
        """Print lines outside of the table."""
        for line in lines:
            self._print_line(line)

    @contextmanager
    def check(self, name: str) -> Iterator[CheckRow]:
        """Run the block as a check and print its row; an :class:`L3AgentError` fails the check and is not raised."""
        row = CheckRow()
        self.total += 1
        if self._is_terminal:
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
        duration = time.monotonic() - row.started if row.duration is None else row.duration
        self._clear_line()
        self._print_line(
            f"{verdict}  {name:<{_CHECK_WIDTH}}{row.observed:<{_OBSERVED_WIDTH}}{_format_seconds(duration):>9}"
        )
        for detail in row.details:
            self._print_line(self._paint(_DIM, f"        {detail}"))

    def _print_line(self, text: str) -> None:
        self._out.write(text.rstrip() + "\n")
        self._out.flush()

    def _clear_line(self) -> None:
        if self._is_terminal:
            self._out.write("\r\x1b[K")

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._has_colour else text


def _format_seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
