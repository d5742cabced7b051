# SPDX-License-Identifier: Apache-2.0
"""Orphans: namespaces of routers that neither the server names nor this agent has served.

They are found at every full sync. They go at once, after a time of grace, or never, and are listed until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Set


class Orphans:
    """Decides which of the orphans may go now.

    :param grace: seconds from the full sync that found one to its removal; negative: none is ever removed.
    :param clock: monotonic seconds.
    """

    def __init__(self, *, grace: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.grace = grace
        self._clock = clock
        self._found: dict[str, float] = {}

    def may_go(self, orphans: Set[str]) -> set[str]:
        """Return those whose time is over; those that are no orphans any more are forgotten.

        :param orphans: all that a complete full sync found.
        """
        now = self._clock()
        self._found = {one: self._found.get(one, now) for one in orphans}
        if self.grace < 0:
            return set()
        return {one for one, since in self._found.items() if now - since >= self.grace}

    def forget(self, gone: Set[str]) -> None:
        """List those no more that are removed now."""
        for one in gone:
            self._found.pop(one, None)

    def ages(self) -> dict[str, float]:
        """Return for how many seconds each that is still here has been known, by id."""
        now = self._clock()
        return {one: now - since for one, since in self._found.items()}
