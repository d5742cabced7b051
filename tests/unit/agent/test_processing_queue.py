# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import eventlet
import pytest

from l3agent.agent.processing_queue import ResourceProcessingQueue
from l3agent.agent.resource_update import PRIORITY_FULL_SYNC, PRIORITY_RPC, Action, ResourceUpdate
from l3agent.testing import wait_until


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> ResourceProcessingQueue:
    return ResourceProcessingQueue(retry_min=1, retry_max=8, clock=clock)


def notice(
    queue: ResourceProcessingQueue, router_id: str = "r1", action: Action = Action.UPDATE, priority: int = PRIORITY_RPC
) -> Any:
    return queue.add(router_id, action, priority)


def payload(queue: ResourceProcessingQueue, sequence: int, router_id: str = "r1", name: str = "new") -> Any:
    return queue.add(router_id, Action.UPDATE, PRIORITY_FULL_SYNC, resource={"name": name}, sequence=sequence)


def test_some_workers_do_only_what_needs_no_answer(clock: Clock) -> None:
    queue = ResourceProcessingQueue(retry_min=1, retry_max=8, max_fetching=1, clock=clock)
    for router_id in ("a", "b", "c"):
        notice(queue, router_id)
    asking = queue.each_update_to_next_router()
    assert asking.__enter__().id == "a"
    # The others wait; a deletion overtakes them, and so does an update whose answer came with that of a.
    notice(queue, "d", Action.DELETE)
    assert next_update(queue).id == "d"
    with pytest.raises(eventlet.Timeout):
        next_update(queue)
    with queue.track_fetch() as sequence:
        queue.set_answer("c", {"name": "c"}, sequence)
    assert next_update(queue).resource == {"name": "c"}
    waiting = eventlet.spawn(next_update, queue)
    eventlet.sleep(0)
    with queue.track_fetch() as sequence:
        queue.set_answer("a", {"name": "a"}, sequence)
    assert waiting.wait().id == "b"
    asking.__exit__(None, None, None)
    # An update that becomes a deletion keeps its place, and the other way round.
    asking = queue.each_update_to_next_router()
    notice(queue, "a")
    asking.__enter__()
    notice(queue, "b")
    notice(queue, "c", Action.DELETE)
    notice(queue, "b", Action.DELETE)
    notice(queue, "c")
    assert next_update(queue).id == "b"
    with pytest.raises(eventlet.Timeout):
        next_update(queue)


def next_update(queue: ResourceProcessingQueue) -> ResourceUpdate:
    """Process the next update at once and return it."""
    with eventlet.Timeout(1), queue.each_update_to_next_router() as update:
        return update


def fail(queue: ResourceProcessingQueue) -> ResourceUpdate:
    with eventlet.Timeout(1), pytest.raises(ZeroDivisionError), queue.each_update_to_next_router() as update:
        raise ZeroDivisionError
    return update


def is_empty(queue: ResourceProcessingQueue) -> bool:
    return not any(queue.counts().values())


def test_updates_of_one_router_are_one() -> None:
    queue = ResourceProcessingQueue(retry_min=1, retry_max=8)
    for _ in range(100):
        notice(queue)
    assert next_update(queue).id == "r1"
    assert is_empty(queue)


def test_the_last_word_on_a_router_counts(queue: ResourceProcessingQueue) -> None:
    notice(queue)
    notice(queue, action=Action.DELETE)
    assert next_update(queue).action is Action.DELETE


def test_notifications_precede_a_full_sync(queue: ResourceProcessingQueue) -> None:
    notice(queue, "r1", priority=PRIORITY_FULL_SYNC)
    notice(queue, "r2", priority=PRIORITY_FULL_SYNC)
    notice(queue, "r3")
    assert [next_update(queue).id for _ in range(3)] == ["r3", "r1", "r2"]


def test_a_notice_lifts_a_router_out_of_the_full_sync(queue: ResourceProcessingQueue) -> None:
    notice(queue, "r1", priority=PRIORITY_FULL_SYNC)
    notice(queue, "r2", priority=PRIORITY_FULL_SYNC)
    notice(queue, "r2")
    assert [next_update(queue).id for _ in range(2)] == ["r2", "r1"]
    assert is_empty(queue)


def test_a_router_is_never_given_to_a_second_worker(queue: ResourceProcessingQueue) -> None:
    notice(queue)
    with queue.each_update_to_next_router():
        notice(queue)
        second = eventlet.spawn(next_update, queue)
        eventlet.sleep(0)
        assert not second.dead
        assert queue.counts() == {"waiting": 0, "processing": 1, "retrying": 0, "suspended": 0}
    assert second.wait().id == "r1"


def test_a_worker_waits_until_there_is_work(queue: ResourceProcessingQueue) -> None:
    worker = eventlet.spawn(next_update, queue)
    eventlet.sleep(0)
    notice(queue)
    assert worker.wait().id == "r1"


@pytest.mark.feature("sync.retry", "sync.back-off")
def test_a_failed_router_waits_longer_each_time_up_to_a_bound_and_for_ever(
    queue: ResourceProcessingQueue, clock: Clock
) -> None:
    notice(queue)
    delays = []
    for _ in range(2000):
        fail(queue)
        delays.append(queue.seconds_to_retry("r1"))
        clock.now += delays[-1]
    assert delays[:6] == [1, 2, 4, 8, 8, 8]
    assert delays[-1] == 8


def test_a_success_forgets_the_failures(queue: ResourceProcessingQueue, clock: Clock) -> None:
    notice(queue)
    for _ in range(3):
        fail(queue)
        clock.now += 8
    next_update(queue)
    notice(queue)
    fail(queue)
    assert queue.seconds_to_retry("r1") == 1


def test_a_notice_about_a_failed_router_is_worked_on_at_once(queue: ResourceProcessingQueue) -> None:
    notice(queue)
    fail(queue)
    notice(queue)
    assert queue.counts() == {"waiting": 1, "processing": 0, "retrying": 0, "suspended": 0}
    next_update(queue)
    assert is_empty(queue)


def test_a_failing_router_does_not_delay_the_others(queue: ResourceProcessingQueue) -> None:
    notice(queue, "bad")
    fail(queue)
    notice(queue, "good")
    assert next_update(queue).id == "good"


def test_a_worker_that_waits_already_takes_a_retry_when_it_is_due() -> None:
    queue = ResourceProcessingQueue(retry_min=0.02, retry_max=1)
    notice(queue)
    waiting = []
    with pytest.raises(ZeroDivisionError), queue.each_update_to_next_router():
        waiting.append(eventlet.spawn(next_update, queue))
        eventlet.sleep(0)
        raise ZeroDivisionError
    assert waiting[0].wait().id == "r1"


def test_a_killed_worker_gives_its_router_back(queue: ResourceProcessingQueue) -> None:
    def work() -> None:
        with queue.each_update_to_next_router():
            eventlet.sleep(60)

    notice(queue)
    worker = eventlet.spawn(work)
    wait_until(lambda: queue.counts()["processing"])
    worker.kill()
    assert queue.counts() == {"waiting": 0, "processing": 0, "retrying": 1, "suspended": 0}


def test_data_asked_for_before_a_notice_does_not_answer_it(queue: ResourceProcessingQueue) -> None:
    with queue.track_fetch() as sequence:
        notice(queue)
        assert not payload(queue, sequence)
    assert next_update(queue).needs_fetch


def test_data_asked_for_after_a_notice_answers_it(queue: ResourceProcessingQueue) -> None:
    notice(queue)
    with queue.track_fetch() as sequence:
        assert payload(queue, sequence)
    assert next_update(queue).resource == {"name": "new"}
    assert is_empty(queue)


@pytest.mark.feature("sync.stale-update")
def test_data_older_than_what_was_processed_meanwhile_is_dropped(queue: ResourceProcessingQueue) -> None:
    with queue.track_fetch() as sequence:
        notice(queue, action=Action.DELETE)
        next_update(queue)
        assert not payload(queue, sequence)
    assert is_empty(queue)


def test_data_older_than_the_update_in_progress_is_dropped(queue: ResourceProcessingQueue) -> None:
    with queue.track_fetch() as old:
        notice(queue)
        with queue.each_update_to_next_router() as update:
            with queue.track_fetch() as new:
                queue.set_answer(update.id, {"name": "new"}, new)
            payload(queue, old, name="old")
        assert is_empty(queue)


def test_a_notice_before_the_fetch_of_a_worker_is_answered_by_it(queue: ResourceProcessingQueue) -> None:
    notice(queue)
    with queue.each_update_to_next_router() as update:
        notice(queue)
        with queue.track_fetch() as sequence:
            queue.set_answer(update.id, {}, sequence)
    assert is_empty(queue)


def test_a_notice_after_the_fetch_of_a_worker_runs_the_router_again(queue: ResourceProcessingQueue) -> None:
    notice(queue)
    with queue.each_update_to_next_router() as update, queue.track_fetch() as sequence:
        notice(queue)
        queue.set_answer(update.id, {}, sequence)
    assert next_update(queue).needs_fetch


def test_an_answer_to_a_call_older_than_the_notice_is_not_attached(queue: ResourceProcessingQueue) -> None:
    with queue.track_fetch() as sequence:
        notice(queue)
        queue.set_answer("r1", {"name": "old"}, sequence)
    assert next_update(queue).needs_fetch


def test_a_retry_keeps_the_data_it_has(queue: ResourceProcessingQueue, clock: Clock) -> None:
    notice(queue)
    with (
        pytest.raises(ZeroDivisionError),
        queue.each_update_to_next_router() as update,
        queue.track_fetch() as sequence,
    ):
        queue.set_answer(update.id, {"name": "new"}, sequence)
        raise ZeroDivisionError
    clock.now += 1
    assert next_update(queue).resource == {"name": "new"}


def test_a_router_the_server_does_not_name_is_missing(queue: ResourceProcessingQueue) -> None:
    notice(queue)
    with queue.each_update_to_next_router() as update, queue.track_fetch() as sequence:
        queue.set_answer(update.id, None, sequence)
        assert queue.processing(update.id).action is Action.MISSING


def test_nothing_is_remembered_of_routers_when_no_fetch_is_under_way(queue: ResourceProcessingQueue) -> None:
    with queue.track_fetch():
        for number in range(10):
            notice(queue, f"r{number}")
            next_update(queue)
        assert len(queue._window) == 10
    assert not queue._window


def test_reapplying_never_replaces_what_is_newer(queue: ResourceProcessingQueue) -> None:
    with queue.track_fetch() as sequence:
        pass
    notice(queue)
    assert not queue.add("r1", Action.REAPPLY, PRIORITY_FULL_SYNC, sequence=sequence)
    assert next_update(queue).action is Action.UPDATE


def test_those_who_will_need_a_fetch_are_named_in_the_order_they_are_taken(queue: ResourceProcessingQueue) -> None:
    notice(queue, "late", priority=PRIORITY_FULL_SYNC)
    notice(queue, "r1")
    notice(queue, "r2")
    notice(queue, "gone", action=Action.DELETE)
    with queue.track_fetch() as sequence:
        payload(queue, sequence, "known")
    assert queue.peek_waiting_for_fetch(10, skip={"r2"}) == ["r1", "late"]
    assert queue.peek_waiting_for_fetch(1, skip=()) == ["r1"]
