# SPDX-License-Identifier: Apache-2.0
"""Contact with the server: since when it has considered this agent alive without interruption.

While the server considers an agent dead it may schedule its routers to other nodes. The payloads that the agent fetched
before such an interruption may be stale.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class ServerContact:
    """Tracks the answers to state reports.

    :param limit: seconds without a report after which the server may consider this agent dead; Neutron requires its
        ``agent_down_time`` to be at least twice the report interval.
    :param clock: monotonic seconds.
    """

    def __init__(self, *, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._since = math.inf
        self._last = -math.inf

    def record(self, answer: str | None, sent: float) -> None:
        """Record the answer to a state report.

        :param answer: ``new``, ``alive``, ``revived``; None if the report failed.
        :param sent: when it was sent, in seconds of the clock.
        """
        if answer is None:
            return
        if answer != "alive" or sent - self._last > self._limit:
            self._since = sent
        self._last = sent

    @property
    def alive_since(self) -> float:
        """Time since which the server has considered this agent alive without interruption; infinite if it may not."""
        return self._since if self._clock() - self._last <= self._limit else math.inf
