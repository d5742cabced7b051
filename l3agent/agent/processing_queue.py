# SPDX-License-Identifier: Apache-2.0
"""The queue between those who say that a router changed and the workers that make it so.

Order of events is told by *stamps*, numbers that this queue hands out: a notice carries the stamp of its arrival,
data of the server the stamp of the moment its call began. Of two things said about a router the greater stamp wins.

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
    """Why a router waits for another try.

    :param reason: what the last try failed of.
    :param tries: how many failed since the last that worked.
    """

    reason: str
    tries: int


class _Place(NamedTuple):
    """A router's place in the line; the lower goes first."""

    priority: int
    number: int
    router_id: str
    needs_fetch: bool


class ResourceProcessingQueue:
    """Coalesces per router, keeps a router out of two workers, orders by priority, tries again with backoff.

    Nothing here yields but the wait for work, so each method is atomic among greenthreads.

    :param retry_min: seconds before a failed router is tried again the first time; doubled at each failure.
    :param retry_max: upper bound of that, in seconds. There is no last try.
    :param fetching: how many workers may wait for the server at a time; the others do what needs no answer of it.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        retry_min: float,
        retry_max: float,
        fetching: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_fetching = fetching
        self._retry_min = retry_min
        self._retry_max = retry_max
        self._clock = clock
        self._stamps = itertools.count(1)
        self._dirty: dict[str, ResourceUpdate] = {}
        self._processing: dict[str, ResourceUpdate] = {}
        # A heap entry counts only while the table beside it still holds it: replaced entries stay until they surface.
        # There are two lines, of those that need a fetch and of those that do not.
        self._lines: dict[bool, list[_Place]] = {True: [], False: []}
        self._places: dict[str, _Place] = {}
        self._retries: list[tuple[float, int, str]] = []
        self._due: dict[str, tuple[float, int, str]] = {}
        self._failures: dict[str, Failure] = {}
        self._settled: dict[str, int] = {}
        self._fetches: set[int] = set()
        self._held: set[str] = set()
        self._closed = False
        self._changed = Event()

    # Those who bring updates

    def add(
        self,
        router_id: str,
        action: Action,
        priority: int,
        *,
        resource: Mapping[str, Any] | None = None,
        stamp: int | None = None,
        context: Any = None,
    ) -> bool:
        """Ask for something to be done for a router, as soon as a worker is free.

        :param resource: the payload, if it is known.
        :param stamp: when the data was asked for (see :meth:`fetching`); None for a notice that arrives now.
        :param context: of the request that asks for it.
        :returns: False when something newer was said about the router or done with it, so that this counts for nothing.
        """
        stamp = next(self._stamps) if stamp is None else stamp
        if self.is_overtaken(router_id, stamp):
            return False
        update = ResourceUpdate(router_id, action, priority, stamp, self._clock(), resource, context)
        waiting = self._dirty.get(router_id)
        if waiting is not None:
            update = replace(
                update,
                priority=min(priority, waiting.priority),
                created_at=min(update.created_at, waiting.created_at),
                context=context or waiting.context,
            )
        self._dirty[router_id] = update
        self._make_ready(router_id)
        return True

    def is_overtaken(self, router_id: str, stamp: int) -> bool:
        """Tell whether something newer than a stamp was said about a router, or done with it while a fetch lasts."""
        known = (self._dirty.get(router_id), self._processing.get(router_id))
        return any(stamp < update.stamp for update in known if update) or stamp < self._settled.get(router_id, 0)

    @contextmanager
    def fetching(self) -> Iterator[int]:
        """Surround a call to the server, and the :meth:`add` of what it answered, to get the stamp of its data.

        While a fetch lasts the queue remembers what was done meanwhile, so that its answer, by then old, does not
        undo it.
        """
        stamp = next(self._stamps)
        self._fetches.add(stamp)
        try:
            yield stamp
        finally:
            self._fetches.discard(stamp)
            oldest = min(self._fetches, default=None)
            kept = {} if oldest is None else {key: done for key, done in self._settled.items() if done > oldest}
            self._settled = kept

    def attach(self, router_id: str, resource: Mapping[str, Any] | None, stamp: int) -> None:
        """Give an answer of the server to the update that needs it, unless that arrived after the call began."""
        holder = self._processing if router_id in self._processing else self._dirty
        update = holder.get(router_id)
        if update is not None and update.needs_fetch and update.stamp < stamp:
            holder[router_id] = update.answered(resource, stamp)
            if router_id in self._places:
                self._make_ready(router_id)
            else:
                self._wake_workers()

    def untaken(self, limit: int, *, skip: Collection[str]) -> list[str]:
        """Return ids of routers that wait for a worker and will need a fetch, the next ones first."""
        places = (
            place
            for place in self._lines[True]
            if self._places.get(place.router_id) is place and place.router_id not in skip
        )
        return [place.router_id for place in heapq.nsmallest(limit, places)]

    # Workers

    @contextmanager
    def each_update_to_next_router(self) -> Iterator[ResourceUpdate]:
        """Wait for a router that no worker has, and hold it as long as the block lasts.

        A block that ends in any exception, the kill of its greenthread among them, has failed: the router is tried
        again after a backoff of its own, or at once when something new was said about it meanwhile.
        """
        update = self._take()
        try:
            yield update
        except BaseException as exc:
            self._release(update.id, failed_of=exc)
            raise
        self._release(update.id, failed_of=None)

    def in_work(self, router_id: str) -> ResourceUpdate:
        """Return the update that a worker holds, with what was attached to it since."""
        return self._processing[router_id]

    # Those who hold back

    def hold(self, router_id: str) -> None:
        """Give a router to no worker until :meth:`let_go`; what is said about it meanwhile is remembered."""
        self._held.add(router_id)
        self._places.pop(router_id, None)
        self._due.pop(router_id, None)

    def let_go(self, router_id: str) -> None:
        """Give a router to workers again, at once where something waits for it."""
        self._held.discard(router_id)
        if router_id in self._dirty:
            self._make_ready(router_id)

    def close(self) -> None:
        """Put no router in the line any more: those that are in it are the last, all else is remembered."""
        self._closed = True
        self._due.clear()

    def open(self) -> None:
        """Go on with everything that was remembered since :meth:`close`."""
        self._closed = False
        for router_id in self._dirty:
            self._make_ready(router_id)

    def is_held_back(self, router_id: str) -> bool:
        """Tell whether a router is kept from the workers, by itself or with all the others."""
        return self._closed or router_id in self._held

    def is_processing(self, router_id: str) -> bool:
        """Tell whether a worker has a router."""
        return router_id in self._processing

    # Those who look on

    def counts(self) -> dict[str, int]:
        """Return how many routers wait for a worker, are in one, wait for another try, and are held back."""
        idle = self._dirty.keys() - self._places.keys() - self._due.keys() - self._processing.keys()
        return {
            "waiting": len(self._places),
            "processing": len(self._processing),
            "retrying": len(self._due),
            "held": len(idle),
        }

    def depth(self) -> dict[int, int]:
        """Return how many routers wait for a worker, by priority."""
        waiting = Counter(place.priority for place in self._places.values())
        return {priority: waiting[priority] for priority in (PRIORITY_RPC, PRIORITY_FULL_SYNC)}

    def oldest(self) -> float:
        """Return for how many seconds the router has waited that waits longest for a worker; 0 when none waits."""
        since = min((self._dirty[router_id].created_at for router_id in self._places), default=None)
        return 0.0 if since is None else max(0.0, self._clock() - since)

    def failures(self) -> dict[str, Failure]:
        """Return the routers whose last try failed, with the reason, by id."""
        return dict(self._failures)

    def seconds_to_retry(self, router_id: str) -> float:
        """Return how long a failed router waits until it is tried again; 0 when it waits for nothing but a worker."""
        due = self._due.get(router_id)
        return 0.0 if due is None else max(0.0, due[0] - self._clock())

    # Inside

    def _take(self) -> ResourceUpdate:
        while True:
            self._collect_due_retries()
            if first := min(filter(None, map(self._first, self._open_lines())), default=None):
                return self._hold(first.router_id)
            self._changed.wait(timeout=self._seconds_to_next_retry())

    def _open_lines(self) -> tuple[bool, ...]:
        fetching = sum(update.needs_fetch for update in self._processing.values())
        return (False, True) if fetching < self._most_fetching else (False,)

    def _first(self, needs_fetch: bool) -> _Place | None:
        line = self._lines[needs_fetch]
        while line and self._places.get(line[0].router_id) is not line[0]:
            heapq.heappop(line)
        return line[0] if line else None

    def _hold(self, router_id: str) -> ResourceUpdate:
        del self._places[router_id]
        update = self._processing[router_id] = self._dirty.pop(router_id)
        return update

    def _release(self, router_id: str, *, failed_of: BaseException | None) -> None:
        update = self._processing.pop(router_id)
        if failed_of is not None:
            before = self._failures.get(router_id)
            reason = str(failed_of) or type(failed_of).__name__
            self._failures[router_id] = Failure(reason, 1 if before is None else before.tries + 1)
        else:
            self._failures.pop(router_id, None)
            if self._fetches:
                self._settled[router_id] = update.stamp
        waiting = self._dirty.get(router_id)
        if waiting is not None and waiting.stamp > update.stamp:
            self._make_ready(router_id)
        elif failed_of is not None:
            self._dirty[router_id] = update
            self._retry_later(router_id)
        else:
            self._dirty.pop(router_id, None)
        if update.needs_fetch:
            # One more may wait for the server now.
            self._wake_workers()

    def _make_ready(self, router_id: str) -> None:
        """Give a router a place in the line; one that it has already and that is no worse stays."""
        if router_id in self._processing:
            return
        self._due.pop(router_id, None)
        if router_id in self._held or (self._closed and router_id not in self._places):
            return
        update, place = self._dirty[router_id], self._places.get(router_id)
        if place is None or update.priority < place.priority:
            self._line_up(_Place(update.priority, next(self._stamps), router_id, update.needs_fetch))
        elif update.needs_fetch != place.needs_fetch:
            self._line_up(place._replace(needs_fetch=update.needs_fetch))
        self._wake_workers()

    def _line_up(self, place: _Place) -> None:
        self._places[place.router_id] = place
        heapq.heappush(self._lines[place.needs_fetch], place)

    def _retry_later(self, router_id: str) -> None:
        if self.is_held_back(router_id):
            return
        # The exponent is bounded: 2.0 ** 1024 overflows, after years of failing.
        delay = self._retry_min * 2.0 ** min(self._failures[router_id].tries - 1, 60)
        due = self._due[router_id] = (self._clock() + min(delay, self._retry_max), next(self._stamps), router_id)
        heapq.heappush(self._retries, due)
        self._wake_workers()

    def _collect_due_retries(self) -> None:
        while self._retries and self._retries[0][0] <= self._clock():
            due = heapq.heappop(self._retries)
            if self._due.get(due[2]) is due:
                self._make_ready(due[2])

    def _seconds_to_next_retry(self) -> float | None:
        return max(0.0, self._retries[0][0] - self._clock()) if self._retries else None

    def _wake_workers(self) -> None:
        # All of them: one that only waits for a retry must learn of a nearer one, and they are few.
        changed, self._changed = self._changed, Event()
        changed.send()
