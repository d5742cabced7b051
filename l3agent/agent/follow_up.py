# SPDX-License-Identifier: Apache-2.0
"""Follow-up full syncs after an answer that may be wrong: soon at first, then with exponential back-off."""

from __future__ import annotations

#: Seconds: the longest delay where no periodic full sync is configured.
_DELAY_MAX_S = 3600.0


class FollowUp:
    """Delay until the next full sync that verifies a suspicious answer.

    :param first: seconds until the first follow-up; doubled after each.
    :param periodic: seconds between periodic full syncs, which replace follow-ups as rare as themselves; 0: none.
    """

    def __init__(self, *, first: float, periodic: float) -> None:
        self._first = first
        self._longest = periodic or _DELAY_MAX_S
        #: Seconds from the last full sync to the next follow-up; None if none is due.
        self.delay: float | None = None

    def update(self, *, is_suspicious: bool, found_new: bool) -> None:
        """Set the delay after a full sync.

        :param is_suspicious: its answer removed many routers, or had invalid elements.
        :param found_new: its answer named routers that were not here; the server has recovered.
        """
        if is_suspicious:
            self.delay = self._first if self.delay is None else self.delay * 2
        elif found_new or self.delay is None:
            self.delay = None
        else:
            self.delay *= 2
        if self.delay is not None and self.delay > self._longest:
            self.delay = None
