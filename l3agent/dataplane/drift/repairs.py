# SPDX-License-Identifier: Apache-2.0
"""Schedules drift checks, backing off when another program keeps undoing our repairs."""

from __future__ import annotations

import logging
from collections.abc import Container, Sequence
from dataclasses import dataclass

from l3agent.model.states import Key

LOG = logging.getLogger(__name__)

#: Seconds within which a repeated repair counts as flapping: another program reverts it.
_MEMORY_S = 30.0
#: Repeats of a repair without a pause; further ones wait for a pause that doubles between these bounds, in seconds.
_MAX_IMMEDIATE = 3
_PAUSE_MIN_S, _PAUSE_MAX_S = 0.5, 60.0
#: Seconds after which a due observation precedes the next request.
_MAX_DELAY_S = 0.05


@dataclass(slots=True)
class _Flapping:
    """A repair that another program keeps reverting."""

    operations: frozenset[str]
    times: int
    last: float
    pause: float = 0.0


class Repairs:
    """Due times of keys and the record of repairs. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._flapping: dict[Key, _Flapping] = {}
        self.observations = 0
        self.repaired = 0

    def mark(self, key: Key, now: float) -> None:
        """Schedule an observation of a key, after the back-off of a flapping repair."""
        flapping = self._flapping.get(key)
        self._due.setdefault(key, now if flapping is None else max(now, flapping.last + flapping.pause))

    def clear(self, key: Key) -> None:
        """Remove the mark of a key whose observation begins."""
        self._due.pop(key, None)

    def forget(self, key: Key) -> None:
        """Remove a key that is no longer managed, with the record of its repairs."""
        self._due.pop(key, None)
        self._flapping.pop(key, None)

    def wait(self, now: float, busy: Container[Key] = ()) -> float | None:
        """Return the seconds until something is due, None when nothing is marked.

        :param busy: keys whose marks do not count, since a request for them is under way.
        """
        first = self._first(busy)
        return None if first is None else max(0.0, self._due[first] - now)

    def is_overdue(self, now: float, busy: Container[Key] = ()) -> bool:
        """Return True if a due observation has waited so long that requests must wait for it."""
        first = self._first(busy)
        return first is not None and self._due[first] < now - _MAX_DELAY_S

    def next_due(self, now: float, busy: Container[Key] = ()) -> Key | None:
        """Return the key with the earliest due time and remove its mark; None if none is due."""
        key = self._first(busy)
        if key is None or self._due[key] > now:
            return None
        del self._due[key]
        self.observations += 1
        return key

    def record_result(self, key: Key, operations: Sequence[str], error: str | None, now: float) -> None:
        """Record the result of an observation: no difference, a repair, or a failure, retried after a pause."""
        if not operations and error is None:
            return
        name = " ".join(key)
        flapping = self._flapping[key] = self._count_repeat(key, frozenset(operations), now)
        if error is None:
            self.repaired += 1
            LOG.warning("%s: changed by another program; repaired: %s", name, "; ".join(operations))
        if error is not None or flapping.times >= _MAX_IMMEDIATE:
            flapping.pause = min(max(2 * flapping.pause, _PAUSE_MIN_S), _PAUSE_MAX_S)
        if error is not None:
            LOG.warning("%s: cannot be repaired: %s; next attempt in %g s", name, error, flapping.pause)
            self.mark(key, now)
        elif flapping.pause:
            LOG.warning(
                "%s: the same drift was repaired %d times; another program keeps reverting it; next repair in %g s",
                name,
                flapping.times,
                flapping.pause,
            )

    def _first(self, busy: Container[Key]) -> Key | None:
        """Return the key with the earliest due time, busy ones left out."""
        if not self._due:
            return None
        due = self._due.__getitem__
        first = min(self._due, key=due)
        # After lost events all states are due, and few of them are busy.
        return first if first not in busy else min((key for key in self._due if key not in busy), key=due, default=None)

    def _count_repeat(self, key: Key, operations: frozenset[str], now: float) -> _Flapping:
        flapping = self._flapping.get(key)
        if (
            flapping is None
            or now > flapping.last + flapping.pause + _MEMORY_S
            or (operations and not operations & flapping.operations)
        ):
            return _Flapping(operations, 1, now)
        return _Flapping(operations, flapping.times + 1, now, flapping.pause)
