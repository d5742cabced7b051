# SPDX-License-Identifier: Apache-2.0
"""Work queue of router updates: coalescing per router, two priorities, exponential back-off.

Sequence numbers, which this queue assigns, order events (a logical clock): a notification gets its number on arrival,
data of the server the number at which its call began. Of two updates of a router the one with the greater number wins.

A router is in one state::

              add               a worker starts it               success, no newer update
    (absent) -----> waiting --------------------------> processing ---------------------> (absent)
                    ^  ^  ^                              |      |
                    |  |  +------ newer update kept -----+      | failure, no newer update
                    |  |                                        v
                    |  +---- back-off over, or add --------- retrying
                    |
                    +------- resume, open --- suspended <--- suspend; close while retrying; add or failure meanwhile

==========  ============  ================  ============  ==============
state       ``_pending``  ``_processing``   ``_waiting``  ``_retries``
==========  ============  ================  ============  ==============
waiting     the update    -                 its slot      -
processing  a newer one   the update        -             -
            or none
retrying    the update    -                 -             its next time
suspended   the update    -                 -             -
==========  ============  ================  ============  ==============

Invariants: a router in ``_processing`` has neither slot nor retry, so that no second worker starts it. A slot or a
retry belongs to a router in ``_pending``, and a router never has both. An update leaves ``_pending`` only when a worker
starts it or finishes with data that is not older. A closed queue schedules no router, but keeps the slots it has.

====================  ===========================================================
file                  subject
====================  ===========================================================
processing_queue.py   transitions
queue_state.py        the tables, and questions that change nothing
waiting_routers.py    slots: order by priority and arrival
retry_heap.py         failures, back-off
fetch_window.py       calls in progress, and the updates that finished since
====================  ===========================================================

Review: can a router be in two workers? Can the last update of a router get lost? Can old data overwrite newer?
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from eventlet.event import Event

from l3agent.agent.queue_state import QueueState
from l3agent.agent.resource_update import Action, ResourceUpdate


class ResourceProcessingQueue(QueueState):
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
        super().__init__(retry_min=retry_min, retry_max=retry_max, clock=clock)
        self._max_fetching = max_fetching
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
        coalesced = self._pending.get(router_id)
        self._pending[router_id] = update if coalesced is None else update.coalesce(coalesced)
        self._schedule(router_id)
        return True

    def track_fetch(self) -> AbstractContextManager[int]:
        """Yield the sequence number for the data of a call to the server; the block includes :meth:`add` of its answer.

        While a fetch lasts the queue records the updates that finish, so that the older answer does not revert them.
        """
        return self._window.track()

    def set_answer(self, router_id: str, resource: Mapping[str, Any] | None, sequence: int) -> None:
        """Set the answer of the server on the update that needs it, unless the update arrived after the call began."""
        holder = self._processing if router_id in self._processing else self._pending
        update = holder.get(router_id)
        if update is not None and update.needs_fetch and update.sequence < sequence:
            holder[router_id] = update.with_answer(resource, sequence)
            if router_id in self._waiting:
                self._schedule(router_id)
            else:
                self._wake_workers()

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

    # Suspension

    def suspend(self, router_id: str) -> None:
        """Withhold a router from workers until :meth:`resume`; keep the updates that arrive meanwhile."""
        self._suspended.add(router_id)
        self._waiting.discard(router_id)
        self._retries.cancel(router_id)

    def resume(self, router_id: str) -> None:
        """End the suspension of a router; schedule its pending update."""
        self._suspended.discard(router_id)
        if router_id in self._pending:
            self._schedule(router_id)

    def close(self) -> None:
        """Schedule no more routers: workers process the scheduled ones; updates that arrive meanwhile are kept."""
        self._closed = True
        self._retries.cancel_all()

    def open(self) -> None:
        """Schedule all updates that were kept since :meth:`close`."""
        self._closed = False
        for router_id in self._pending:
            self._schedule(router_id)

    # Internals

    def _next_update(self) -> ResourceUpdate:
        while True:
            self._collect_due_retries()
            fetching = sum(update.needs_fetch for update in self._processing.values())
            router_id = self._waiting.pop(may_fetch=fetching < self._max_fetching)
            if router_id is not None:
                update = self._processing[router_id] = self._pending.pop(router_id)
                return update
            self._changed.wait(timeout=self._retries.seconds_to_next())

    def _finish(self, router_id: str, *, error: BaseException | None) -> None:
        update = self._processing.pop(router_id)
        if error is not None:
            self._retries.record_failure(router_id, error)
        else:
            self._retries.record_success(router_id)
            self._window.record_finished(router_id, update.sequence)
        newer = self._pending.get(router_id)
        if newer is not None and newer.sequence > update.sequence:
            self._schedule(router_id)
        elif error is not None:
            self._pending[router_id] = update
            self._retry_later(router_id)
        else:
            self._pending.pop(router_id, None)
        if update.needs_fetch:
            # Another worker may wait for the server now.
            self._wake_workers()

    def _schedule(self, router_id: str) -> None:
        """Give a router with a pending update a slot, unless a worker has it, it is suspended, or the queue is closed.

        A closed queue still moves a router that has a slot.
        """
        if router_id in self._processing:
            return
        self._retries.cancel(router_id)
        if router_id in self._suspended or (self._closed and router_id not in self._waiting):
            return
        self._waiting.put(self._pending[router_id])
        self._wake_workers()

    def _retry_later(self, router_id: str) -> None:
        if not self.is_suspended(router_id):
            self._retries.schedule(router_id)
            self._wake_workers()

    def _collect_due_retries(self) -> None:
        for router_id in self._retries.pop_due():
            self._schedule(router_id)

    def _wake_workers(self) -> None:
        # All of them, which are few: a worker that waits for a retry must see a nearer one.
        changed, self._changed = self._changed, Event()
        changed.send()
