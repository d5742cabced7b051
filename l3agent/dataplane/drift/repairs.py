# SPDX-License-Identifier: Apache-2.0
"""Schedules drift checks, backing off when another program keeps undoing our repairs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from l3agent.model.states import Key

LOG = logging.getLogger(__name__)

#: A repair that repeats one of the last this many seconds is part of a fight with another program.
_MEMORY_S = 30.0
#: So often the same is repaired at once; from then on with a pause that doubles between these bounds, in seconds.
_AT_ONCE = 3
_PAUSE_MIN_S, _PAUSE_MAX_S = 0.5, 60.0
#: Seconds after which a look that is due comes before the next request.
_PATIENCE_S = 0.05


@dataclass(slots=True)
class _Fight:
    """The same repair again and again."""

    operations: frozenset[str]
    times: int
    last: float
    pause: float = 0.0


class Repairs:
    """Marks of keys and the record of what was repaired. Times are those of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._fights: dict[Key, _Fight] = {}
        self.looks = 0
        self.repaired = 0

    def mark(self, key: Key, now: float) -> None:
        """Something happened to a key."""
        fight = self._fights.get(key)
        self._due.setdefault(key, now if fight is None else max(now, fight.last + fight.pause))

    def unmark(self, key: Key) -> None:
        """A key is being looked at."""
        self._due.pop(key, None)

    def forget(self, key: Key) -> None:
        """A key is not wanted any more."""
        self._due.pop(key, None)
        self._fights.pop(key, None)

    def wait(self, now: float) -> float | None:
        """Return the seconds until something is due, None when nothing is marked."""
        return max(0.0, min(self._due.values()) - now) if self._due else None

    def overdue(self, now: float) -> bool:
        """Tell whether something waits for so long that requests must wait for it."""
        return bool(self._due) and min(self._due.values()) < now - _PATIENCE_S

    def take(self, now: float) -> Key | None:
        """Return the key that is due for the longest time, and forget its mark; None when nothing is due."""
        key = min(self._due, key=self._due.__getitem__, default=None)
        if key is None or self._due[key] > now:
            return None
        del self._due[key]
        self.looks += 1
        return key

    def done(self, key: Key, operations: Sequence[str], error: str | None, now: float) -> None:
        """Record what a look led to: nothing, a repair, or a failure, which is tried again after a pause."""
        if not operations and error is None:
            return
        name = " ".join(key)
        fight = self._fights[key] = self._continued(key, frozenset(operations), now)
        if error is None:
            self.repaired += 1
            LOG.warning("%s: somebody changed it; repaired: %s", name, "; ".join(operations))
        if error is not None or fight.times >= _AT_ONCE:
            fight.pause = min(max(2 * fight.pause, _PAUSE_MIN_S), _PAUSE_MAX_S)
        if error is not None:
            LOG.warning("%s: cannot be repaired: %s; tried again in %g s", name, error, fight.pause)
            self.mark(key, now)
        elif fight.pause:
            LOG.warning(
                "%s: somebody undoes the same repair again and again (%d times); the next one waits %g s",
                name,
                fight.times,
                fight.pause,
            )

    def _continued(self, key: Key, operations: frozenset[str], now: float) -> _Fight:
        fight = self._fights.get(key)
        if (
            fight is None
            or now > fight.last + fight.pause + _MEMORY_S
            or (operations and not operations & fight.operations)
        ):
            return _Fight(operations, 1, now)
        return _Fight(operations, fight.times + 1, now, fight.pause)
