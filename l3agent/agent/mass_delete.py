# SPDX-License-Identifier: Apache-2.0
"""Mass-deletion guard: hold removals until a second answer confirms them.

An answer that would wipe the node (the agent's row deleted, a database restored, a wrong filter) has the form of any
other. Its removals are held until a later answer confirms them. Notifications that name one router
(deleted, unscheduled) are not held.

Review: can a wrong answer cost more routers than the bound? Is a correct one applied in the end?
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Set


class MassDeleteGuard:
    """Decides which of the routers that the server no longer names may be removed now.

    :param share: of the local routers that may be removed without confirmation, 0 to 1; a single router always may,
        unless it is the only one.
    :param confirm_interval: seconds between a suspicious answer and its confirmation; 0 disables the guard.
    :param clock: monotonic seconds.
    """

    def __init__(self, *, share: float, confirm_interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.confirm_interval = confirm_interval
        #: Held routers, with the time at which an answer first left them out.
        self.held: dict[str, float] = {}
        #: Suspicious answers since the start of the process.
        self.suspected_answers = 0
        self._share = share
        self._clock = clock
        self._removals: deque[float] = deque()

    def filter(self, missing: Set[str], local: int) -> Set[str]:
        """Return the missing routers that may be removed now; hold the others.

        :param missing: local routers that a complete answer does not name.
        :param local: number of local routers.
        """
        if not self.confirm_interval or not self.is_suspicious(len(missing), local):
            self.held = {}
            return missing
        now = self._clock()
        self.held = {router_id: self.held.get(router_id, now) for router_id in missing}
        confirmed = {router_id for router_id, since in self.held.items() if now - since >= self.confirm_interval}
        for router_id in confirmed:
            del self.held[router_id]
        self.suspected_answers += bool(self.held)
        return confirmed

    def is_suspicious(self, removals: int, local: int) -> bool:
        """Return True if an answer removes more of the local routers than the bound, or all of them."""
        return removals > 0 and (removals > self._bound(local) or removals >= local)

    def allow_one(self, local: int) -> bool:
        """Return True if a single missing router may be removed now; False once the removal budget is used up."""
        now = self._clock()
        while self._removals and now - self._removals[0] >= self.confirm_interval:
            self._removals.popleft()
        if self.confirm_interval and len(self._removals) >= self._bound(local):
            return False
        self._removals.append(now)
        return True

    def _bound(self, local: int) -> int:
        return max(1, math.floor(self._share * local))
