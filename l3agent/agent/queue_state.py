# SPDX-License-Identifier: Apache-2.0
"""The reading half of the queue: its tables, and questions about them that change nothing.

The states of a router, and which table has it in each state, are in :mod:`l3agent.agent.processing_queue`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection

from l3agent.agent.fetch_window import FetchWindow
from l3agent.agent.resource_update import ResourceUpdate
from l3agent.agent.retry_heap import Failure, RetryHeap
from l3agent.agent.waiting_routers import WaitingRouters


class QueueState:
    """The tables of a queue. Only :class:`~l3agent.agent.processing_queue.ResourceProcessingQueue` changes them.

    :param retry_min: seconds before the first retry of a failed router; doubled at each failure.
    :param retry_max: upper bound of the back-off, in seconds.
    :param clock: monotonic seconds.
    """

    def __init__(self, *, retry_min: float, retry_max: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sequences = itertools.count(1)
        self._pending: dict[str, ResourceUpdate] = {}
        self._processing: dict[str, ResourceUpdate] = {}
        self._waiting = WaitingRouters()
        self._retries = RetryHeap(retry_min=retry_min, retry_max=retry_max, clock=clock)
        self._window = FetchWindow(self._sequences)
        self._suspended: set[str] = set()
        self._closed = False

    # One router

    def is_stale(self, router_id: str, sequence: int) -> bool:
        """Return True if the queue has a newer update of a router, or finished one during a fetch that still lasts."""
        known = (self._pending.get(router_id), self._processing.get(router_id))
        newest = max((update.sequence for update in known if update), default=0)
        return sequence < max(newest, self._window.last_finished(router_id))

    def processing(self, router_id: str) -> ResourceUpdate:
        """Return the update that a worker processes, with the answer that was set since."""
        return self._processing[router_id]

    def is_suspended(self, router_id: str) -> bool:
        """Return True if no worker may start this router: it is suspended, or the queue is closed."""
        return self._closed or router_id in self._suspended

    def is_processing(self, router_id: str) -> bool:
        """Return True if a worker processes this router."""
        return router_id in self._processing

    def peek_waiting_for_fetch(self, limit: int, *, skip: Collection[str]) -> list[str]:
        """Return the ids of routers that wait for a worker and need a fetch, in order."""
        return self._waiting.peek_waiting_for_fetch(limit, skip=skip)

    # All routers

    def counts(self) -> dict[str, int]:
        """Return the number of routers that wait for a worker, are processed, wait for a retry, and are suspended."""
        scheduled = len(self._waiting) + len(self._retries) + len(self._pending.keys() & self._processing.keys())
        return {
            "waiting": len(self._waiting),
            "processing": len(self._processing),
            "retrying": len(self._retries),
            "suspended": len(self._pending) - scheduled,
        }

    def depth(self) -> dict[int, int]:
        """Return the number of routers that wait for a worker, by priority."""
        return self._waiting.depth()

    def longest_wait(self) -> float:
        """Return the age in seconds of the oldest update that waits for a worker; 0 if none waits."""
        since = min((self._pending[router_id].created_at for router_id in self._waiting), default=None)
        return 0.0 if since is None else max(0.0, self._clock() - since)

    def failures(self) -> dict[str, Failure]:
        """Return the failures of the routers whose last attempt failed, by id."""
        return self._retries.failures()

    def seconds_to_retry(self, router_id: str) -> float:
        """Return the seconds until the retry of a failed router; 0 if it is due."""
        return self._retries.seconds_to_retry(router_id)
