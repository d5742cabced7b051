# SPDX-License-Identifier: Apache-2.0
"""Work queue of router updates: coalescing per router, two priorities, exponential back-off.

Sequence numbers, which this queue assigns, order events (a logical clock): a notification gets its number on arrival,
data of the server the number at which its call began. Of two updates of a router the one with the greater number wins.

Review: can a router be in two workers? Can the last update of a router get lost? Can old data overwrite newer?
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from eventlet.event import Event

from l3agent.agent.resource_update import PRIORITY_FULL_SYNC, PRIORITY_RPC, Action, ResourceUpdate


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason for a retry.

    :param reason: error of the last attempt.
    :param attempts: failed attempts since the last success.
    """

    reason: str
    attempts: int


class _Slot(NamedTuple):
    """The heap entry of a router; the lowest is next."""

    priority: int
    number: int
    router_id: str
    needs_fetch: bool


class ResourceProcessingQueue:
    """Coalesces updates per router, gives a router to one worker at a time, orders by priority, retries with back-off.

    Only the wait for work yields, so each method is atomic among greenthreads.

    :param retry_min: seconds before the first retry of a failed router; doubled at each failure.
    :param retry_max: upper bound of the back-off, in seconds. Retries never end.
    :param max_fetching: workers that may wait for the server at a time; the others process updates that need no fetch.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        retry_min: float,
        retry_max: float,
        max_fetching: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_fetching = max_fetching
        self._retry_min = retry_min
        self._retry_max = retry_max
        self._clock = clock
        self._sequences = itertools.count(1)
        self._dirty: dict[str, ResourceUpdate] = {}
        self._processing: dict[str, ResourceUpdate] = {}
        # A heap entry is valid only while the table beside it holds it: replaced entries stay until they surface.
        # There are two heaps: updates that need a fetch and updates that do not.
        self._heaps: dict[bool, list[_Slot]] = {True: [], False: []}
        self._slots: dict[str, _Slot] = {}
        self._retries: list[tuple[float, int, str]] = []
        self._due: dict[str, tuple[float, int, str]] = {}
        self._failures: dict[str, Failure] = {}
        self._finished: dict[str, int] = {}
        self._fetches: set[int] = set()
        self._suspended: set[str] = set()
        self._closed = False
        self._changed = Event()

    # Producers

    def add(
        self,
        router_id: str,
        action: Action,
        priority: int,
        *,
        resource: Mapping[str, Any] | None = None,
        sequence: int | None = None,
        context: Any = None,
    ) -> bool:
        """Enqueue an update of a router.

        :param resource: the payload, if it is known.
        :param sequence: number of the fetch of the data (see :meth:`track_fetch`); None for a notification of now.
        :param context: of the request.
        :returns: False if the update is stale and was dropped.
        """
        sequence = next(self._sequences) if sequence is None else sequence
        if self.is_stale(router_id, sequence):
            return False
        update = ResourceUpdate(router_id, action, priority, sequence, self._clock(), resource, context)
        waiting = self._dirty.get(router_id)
        if waiting is not None:
            update = replace(
                update,
                priority=min(priority, waiting.priority),
                created_at=min(update.created_at, waiting.created_at),
                context=context or waiting.context,
            )
        self._dirty[router_id] = update
        self._schedule(router_id)
        return True

    def is_stale(self, router_id: str, sequence: int) -> bool:
        """Return True if the queue has a newer update of a router, or finished one during a fetch that still lasts."""
        known = (self._dirty.get(router_id), self._processing.get(router_id))
        newest = max((update.sequence for update in known if update), default=0)
        return sequence < max(newest, self._finished.get(router_id, 0))

    @contextmanager
    def track_fetch(self) -> Iterator[int]:
        """Yield the sequence number for the data of a call to the server; the block includes :meth:`add` of its answer.

        While a fetch lasts the queue records the updates that finish, so that the older answer does not revert them.
        """
        sequence = next(self._sequences)
        self._fetches.add(sequence)
        try:
            yield sequence
        finally:
            self._fetches.discard(sequence)
            oldest = min(self._fetches, default=None)
            kept = {} if oldest is None else {key: done for key, done in self._finished.items() if done > oldest}
            self._finished = kept

    def set_answer(self, router_id: str, resource: Mapping[str, Any] | None, sequence: int) -> None:
        """Set the answer of the server on the update that needs it, unless the update arrived after the call began."""
        holder = self._processing if router_id in self._processing else self._dirty
        update = holder.get(router_id)
        if update is not None and update.needs_fetch and update.sequence < sequence:
            holder[router_id] = update.with_answer(resource, sequence)
            if router_id in self._slots:
                self._schedule(router_id)
            else:
                self._wake_workers()

    def peek_waiting_for_fetch(self, limit: int, *, skip: Collection[str]) -> list[str]:
        """Return the ids of routers that wait for a worker and need a fetch, in order."""
        slots = (
            slot for slot in self._heaps[True] if self._slots.get(slot.router_id) is slot and slot.router_id not in skip
        )
        return [slot.router_id for slot in heapq.nsmallest(limit, slots)]

    # Workers

    @contextmanager
    def each_update_to_next_router(self) -> Iterator[ResourceUpdate]:
        """Wait for the next router and process it exclusively for the duration of the block.

        A block that raises, also because its greenthread is killed, has failed: the router is retried after its
        back-off, or at once if a newer update arrived meanwhile.
        """
        update = self._next_update()
        try:
            yield update
        except BaseException as exc:
            self._finish(update.id, error=exc)
            raise
        self._finish(update.id, error=None)

    def processing(self, router_id: str) -> ResourceUpdate:
        """Return the update that a worker processes, with the answer that was set since."""
        return self._processing[router_id]

    # Suspension

    def suspend(self, router_id: str) -> None:
        """Withhold a router from workers until :meth:`resume`; keep the updates that arrive meanwhile."""
        self._suspended.add(router_id)
        self._slots.pop(router_id, None)
        self._due.pop(router_id, None)

    def resume(self, router_id: str) -> None:
        """End the suspension of a router; schedule its pending update."""
        self._suspended.discard(router_id)
        if router_id in self._dirty:
            self._schedule(router_id)

    def close(self) -> None:
        """Schedule no more routers: workers process the scheduled ones; updates that arrive meanwhile are kept."""
        self._closed = True
        self._due.clear()

    def open(self) -> None:
        """Schedule all updates that were kept since :meth:`close`."""
        self._closed = False
        for router_id in self._dirty:
            self._schedule(router_id)

    def is_suspended(self, router_id: str) -> bool:
        """Return True if no worker may start this router: it is suspended, or the queue is closed."""
        return self._closed or router_id in self._suspended

    def is_processing(self, router_id: str) -> bool:
        """Return True if a worker processes this router."""
        return router_id in self._processing

    # Statistics

    def counts(self) -> dict[str, int]:
        """Return the number of routers that wait for a worker, are processed, wait for a retry, and are suspended."""
        idle = self._dirty.keys() - self._slots.keys() - self._due.keys() - self._processing.keys()
        return {
            "waiting": len(self._slots),
            "processing": len(self._processing),
            "retrying": len(self._due),
            "suspended": len(idle),
        }

    def depth(self) -> dict[int, int]:
        """Return the number of routers that wait for a worker, by priority."""
        waiting = Counter(slot.priority for slot in self._slots.values())
        return {priority: waiting[priority] for priority in (PRIORITY_RPC, PRIORITY_FULL_SYNC)}

    def longest_wait(self) -> float:
        """Return the age in seconds of the oldest update that waits for a worker; 0 if none waits."""
        since = min((self._dirty[router_id].created_at for router_id in self._slots), default=None)
        return 0.0 if since is None else max(0.0, self._clock() - since)

    def failures(self) -> dict[str, Failure]:
        """Return the failures of the routers whose last attempt failed, by id."""
        return dict(self._failures)

    def seconds_to_retry(self, router_id: str) -> float:
        """Return the seconds until the retry of a failed router; 0 if it is due."""
        due = self._due.get(router_id)
        return 0.0 if due is None else max(0.0, due[0] - self._clock())

    # Internals

    def _next_update(self) -> ResourceUpdate:
        while True:
            self._collect_due_retries()
            if first := min(filter(None, map(self._peek, self._open_heaps())), default=None):
                return self._start_processing(first.router_id)
            self._changed.wait(timeout=self._seconds_to_next_retry())

    def _open_heaps(self) -> tuple[bool, ...]:
        fetching = sum(update.needs_fetch for update in self._processing.values())
        return (False, True) if fetching < self._max_fetching else (False,)

    def _peek(self, needs_fetch: bool) -> _Slot | None:
        heap = self._heaps[needs_fetch]
        while heap and self._slots.get(heap[0].router_id) is not heap[0]:
            heapq.heappop(heap)
        return heap[0] if heap else None

    def _start_processing(self, router_id: str) -> ResourceUpdate:
        del self._slots[router_id]
        update = self._processing[router_id] = self._dirty.pop(router_id)
        return update

    def _finish(self, router_id: str, *, error: BaseException | None) -> None:
        update = self._processing.pop(router_id)
        if error is not None:
            before = self._failures.get(router_id)
            reason = str(error) or type(error).__name__
            self._failures[router_id] = Failure(reason, 1 if before is None else before.attempts + 1)
        else:
            self._failures.pop(router_id, None)
            if self._fetches:
                self._finished[router_id] = update.sequence
        waiting = self._dirty.get(router_id)
        if waiting is not None and waiting.sequence > update.sequence:
            self._schedule(router_id)
        elif error is not None:
            self._dirty[router_id] = update
            self._retry_later(router_id)
        else:
            self._dirty.pop(router_id, None)
        if update.needs_fetch:
            # Another worker may wait for the server now.
            self._wake_workers()

    def _schedule(self, router_id: str) -> None:
        """Push a router to a heap; keep its slot unless its priority improves or its need of a fetch changes."""
        if router_id in self._processing:
            return
        self._due.pop(router_id, None)
        if router_id in self._suspended or (self._closed and router_id not in self._slots):
            return
        update, slot = self._dirty[router_id], self._slots.get(router_id)
        if slot is None or update.priority < slot.priority:
            self._push(_Slot(update.priority, next(self._sequences), router_id, update.needs_fetch))
        elif update.needs_fetch != slot.needs_fetch:
            self._push(slot._replace(needs_fetch=update.needs_fetch))
        self._wake_workers()

    def _push(self, slot: _Slot) -> None:
        self._slots[slot.router_id] = slot
        heapq.heappush(self._heaps[slot.needs_fetch], slot)

    def _retry_later(self, router_id: str) -> None:
        if self.is_suspended(router_id):
            return
        # The exponent is bounded: 2.0 ** 1024 overflows, after years of failing.
        delay = self._retry_min * 2.0 ** min(self._failures[router_id].attempts - 1, 60)
        due = self._due[router_id] = (self._clock() + min(delay, self._retry_max), next(self._sequences), router_id)
        heapq.heappush(self._retries, due)
        self._wake_workers()

    def _collect_due_retries(self) -> None:
        while self._retries and self._retries[0][0] <= self._clock():
            due = heapq.heappop(self._retries)
            if self._due.get(due[2]) is due:
                self._schedule(due[2])

    def _seconds_to_next_retry(self) -> float | None:
        return max(0.0, self._retries[0][0] - self._clock()) if self._retries else None

    def _wake_workers(self) -> None:
        # All of them, which are few: a worker that waits for a retry must see a nearer one.
        changed, self._changed = self._changed, Event()
        changed.send()
