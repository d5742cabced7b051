# SPDX-License-Identifier: Apache-2.0
"""The doubt about an answer that would wipe the node: an agent's row deleted, a database restored, a filter gone wrong.

Such an answer looks like any other. What it would remove is held until a second answer, some time later, says the same.
What the server says of one router by name (deleted, taken away) is never doubted.

Review: can a wrong answer cost more routers than the bound? Does a right one get its way in the end?
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Set


class MassDelete:
    """Decides which of the routers that the server does not name any more may go now.

    :param share: of the routers here that may go unasked, 0 to 1; one router always may, unless it is all there is.
    :param confirm: seconds between an answer in doubt and the one that confirms it; 0: nothing is doubted.
    :param clock: monotonic seconds.
    """

    def __init__(self, *, share: float, confirm: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.confirm = confirm
        #: Routers held, with the time they were missed first.
        self.held: dict[str, float] = {}
        #: How many answers were doubted since the start of the process.
        self.doubted = 0
        self._share = share
        self._clock = clock
        self._let_go: deque[float] = deque()

    def may_go(self, gone: Set[str], here: int) -> Set[str]:
        """Return those of the missing routers that may be removed; the others are held.

        :param gone: what a complete answer about this node does not name.
        :param here: how many routers are here.
        """
        if not self.confirm or not self.is_mass_deletion(len(gone), here):
            self.held = {}
            return gone
        now = self._clock()
        self.held = {router_id: self.held.get(router_id, now) for router_id in gone}
        confirmed = {router_id for router_id, since in self.held.items() if now - since >= self.confirm}
        for router_id in confirmed:
            del self.held[router_id]
        self.doubted += bool(self.held)
        return confirmed

    def is_mass_deletion(self, gone: int, here: int) -> bool:
        """Return True if removing so many of the routers here exceeds the bound, or removes all of them."""
        return gone > 0 and (gone > self._bound(here) or gone >= here)

    def one_may_go(self, here: int) -> bool:
        """Tell whether a router may go that was asked for by name and not found, or too many went that way of late."""
        now = self._clock()
        while self._let_go and now - self._let_go[0] >= self.confirm:
            self._let_go.popleft()
        if self.confirm and len(self._let_go) >= self._bound(here):
            return False
        self._let_go.append(now)
        return True

    def _bound(self, here: int) -> int:
        return max(1, math.floor(self._share * here))
