# SPDX-License-Identifier: Apache-2.0
"""The laws of the queue, on any order of notices, answers, failures and the passing of time."""

from __future__ import annotations

import itertools
import math
from contextlib import AbstractContextManager
from typing import Any

import eventlet
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from l3agent.agent.processing_queue import ResourceProcessingQueue
from l3agent.agent.resource_update import PRIORITY_FULL_SYNC, PRIORITY_RPC, Action, ResourceUpdate

RETRY_MIN, RETRY_MAX = 1.0, 8.0
ALL = ("r1", "r2", "r3")
ROUTERS = st.sampled_from(ALL)


class Failed(Exception):
    pass


class QueueMachine(RuleBasedStateMachine):
    """The server is a version of each router; what a worker makes of it must in the end be the last version."""

    #: How many workers may wait for the server at a time.
    fetching = math.inf

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.queue = ResourceProcessingQueue(
            retry_min=RETRY_MIN, retry_max=RETRY_MAX, max_fetching=self.fetching, clock=lambda: self.now
        )
        self.server: dict[str, int] = {}
        self.kernel: dict[str, int] = {}
        self.workers: dict[str, AbstractContextManager[ResourceUpdate]] = {}
        self.fetches: list[Any] = []
        self.versions = itertools.count(1)
        self.suspended: set[str] = set()

    # The server changes, and sends a notification.

    @rule(router=ROUTERS)
    def change(self, router: str) -> None:
        self.server[router] = next(self.versions)
        self.queue.add(router, Action.UPDATE, PRIORITY_RPC)

    @rule(router=ROUTERS)
    def delete(self, router: str) -> None:
        self.server.pop(router, None)
        self.queue.add(router, Action.DELETE, PRIORITY_RPC)

    # A full sync: requested at one time, answered at another.

    @precondition(lambda self: len(self.fetches) < 2)
    @rule()
    def request_full_sync(self) -> None:
        fetch = self.queue.track_fetch()
        self.fetches.append((fetch, fetch.__enter__(), dict(self.server)))

    @precondition(lambda self: self.fetches)
    @rule()
    def answer_for_all(self) -> None:
        fetch, sequence, answer = self.fetches.pop(0)
        for router, version in answer.items():
            self.queue.add(router, Action.UPDATE, PRIORITY_FULL_SYNC, resource={"version": version}, sequence=sequence)
        for router in set(ALL) - answer.keys():
            self.queue.add(router, Action.DELETE, PRIORITY_FULL_SYNC, sequence=sequence)
        fetch.__exit__(None, None, None)

    # Workers: start, fetch, and succeed or fail.

    def can_start_update(self) -> bool:
        """Return True if a worker can start a router: without a fetch, or while another fetch is permitted."""
        fetching = sum(self.queue.processing(router).needs_fetch for router in self.workers)
        waiting = [self.queue._pending[router] for router in self.queue._waiting]
        return any(not update.needs_fetch or fetching < self.fetching for update in waiting)

    @precondition(lambda self: self.can_start_update())
    @rule()
    def start_update(self) -> None:
        work = self.queue.each_update_to_next_router()
        with eventlet.Timeout(0.2):
            update = work.__enter__()
        fetching = sum(self.queue.processing(router).needs_fetch for router in (*self.workers, update.id))
        assert fetching <= self.fetching, "too many workers wait for the server"
        assert update.id not in self.workers, "a router is in two workers"
        assert update.id not in self.suspended, "a router that is suspended is in a worker"
        self.workers[update.id] = work

    @precondition(lambda self: self.can_start_update())
    @rule()
    def work_off_one(self) -> None:
        with (
            eventlet.Timeout(0.2),
            self.queue.each_update_to_next_router() as update,
            self.queue.track_fetch() as sequence,
        ):
            assert update.id not in self.workers, "a router is in two workers"
            assert update.id not in self.suspended, "a router that is suspended is in a worker"
            version = self.server.get(update.id)
            self.queue.set_answer(update.id, None if version is None else {"version": version}, sequence)
            self.apply(self.queue.processing(update.id))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        router = data.draw(st.sampled_from(sorted(self.workers)))
        with self.queue.track_fetch() as sequence:
            version = self.server.get(router)
            self.queue.set_answer(router, None if version is None else {"version": version}, sequence)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), fails=st.booleans())
    def finish(self, data: st.DataObject, fails: bool) -> None:
        router = data.draw(st.sampled_from(sorted(self.workers)))
        update = self.queue.processing(router)
        if fails or update.needs_fetch:
            self.workers.pop(router).__exit__(Failed, Failed(), None)
        else:
            self.apply(update)
            self.workers.pop(router).__exit__(None, None, None)

    def apply(self, update: ResourceUpdate) -> None:
        if update.action in (Action.DELETE, Action.MISSING):
            self.kernel.pop(update.id, None)
        else:
            assert update.resource is not None
            version = update.resource["version"]
            assert version >= self.kernel.get(update.id, 0), "old data came after new"
            self.kernel[update.id] = version

    @rule(seconds=st.sampled_from([0.5, 1.0, RETRY_MAX]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.queue._collect_due_retries()

    # An operator holds back one router, or all.

    @rule(router=ROUTERS)
    def hold(self, router: str) -> None:
        self.suspended.add(router)
        self.queue.suspend(router)

    @rule(router=ROUTERS)
    def resume(self, router: str) -> None:
        self.suspended.discard(router)
        self.queue.resume(router)

    @rule()
    def close(self) -> None:
        self.queue.close()

    @rule()
    def open(self) -> None:
        self.queue.open()

    # Laws

    @invariant()
    def each_router_is_counted_once(self) -> None:
        counts = self.queue.counts()
        assert counts["processing"] == len(self.workers)
        assert sum(counts.values()) <= len(ALL) + len(self.workers)

    @invariant()
    def each_router_is_in_the_tables_of_one_state(self) -> None:
        pending, processing = self.queue._pending.keys(), self.queue._processing.keys()
        waiting, retrying = set(self.queue._waiting), self.queue._retries._scheduled.keys()
        assert not waiting & retrying and waiting | retrying <= pending
        assert not processing & (waiting | retrying), "a second worker may start a router"

    @invariant()
    def no_retry_is_further_away_than_the_bound(self) -> None:
        assert all(self.queue.seconds_to_retry(router) <= RETRY_MAX for router in ALL)

    def teardown(self) -> None:
        """However it went: what is worked off in the end is what the server holds, so no last update was lost."""
        while self.fetches:
            self.answer_for_all()
        for router in list(self.workers):
            self.workers.pop(router).__exit__(Failed, Failed(), None)
        self.queue.open()
        for router in ALL:
            self.resume(router)
        for _ in range(20):
            self.now += RETRY_MAX
            self.queue._collect_due_retries()
            if self.queue.counts()["waiting"]:
                self.work_off_one()
        assert self.kernel == self.server
        assert not any(self.queue.counts().values())
        assert not self.queue._window, "stale records of finished updates"


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestQueue = QueueMachine.TestCase


class OneWaits(QueueMachine):
    """The same laws where no more than one worker may wait for the server."""

    fetching = 1


OneWaits.TestCase.settings = QueueMachine.TestCase.settings
TestQueueWithOneThatWaits = OneWaits.TestCase
