# SPDX-License-Identifier: Apache-2.0
"""Retry heap: failed routers in order of their next attempt, with exponential back-off per router."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason for a retry.

    :param reason: error of the last attempt.
    :param attempts: failed attempts since the last success.
    """

    reason: str
    attempts: int


class _Retry(NamedTuple):
    """The heap entry of a router; the lowest is next."""

    due_at: float
    number: int
    router_id: str


class RetryHeap:
    """The failures of routers, and the times of their retries. Retries never end.

    A router with a failure need not have a retry: a newer update of it may wait for a worker, or it may be suspended.

    :param retry_min: seconds before the first retry of a router; doubled at each failure.
    :param retry_max: upper bound of the back-off, in seconds.
    :param clock: monotonic seconds.
    """

    def __init__(self, *, retry_min: float, retry_max: float, clock: Callable[[], float]) -> None:
        self._retry_min = retry_min
        self._retry_max = retry_max
        self._clock = clock
        self._numbers = itertools.count()
        # A heap entry is valid only while the table beside it holds it: cancelled entries stay until they surface.
        self._heap: list[_Retry] = []
        self._scheduled: dict[str, _Retry] = {}
        self._failures: dict[str, Failure] = {}

    def __len__(self) -> int:
        """Return the number of routers that wait for a retry."""
        return len(self._scheduled)

    def record_failure(self, router_id: str, error: BaseException) -> None:
        """Record a failed attempt."""
        before = self._failures.get(router_id)
        reason = str(error) or type(error).__name__
        self._failures[router_id] = Failure(reason, 1 if before is None else before.attempts + 1)

    def record_success(self, router_id: str) -> None:
        """Discard the failures of a router."""
        self._failures.pop(router_id, None)

    def failures(self) -> dict[str, Failure]:
        """Return the failures of the routers whose last attempt failed, by id."""
        return dict(self._failures)

    def schedule(self, router_id: str) -> None:
        """Schedule the retry of a router with a failure, after its back-off."""
        # The exponent is bounded: 2.0 ** 1024 overflows, after years of failing.
        delay = self._retry_min * 2.0 ** min(self._failures[router_id].attempts - 1, 60)
        retry = _Retry(self._clock() + min(delay, self._retry_max), next(self._numbers), router_id)
        self._scheduled[router_id] = retry
        heapq.heappush(self._heap, retry)

    def cancel(self, router_id: str) -> None:
        """Cancel the retry of a router; keep its failures. Idempotent."""
        self._scheduled.pop(router_id, None)

    def cancel_all(self) -> None:
        """Cancel all retries; keep the failures."""
        self._scheduled.clear()

    def pop_due(self) -> list[str]:
        """Remove the retries that are due; return the ids of their routers, in order."""
        due = []
        while self._heap and self._heap[0].due_at <= self._clock():
            retry = heapq.heappop(self._heap)
            if self._scheduled.get(retry.router_id) is retry:
                del self._scheduled[retry.router_id]
                due.append(retry.router_id)
        return due

    def seconds_to_next(self) -> float | None:
        """Return the seconds until :meth:`pop_due` should run; None if no retry is scheduled."""
        return max(0.0, self._heap[0].due_at - self._clock()) if self._heap else None

    def seconds_to_retry(self, router_id: str) -> float:
        """Return the seconds until the retry of a router; 0 if it is due, or not scheduled."""
        retry = self._scheduled.get(router_id)
        return 0.0 if retry is None else max(0.0, retry.due_at - self._clock())
