# SPDX-License-Identifier: Apache-2.0
"""Full sync: fetch all routers of this node from the server, and remove the routers that it does not name.

A full sync runs at start and after each event that may have lost an update. Its results are enqueued as updates, with a
lower priority than notifications.

Review: is a router removed before a full sync is complete? Does a failure discard payloads already fetched? Can one
wrong answer wipe the node?
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import eventlet
from oslo_log import log as logging

from l3agent.agent.batch_fetch import BatchSize
from l3agent.agent.follow_up import FollowUp
from l3agent.agent.plugin_api import L3PluginApi
from l3agent.agent.processing_queue import ResourceProcessingQueue
from l3agent.agent.removals import Removals
from l3agent.agent.resource_update import PRIORITY_FULL_SYNC, Action
from l3agent.agent.router_info import importance
from l3agent.agent.sync_requests import SyncRequests
from l3agent.exceptions import InvalidAnswer, ServerUnavailable, TransientError
from l3agent.rpc import FailureLog

LOG = logging.getLogger(__name__)

#: Routers per call of a full sync. Source: neutron ``SYNC_ROUTERS_MAX_CHUNK_SIZE`` and ``..._MIN_CHUNK_SIZE``.
CHUNK_MAX, CHUNK_MIN = 256, 32

_T = TypeVar("_T")


class _Restart(Exception):
    """Another full sync was requested, so the results of this one may be stale."""


class FullSync:
    """Runs requested full syncs, one at a time.

    :param requests: the requests, which also record the progress.
    :param local_ids: returns the ids of all local routers, managed or only in the kernel.
    :param rank: returns the rank of a router by id; low ranks are fetched first.
    :param report_state: sends a state report, without which the server hands out no routers.
    :param on_failure: called when a step has failed, before its retry.
    :param removals: decides about the local routers that the server does not name.
    :param failures: log of failed steps.
    :param interval: seconds between periodic full syncs, plus or minus 10 %; 0: no periodic full syncs.
    :param retry_min: seconds before the first retry of a failed step; doubled at each failure.
    :param retry_max: upper bound of the back-off, in seconds.
    """

    def __init__(
        self,
        plugin: L3PluginApi,
        queue: ResourceProcessingQueue,
        requests: SyncRequests,
        *,
        local_ids: Callable[[], Iterable[str]],
        rank: Callable[[str], int],
        report_state: Callable[[], object],
        on_failure: Callable[[], None],
        removals: Removals,
        failures: FailureLog,
        interval: float,
        retry_min: float,
        retry_max: float,
    ) -> None:
        self._plugin = plugin
        self._queue = queue
        self._requests = requests
        self._local_ids = local_ids
        self._rank = rank
        self._report_state = report_state
        self._on_failure = on_failure
        self._removals = removals
        self._failures = failures
        self._interval = interval
        self._follow_up = FollowUp(first=retry_min, periodic=interval)
        self._next, self._next_reason = math.inf, ""
        self._is_complete = True
        self._retry_min, self._retry_max = retry_min, retry_max
        self._chunk = BatchSize(CHUNK_MAX, CHUNK_MIN)
        self._runner: Any = None
        #: Called at the end of each with its seconds and ``ok``, or ``restarted`` if another was requested meanwhile.
        self.observers: list[Callable[[str, float], object]] = []

    def ensure_running(self) -> None:
        """Ensure that a greenthread runs requested full syncs; request the periodic one when it is due."""
        if self._requests.in_sync and time.monotonic() >= self._next:
            self._requests.request(self._next_reason)
        if self._runner is None or self._runner.dead:
            self._runner = eventlet.spawn(self._run)

    def stop(self) -> None:
        """Cancel the full sync in progress, and all requests."""
        self._requests.cancel_all()
        self._removals.stop()
        if self._runner is not None:
            self._runner.kill()

    def _run(self) -> None:
        while True:
            request, started = self._requests.next_due(), time.monotonic()
            try:
                self._synchronize(request)
            except _Restart:
                self._notify("restarted", started)
                continue
            self._requests.finish(request)
            self._notify("ok", started)

    def _notify(self, result: str, started: float) -> None:
        for observer in self.observers:
            observer(result, time.monotonic() - started)

    def _synchronize(self, request: int) -> None:
        started = time.monotonic()
        # One fetch from the first call to the last: the list of ids must not revert updates newer than its call.
        with self._queue.track_fetch() as sequence:
            self._retry(request, self._report_state)
            ids, self._is_complete = self._retry(request, self._plugin.get_router_ids)
            missing = sorted(ids, key=self._rank)
            named: set[str] = set()
            while missing:
                named |= self._retry(request, lambda: self._fetch_chunk(missing))
            local = set(self._retry(request, self._local_ids))
            omitted = {one for one in local - named if not self._queue.is_stale(one, sequence)}
            decision = self._removals.decide(omitted, local, is_complete=self._is_complete)
            for router_id in decision.removed:
                self._enqueue(router_id, Action.UNSCHEDULE, sequence)
        is_suspicious = decision.is_suspicious or not self._is_complete
        self._follow_up.update(is_suspicious=is_suspicious, found_new=bool(named - local))
        self._schedule_next()
        seconds = time.monotonic() - started
        LOG.info(
            "Full sync complete (%s): %d routers, %d to be removed, %.3f s",
            self._requests.pop_reasons(),
            len(named),
            len(decision.removed),
            seconds,
        )

    def _schedule_next(self) -> None:
        delay, self._next_reason = self._interval or math.inf, "periodic"
        if self._follow_up.delay is not None and self._follow_up.delay < delay:
            delay, self._next_reason = self._follow_up.delay, "a recent answer removed many routers or was invalid"
        # Spread over the agents of a site, which may have been started together.
        self._next = time.monotonic() + delay * random.uniform(0.9, 1.1)

    def _retry(self, request: int, step: Callable[[], _T]) -> _T:
        """Run one step until it succeeds, with back-off; the results of earlier steps are kept."""
        delay = self._retry_min
        while True:
            if self._requests.is_superseded(request):
                raise _Restart
            try:
                return step()
            except TransientError as exc:
                self._failures.warning(f"full sync: {exc}", "Full sync: %s; retrying in %.1f s", exc, delay)
            except Exception as exc:
                self._failures.exception(f"full sync: {exc!r}", "Full sync: retrying in %.1f s", delay)
            self._on_failure()
            self._requests.wait_for_more(delay)
            delay = min(delay * 2, self._retry_max)

    def _fetch_chunk(self, missing: list[str]) -> set[str]:
        """Fetch and enqueue the first of the missing routers, and remove them from the list; return the named ones."""
        chunk = missing[: self._chunk.value]
        try:
            named = self._enqueue_answer(chunk)
        except ServerUnavailable:
            self._chunk.shrink()
            raise
        except Exception as exc:
            if isinstance(exc, TransientError) and not isinstance(exc, InvalidAnswer):
                raise
            # A router for which the server fails must not delay the others: workers fetch each of them.
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
        is_queued = self._queue.add(router_id, action, PRIORITY_FULL_SYNC, resource=resource, sequence=sequence)
        if is_queued and not self._queue.is_suspended(router_id):
            self._requests.mark_enqueued(router_id)
