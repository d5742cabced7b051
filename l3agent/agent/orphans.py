# SPDX-License-Identifier: Apache-2.0
"""Orphans: namespaces of routers that the server does not name and this agent has not served.

Each full sync finds them. They are removed at once, after a grace period, or never, and listed until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Set


class Orphans:
    """Decides which orphans may be removed now.

    :param grace_period: seconds from the full sync that finds an orphan to its removal; negative: never removed.
    :param clock: monotonic seconds.
    """

    def __init__(self, *, grace_period: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.grace_period = grace_period
        self._clock = clock
        self._found: dict[str, float] = {}

    def find_expired(self, orphans: Set[str]) -> set[str]:
        """Return the orphans whose grace period has expired; record new orphans, discard the records of former ones.

        :param orphans: all orphans that a complete full sync found.
        """
        now = self._clock()
        self._found = {one: self._found.get(one, now) for one in orphans}
        if self.grace_period < 0:
            return set()
        return {one for one, since in self._found.items() if now - since >= self.grace_period}

    def discard(self, removed: Set[str]) -> None:
        """Discard the records of orphans that are removed now."""
        for one in removed:
            self._found.pop(one, None)

    def ages(self) -> dict[str, float]:
        """Return the seconds since each remaining orphan was found, by id."""
        now = self._clock()
        return {one: now - since for one, since in self._found.items()}
