# SPDX-License-Identifier: Apache-2.0
"""One request for one state: the lines, counts and times of its report."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from types import TracebackType

from l3agent.dataplane.backend import Observed
from l3agent.dataplane.plan.commands import commands
from l3agent.dataplane.plan.kinds.base import Entry, Operation
from l3agent.dataplane.work.slices import INLINE_ENTRIES
from l3agent.model.names import namespace_name
from l3agent.model.states import Key, Report, State

LOG = logging.getLogger(__name__)


class _Timed:
    """Adds the time of a block to that of a phase, in seconds."""

    def __init__(self, timings: dict[str, float], phase: str) -> None:
        self._timings = timings
        self._phase = phase

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._timings[self._phase] = self._timings.get(self._phase, 0.0) + time.perf_counter() - self._started


class Job:
    """One request for one state; times are in seconds.

    :param state: the desired state, None for its absence.
    :param lines: maximum number of lines of the plan in the report.
    :param turn: its turn (see :class:`l3agent.dataplane.work.turns.Turns`), None where nothing is changed.
    """

    def __init__(self, key: Key, state: State | None, lines: int, turn: object) -> None:
        self.key = key
        self.state = state
        self.turn = turn
        self.namespace = None if key[0] == "network" else namespace_name(*key)
        #: What the kernel should hold, and what it held when it was read last; None before.
        self.observed: tuple[frozenset[Entry], Observed] | None = None
        self.lines: list[str] = []
        self.count = 0
        self.timings: dict[str, float] = {}
        self._max_lines = lines

    @property
    def wants_all_lines(self) -> bool:
        """Return True if long plans are rendered as text in full."""
        return self._max_lines > INLINE_ENTRIES or LOG.isEnabledFor(logging.DEBUG)

    def record(self, operations: Sequence[Operation[Entry]]) -> None:
        """Record operations; only as many of them are rendered as text as the report may have.

        The debug log of this process has all of them, those of repairs included.
        """
        self.count += len(operations)
        audited = LOG.isEnabledFor(logging.DEBUG)
        for operation in operations:
            wanted = len(self.lines) < self._max_lines
            if not wanted and not audited:
                return
            lines = commands(operation, self.namespace)
            self.lines += lines if wanted else ()
            for line in lines if audited else ():
                LOG.debug("%s %s: %s", *self.key, line)

    def timed(self, phase: str) -> _Timed:
        """Add the time of a block to that of a phase."""
        return _Timed(self.timings, phase)

    def report(self, error: str | None) -> Report:
        """Return the report."""
        return Report(*self.key, tuple(self.lines), error, self.timings, self.count)
