# SPDX-License-Identifier: Apache-2.0
"""One call to the server for many routers that wait: a call costs milliseconds whatever its size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import eventlet
from eventlet.event import Event

from l3agent.agent.processing_queue import ResourceProcessingQueue
from l3agent.agent.resource_update import ResourceUpdate
from l3agent.agent.server_answers import RouterAnswer
from l3agent.exceptions import ServerUnavailable

#: Calls under way at a time. Two: a slow answer does not hold up the others, and the batches stay large.
_CALLS = 2
#: Seconds: an answer that comes within the first lets more be asked for at a time, one that takes the second less.
_FAST_S, _SLOW_S = 1.0, 5.0


class BatchSize:
    """How many routers to ask for in one call: halved when that was too much, doubled again by what came soon.

    :param largest: never more, also at the start.
    :param smallest: never less.
    """

    def __init__(self, largest: int, smallest: int) -> None:
        self.value = largest
        self._largest = largest
        self._smallest = smallest

    def adapt(self, took: float) -> None:
        """Follow the server: take notice of an answer that took so many seconds."""
        if took < _FAST_S:
            self.grow()
        elif took > _SLOW_S:
            self.shrink()

    def shrink(self) -> None:
        """Ask for half as many from now on."""
        self.value = max(self._smallest, self.value // 2)

    def grow(self) -> None:
        """Ask for twice as many from now on."""
        self.value = min(self._largest, self.value * 2)


class BatchFetcher:
    """Fetches payloads for the workers.

    A call takes along the routers of all workers that wait for data, and then those that wait for a worker: their
    data is attached to their place in the queue, so the worker that takes them need not ask.

    :param sync_routers: asks the server for payloads by id.
    :param batch: most ids in one call.
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
        """Tell whether a worker waits for the answer on a router: that has an end, since each call has."""
        return router_id in self._waiting

    def fetch(self, update: ResourceUpdate) -> ResourceUpdate:
        """Return an update that a worker holds, with the server's answer.

        :raises ServerUnavailable: no answer; and whatever else the call raised.
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
        """Choose for whom to ask; nobody, unless a worker waits that no call under way answers."""
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
            began = time.monotonic()
            try:
                routers, is_complete = self._sync_routers(batch)
            except Exception as exc:
                # One router that the server cannot answer for must not take the others along for ever.
                self._size.shrink()
                self._resolve(batch, sequence, exc)
                return
            except BaseException as exc:
                self._resolve(batch, sequence, ServerUnavailable(f"sync_routers was interrupted: {exc!r}"))
                raise
            self._size.adapt(time.monotonic() - began)
            unknown = [] if is_complete else [router_id for router_id in batch if router_id not in routers]
            for router_id in batch:
                if router_id not in unknown:
                    self._queue.set_answer(router_id, routers.get(router_id), sequence)
            self._resolve([router_id for router_id in batch if router_id not in unknown], sequence, None)
            # One of the rejected elements may be the payload of such a router, so it does not count as missing.
            self._resolve(unknown, sequence, ServerUnavailable("sync_routers: the answer has invalid elements"))

    def _resolve(self, batch: list[str], sequence: int, error: Exception | None) -> None:
        for router_id in batch:
            if self._requested.get(router_id) == sequence:
                del self._requested[router_id]
            if router_id in self._waiting and self._waiting[router_id][0] < sequence:
                _, answered = self._waiting.pop(router_id)
                answered.send(exc=error) if error else answered.send()
