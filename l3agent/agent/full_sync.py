# SPDX-License-Identifier: Apache-2.0
"""The full sync: ask the server for everything that belongs on this node, and remove what it does not name.

It is asked for at start and after anything that may have cost an update. What it brings goes the way of any update,
through the queue, behind what the server says meanwhile.

Review: is anything removed before one sync was complete? Does a failure cost what was fetched already? Can one wrong
answer wipe the node?
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, TypeVar

import eventlet
from eventlet.event import Event
from oslo_log import log as logging

from l3agent.agent.batch_fetch import BatchSize
from l3agent.agent.follow_up import FollowUp
from l3agent.agent.mass_delete import MassDeleteGuard
from l3agent.agent.orphans import Orphans
from l3agent.agent.plugin_api import L3PluginApi
from l3agent.agent.processing_queue import ResourceProcessingQueue
from l3agent.agent.resource_update import PRIORITY_FULL_SYNC, Action
from l3agent.agent.router_info import importance
from l3agent.exceptions import InvalidAnswer, ServerUnavailable, TransientError
from l3agent.rpc import FailureLog

LOG = logging.getLogger(__name__)

#: Routers in one call of a full sync. Source: neutron ``SYNC_ROUTERS_MAX_CHUNK_SIZE`` and ``..._MIN_CHUNK_SIZE``.
CHUNK_MAX, CHUNK_MIN = 256, 32

_T = TypeVar("_T")


class _Restart(Exception):
    """Another full sync was asked for, so what this one found may be old."""


class FullSync:
    """Brings everything the server wants here into the queue, when that is asked for.

    :param local_ids: ids of all routers that are here, by the memory of the agent and by the kernel.
    :param is_managed: returns True if this agent manages a router; the other local routers are orphans.
    :param rank: of a router by its id, as far as it is known: those with a low number are asked for first.
    :param report_state: tells the server that this agent lives; it must know that before it hands out routers.
    :param on_failure: called when a step failed, before it is tried again.
    :param guard: what of the routers that the server does not name may be removed.
    :param orphans: what of them that were never served here may be removed.
    :param failures: where failed steps are logged.
    :param interval: seconds from one full sync to the next when nobody asks, give or take a tenth; 0: none then.
    :param retry_min: seconds before a failed step is tried again the first time; doubled at each failure.
    :param retry_max: upper bound of that, in seconds.
    """

    def __init__(
        self,
        plugin: L3PluginApi,
        queue: ResourceProcessingQueue,
        *,
        local_ids: Callable[[], Iterable[str]],
        is_managed: Callable[[str], bool],
        rank: Callable[[str], int],
        report_state: Callable[[], object],
        on_failure: Callable[[], None],
        guard: MassDeleteGuard,
        orphans: Orphans,
        failures: FailureLog,
        interval: float,
        retry_min: float,
        retry_max: float,
    ) -> None:
        self._plugin = plugin
        self._queue = queue
        self._local_ids = local_ids
        self._is_managed = is_managed
        self._rank = rank
        self._report_state = report_state
        self._on_failure = on_failure
        self._guard = guard
        self._orphans = orphans
        self._failures = failures
        self._interval = interval
        self._follow_up = FollowUp(first=retry_min, periodic=interval)
        self._next, self._next_reason = math.inf, ""
        self._is_complete = True
        self._retry_min, self._retry_max = retry_min, retry_max
        self._chunk = BatchSize(CHUNK_MAX, CHUNK_MIN)
        self._unprocessed: set[str] = set()
        # Requests are numbered: those asked for, those whose delay is over, and the last one satisfied.
        self._requested = self._due = self._done = 0
        self._more_due = Event()
        self._reasons: list[str] = []
        self._runner: Any = None
        self._orphan_timer: Any = None
        #: How many were completed since the start of the process.
        self.completed = 0
        #: Called at the end of each, with ``ok`` or ``restarted`` (another was asked for meanwhile) and its seconds.
        self.observers: list[Callable[[str, float], object]] = []

    @property
    def in_sync(self) -> bool:
        """Tell whether a full sync is complete, none is to be done, and each router it brought was tried."""
        return self.completed > 0 and self._done == self._requested and not self._unprocessed

    def request(self, reason: str, *, delay: float = 0.0) -> None:
        """Ask for a full sync. One under way may have missed the reason, and starts over; one that waits will not.

        :param delay: seconds to wait first, so that not every agent of a site asks at once.
        """
        if delay and self._requested > self._due:
            LOG.debug("A full sync waits already: %s", reason)
            return
        LOG.debug("Full sync in %.1f s: %s", delay, reason)
        self._requested += 1
        self._reasons.append(reason)
        eventlet.spawn_after(delay, self._mark_due, self._requested)

    def ensure_running(self) -> None:
        """See to it that a greenthread works on what is asked for, and ask when the last time is long ago."""
        if self.in_sync and time.monotonic() >= self._next:
            self.request(self._next_reason)
        if self._runner is None or self._runner.dead:
            self._runner = eventlet.spawn(self._run)

    def stop(self) -> None:
        """Give up what is under way."""
        self._requested = self._due = self._done
        for greenthread in (self._runner, self._orphan_timer):
            if greenthread is not None:
                greenthread.kill()

    def mark_processed(self, router_id: str) -> None:
        """Note that a router was worked on, whatever the outcome."""
        self._unprocessed.discard(router_id)

    def _mark_due(self, request: int) -> None:
        if request > self._requested:
            return
        self._due = max(self._due, request)
        more_due, self._more_due = self._more_due, Event()
        more_due.send()
        self.ensure_running()

    def _run(self) -> None:
        while self._done < self._due:
            request, started = self._due, time.monotonic()
            try:
                self._synchronize(request)
            except _Restart:
                self._notify("restarted", started)
                continue
            self._done = request
            self._notify("ok", started)

    def _notify(self, result: str, started: float) -> None:
        for observer in self.observers:
            observer(result, time.monotonic() - started)

    def _synchronize(self, request: int) -> None:
        started = time.monotonic()
        # One fetch from the first call to the last: the list of ids must not undo what was done since it was asked for.
        with self._queue.track_fetch() as sequence:
            self._retry(request, self._report_state)
            ids, self._is_complete = self._retry(request, self._plugin.get_router_ids)
            missing = sorted(ids, key=self._rank)
            named: set[str] = set()
            while missing:
                named |= self._retry(request, lambda: self._fetch_chunk(missing))
            here = set(self._retry(request, self._local_ids))
            left_out = {one for one in here - named if not self._queue.is_stale(one, sequence)}
            kept = self._within_grace(left_out)
            # A rejected element may stand for any of the routers that the answer does not name.
            gone = self._filter_removals(left_out - kept, len(here - kept)) if self._is_complete else frozenset[str]()
            self._orphans.discard(gone)
            for router_id in gone:
                self._enqueue(router_id, Action.UNSCHEDULE, sequence)
        self.completed += 1
        is_mass = self._guard.is_suspicious(len(gone), len(here - kept))
        self._follow_up.update(is_suspicious=is_mass or not self._is_complete, found_new=bool(named - here))
        self._schedule_next()
        seconds = time.monotonic() - started
        reasons, self._reasons = dict.fromkeys(self._reasons), []
        LOG.info(
            "Full sync complete (%s): %d routers, %d to be removed, %.3f s",
            "; ".join(reasons),
            len(named),
            len(gone),
            seconds,
        )

    def _schedule_next(self) -> None:
        delay, self._next_reason = self._interval or math.inf, "the last one was long ago"
        if self._follow_up.delay is not None and self._follow_up.delay < delay:
            delay, self._next_reason = self._follow_up.delay, "a recent answer removed many routers or was invalid"
        # Not all agents of a site at a time, though they may have been started together.
        self._next = time.monotonic() + delay * random.uniform(0.9, 1.1)

    def _filter_removals(self, missing: set[str], here: int) -> Set[str]:
        """Return what may be removed of the routers the server does not name; of the others it is asked once more."""
        gone = self._guard.filter(missing, here)
        if held := len(self._guard.held):
            LOG.warning(
                "Full sync: the server leaves out %d of the %d routers here: %d are kept, and removed when it leaves "
                "them out in %g s too ([l3agent] mass_delete_share, mass_delete_confirm_interval)",
                len(missing),
                here,
                held,
                self._guard.confirm_interval,
            )
            self.request(f"{held} routers may be gone", delay=self._guard.confirm_interval)
        return gone

    def _within_grace(self, missing: set[str]) -> set[str]:
        """Return the orphans whose time of grace is not over, of which nothing is doubted; it is asked again then."""
        orphans = {one for one in missing if not self._is_managed(one)}
        kept = orphans - self._orphans.find_expired(orphans)
        if kept:
            LOG.info(
                "Full sync: orphans that stay for now ([l3agent] orphan_grace_period): %s", ", ".join(sorted(kept))
            )
            # No full sync that is owed: the node is in sync meanwhile.
            if self._orphans.grace_period > 0 and (self._orphan_timer is None or self._orphan_timer.dead):
                self._orphan_timer = eventlet.spawn_after(
                    self._orphans.grace_period, self.request, "the time of orphans is over"
                )
        return kept

    def _retry(self, request: int, step: Callable[[], _T]) -> _T:
        """Take one step, again and again until it works; what was reached before stays reached."""
        delay = self._retry_min
        while True:
            if self._due > request:
                raise _Restart
            try:
                return step()
            except TransientError as exc:
                self._failures.warning(f"full sync: {exc}", "Full sync: %s; going on in %.1f s", exc, delay)
            except Exception as exc:
                self._failures.exception(f"full sync: {exc!r}", "Full sync: going on in %.1f s", delay)
            self._on_failure()
            self._more_due.wait(timeout=delay)
            delay = min(delay * 2, self._retry_max)

    def _fetch_chunk(self, missing: list[str]) -> set[str]:
        """Enqueue the first of the missing routers and take them off the list; return those the server named."""
        chunk = missing[: self._chunk.value]
        try:
            named = self._enqueue_answer(chunk)
        except ServerUnavailable:
            self._chunk.shrink()
            raise
        except Exception as exc:
            if isinstance(exc, TransientError) and not isinstance(exc, InvalidAnswer):
                raise
            # One router that the server cannot answer for must not hold up the others: each is fetched by a worker.
            message = "Full sync: the server failed to answer for %d routers: %s"
            self._failures.warning(f"full sync: {exc}", message, len(chunk), exc)
            named = set(chunk)
            for router_id in chunk:
                self._enqueue(router_id, Action.UPDATE, None)
        else:
            self._chunk.grow()
        del missing[: len(chunk)]
        return named

    def _enqueue_answer(self, chunk: list[str]) -> set[str]:
        with self._queue.track_fetch() as sequence:
            routers, is_complete = self._plugin.sync_routers(chunk)
            for router_id, router in sorted(routers.items(), key=lambda item: importance(item[1])):
                self._enqueue(router_id, Action.UPDATE, sequence, router)
        self._is_complete = self._is_complete and is_complete
        return set(routers)

    def _enqueue(
        self, router_id: str, action: Action, sequence: int | None, resource: Mapping[str, Any] | None = None
    ) -> None:
        taken = self._queue.add(router_id, action, PRIORITY_FULL_SYNC, resource=resource, sequence=sequence)
        if taken and not self._queue.is_suspended(router_id):
            self._unprocessed.add(router_id)
