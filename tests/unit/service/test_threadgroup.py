# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Iterator

import eventlet
import pytest

from l3agent.service import ThreadGroup
from l3agent.testing import wait_until


@pytest.fixture
def crashes() -> list[BaseException]:
    return []


@pytest.fixture
def group(crashes: list[BaseException]) -> Iterator[ThreadGroup]:
    group = ThreadGroup(on_crash=crashes.append)
    yield group
    group.stop()


def endless() -> None:
    eventlet.sleep(60)


@pytest.mark.parametrize("error", [RuntimeError("x"), eventlet.Timeout(None), SystemExit(3)])
def test_a_thread_that_dies_of_anything_is_a_crash(
    group: ThreadGroup, crashes: list[BaseException], error: BaseException
) -> None:
    def die() -> None:
        raise error

    group.add_thread(die)
    wait_until(lambda: crashes)
    assert crashes == [error]


def test_a_crash_is_logged_with_its_thread(group: ThreadGroup, caplog: pytest.LogCaptureFixture) -> None:
    def careless() -> None:
        raise ZeroDivisionError("by nought")

    group.add_thread(careless)
    wait_until(lambda: "careless died" in caplog.text)
    assert "by nought" in caplog.text


def test_a_thread_that_is_killed_or_ends_is_no_crash(group: ThreadGroup, crashes: list[BaseException]) -> None:
    group.add_thread(endless).stop()
    group.add_thread(lambda: None).wait()
    assert not crashes
    assert not group.threads


def test_a_crash_without_a_container_ends_the_process() -> None:
    thread = ThreadGroup().add_thread(lambda: 1 / 0)
    with pytest.raises(SystemExit) as exit_:
        thread.wait()
    assert exit_.value.code == 70


def test_a_stop_kills_at_once(group: ThreadGroup) -> None:
    group.add_thread(endless)
    eventlet.sleep(0)
    before = time.monotonic()
    assert [name.endswith("endless") for name in group.stop()] == [True]
    assert time.monotonic() - before < 4
    assert not group.threads


def test_a_graceful_stop_waits_for_work_in_progress(group: ThreadGroup) -> None:
    done: list[str] = []
    group.add_thread(lambda: (eventlet.sleep(0.05), done.append("thread")))
    group.add_timer(60, lambda: (eventlet.sleep(0.05), done.append("timer")))
    eventlet.sleep(0)
    assert group.stop(graceful=True, timeout=5) == []
    assert sorted(done) == ["thread", "timer"]


def test_a_graceful_stop_kills_at_its_deadline_and_names_what(
    group: ThreadGroup, caplog: pytest.LogCaptureFixture
) -> None:
    group.add_thread(endless)
    group.add_timer(60, endless)
    eventlet.sleep(0)
    before = time.monotonic()
    assert len(group.stop(graceful=True, timeout=0.1)) == 2
    assert 0.1 <= time.monotonic() - before < 30
    assert caplog.text.count("endless") == 2


def test_a_stop_from_a_thread_of_the_group_spares_that_thread(group: ThreadGroup) -> None:
    ended: list[str] = []
    group.add_thread(endless)
    group.add_thread(lambda: (group.stop(), ended.append("here")))
    wait_until(lambda: ended)


def test_a_timer_keeps_its_beat_when_a_call_takes_longer(group: ThreadGroup) -> None:
    """The original calls again at once, 0.1 s off the schedule, and keeps the offset."""
    calls: list[float] = []
    begin = time.monotonic()

    def call() -> None:
        calls.append(time.monotonic() - begin)
        if len(calls) == 1:
            eventlet.sleep(0.3)

    group.add_timer(0.2, call)
    wait_until(lambda: len(calls) == 5)
    assert calls[1] >= 0.4
    assert min(moment % 0.2 for moment in calls[1:]) < 0.08


def test_a_timer_waits_for_its_initial_delay(group: ThreadGroup) -> None:
    calls: list[float] = []
    begin = time.monotonic()
    group.add_timer(60, lambda: calls.append(time.monotonic() - begin), initial_delay=0.1)
    wait_until(lambda: calls)
    assert calls[0] >= 0.1


def test_a_timer_stops_at_once(group: ThreadGroup) -> None:
    timer = group.add_timer(60, lambda: None)
    eventlet.sleep(0.01)
    before = time.monotonic()
    group.stop(graceful=True, timeout=5)
    assert time.monotonic() - before < 4
    assert timer._thread is None


def test_an_error_of_a_timer_is_a_crash_unless_stop_on_exception_is_false(
    group: ThreadGroup, crashes: list[BaseException]
) -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise RuntimeError("x")

    group.add_timer_args(0.01, fail, stop_on_exception=False)
    wait_until(lambda: len(calls) > 2)
    assert not crashes
    group.add_timer(0.01, fail)
    wait_until(lambda: crashes)
    assert isinstance(crashes[0], RuntimeError)


def test_a_group_can_be_used_again_after_a_stop(group: ThreadGroup) -> None:
    group.stop()
    done: list[str] = []
    group.add_thread(done.append, "again")
    group.add_timer(60, done.append, None, "timer")
    wait_until(lambda: sorted(done) == ["again", "timer"])
