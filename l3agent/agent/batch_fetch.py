# SPDX-License-Identifier: Apache-2.0
"""Batches fetches from the server: a call costs milliseconds whatever its size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import eventlet
from eventlet.event import Event

from l3agent.agent.processing_queue import ResourceProcessingQueue
from l3agent.agent.resource_update import ResourceUpdate
from l3agent.agent.server_answers import RouterAnswer
from l3agent.exceptions import ServerUnavailable

#: Concurrent calls. Two: a slow answer does not delay the others, and the batches stay large.
_CALLS = 2
#: Seconds: an answer within the first doubles the batch size; an answer after the second halves it.
_FAST_S, _SLOW_S = 1.0, 5.0


class BatchSize:
    """Adaptive number of routers per call: halved after a slow or failed answer, doubled after a fast one.

    :param largest: upper bound, and initial value.
    :param smallest: lower bound.
    """

    def __init__(self, largest: int, smallest: int) -> None:
        self.value = largest
        self._largest = largest
        self._smallest = smallest

    def adapt(self, seconds: float) -> None:
        """Adapt the size to the duration of an answer."""
        if seconds < _FAST_S:
            self.grow()
        elif seconds > _SLOW_S:
            self.shrink()

    def shrink(self) -> None:
        """Halve the size."""
        self.value = max(self._smallest, self.value // 2)

    def grow(self) -> None:
        """Double the size."""
        self.value = min(self._largest, self.value * 2)


class BatchFetcher:
    """Fetches payloads for the workers.

    A call includes the routers of all workers that wait for an answer, and then routers that wait for a worker: their
    payloads are set in the queue, so that their workers need no call.

    :param sync_routers: calls the server with ids, returns payloads by id.
    :param batch: maximum number of ids per call.
    """

    def __init__(
        self,
        sync_routers: Callable[[Iterable[str]], RouterAnswer],
        queue: ResourceProcessingQueue,
        *,
        batch: int,
    ) -> None:
        self._sync_routers = sync_routers
        self._queue = queue
        self._size = BatchSize(batch, 1)
        self._waiting: dict[str, tuple[int, Event]] = {}
        self._requested: dict[str, int] = {}
        self._calls = 0

    def is_awaited(self, router_id: str) -> bool:
        """Return True if a worker waits for the payload of a router. The wait ends, since each call has a deadline."""
        return router_id in self._waiting

    def fetch(self, update: ResourceUpdate) -> ResourceUpdate:
        """Return an update that a worker processes, with the answer of the server.

        :raises ServerUnavailable: no answer. Other errors of the call are raised unchanged.
        """
        answered = Event()
        self._waiting[update.id] = (update.sequence, answered)
        if self._calls < _CALLS and self._needs_call(update.id):
            self._calls += 1
            eventlet.spawn_n(self._call_while_needed)
        try:
            answered.wait()
        finally:
            self._waiting.pop(update.id, None)
        return self._queue.processing(update.id)

    def _call_while_needed(self) -> None:
        try:
            while batch := self._next_batch():
                self._call(batch)
        finally:
            self._calls -= 1

    def _next_batch(self) -> list[str]:
        """Return the ids for the next call; none if calls in flight include all routers that workers wait for."""
        waiting = [router_id for router_id in self._waiting if self._needs_call(router_id)]
        if not waiting:
            return []
        room = self._size.value - len(waiting)
        more = self._queue.peek_waiting_for_fetch(room, skip=self._requested) if room > 0 else []
        return (waiting + more)[: self._size.value]

    def _needs_call(self, router_id: str) -> bool:
        return self._requested.get(router_id, 0) < self._waiting[router_id][0]

    def _call(self, batch: list[str]) -> None:
        with self._queue.track_fetch() as sequence:
            self._requested |= dict.fromkeys(batch, sequence)
            started = time.monotonic()
            try:
                routers, is_complete = self._sync_routers(batch)
            except Exception as exc:
                # A router for which the server fails must not fail the others in its batch without end.
                self._size.shrink()
                self._resolve(batch, sequence, exc)
                return
            except BaseException as exc:
                self._resolve(batch, sequence, ServerUnavailable(f"sync_routers was interrupted: {exc!r}"))
                raise
            self._size.adapt(time.monotonic() - started)
            unknown = [] if is_complete else [router_id for router_id in batch if router_id not in routers]
            for router_id in batch:
                if router_id not in unknown:
                    self._queue.set_answer(router_id, routers.get(router_id), sequence)
            self._resolve([router_id for router_id in batch if router_id not in unknown], sequence, None)
            # A rejected element may be the payload of such a router, so the router does not count as missing.
            self._resolve(unknown, sequence, ServerUnavailable("sync_routers: the answer has invalid elements"))

    def _resolve(self, batch: list[str], sequence: int, error: Exception | None) -> None:
        for router_id in batch:
            if self._requested.get(router_id) == sequence:
                del self._requested[router_id]
            if router_id in self._waiting and self._waiting[router_id][0] < sequence:
                _, answered = self._waiting.pop(router_id)
                answered.send(exc=error) if error else answered.send()
