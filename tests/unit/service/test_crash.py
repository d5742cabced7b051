# SPDX-License-Identifier: Apache-2.0
"""The two policies for a thread that dies."""

from __future__ import annotations

import time
from collections.abc import Callable

import eventlet
import pytest

from l3agent.service import ThreadGroup, restart_on_crash
from l3agent.testing import wait_until


class Dying:
    """Raises the next error at each call, and returns when none is left."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls: list[float] = []

    def __call__(self) -> str:
        self.calls.append(time.monotonic())
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    def pauses(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.calls, self.calls[1:], strict=False)]


def test_a_restarted_thread_begins_again_whatever_it_died_of() -> None:
    crashes: list[BaseException] = []
    group = ThreadGroup(on_crash=crashes.append)
    dying = Dying(RuntimeError("x"), eventlet.Timeout(None), KeyboardInterrupt())
    group.add_thread(restart_on_crash(dying, delay_min=0.001))
    wait_until(lambda: len(dying.calls) == 4)
    wait_until(lambda: not group.threads)
    assert not crashes


def test_the_time_between_doubles_up_to_its_bound(caplog: pytest.LogCaptureFixture) -> None:
    dying = Dying(*[RuntimeError("x")] * 5)
    assert restart_on_crash(dying, delay_min=0.02, delay_max=0.08)() == "done"
    assert all(pause >= least for pause, least in zip(dying.pauses(), [0.02, 0.04, 0.08, 0.08, 0.08], strict=True))
    assert _delays(caplog) == ["0.02 s", "0.04 s", "0.08 s", "0.08 s", "0.08 s"]


def test_a_run_that_lasted_begins_anew_with_the_least_time(caplog: pytest.LogCaptureFixture) -> None:
    dying = Dying(*[RuntimeError("x")] * 3)

    def long_lived() -> str:
        if len(dying.calls) == 2:
            eventlet.sleep(0.05)
        return dying()

    restart_on_crash(long_lived, delay_min=0.01, delay_max=0.05)()
    assert _delays(caplog) == ["0.01 s", "0.02 s", "0.01 s"]


def _delays(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line.rpartition(" in ")[2] for line in caplog.messages if "restarting" in line]


def test_each_death_is_logged_with_the_name_of_the_function(caplog: pytest.LogCaptureFixture) -> None:
    def careless() -> None:
        if not caplog.text:
            raise ZeroDivisionError("by nought")

    restart_on_crash(careless, delay_min=0.001)()
    assert "careless died, restarting in 0.001 s" in caplog.text
    assert "by nought" in caplog.text


def test_one_that_is_killed_or_wants_to_exit_does_not_begin_again() -> None:
    crashes: list[BaseException] = []
    group = ThreadGroup(on_crash=crashes.append)
    leaving = Dying(SystemExit(3))
    group.add_thread(restart_on_crash(leaving, delay_min=0.001))
    wait_until(lambda: crashes)
    assert isinstance(crashes[0], SystemExit)
    for waiting in (restart_on_crash(eventlet.sleep), restart_on_crash(_die, delay_min=60)):
        thread = group.add_thread(waiting, 60)
        eventlet.sleep(0)
        thread.stop()
        assert thread.thread.dead
    assert len(leaving.calls) == len(crashes) == 1


def test_a_graceful_stop_does_not_wait_for_what_begins_again_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    group, done = ThreadGroup(), list[str]()

    def serve() -> None:
        eventlet.sleep(60)

    group.add_thread(restart_on_crash(serve))
    group.add_thread(lambda: (eventlet.sleep(0.05), done.append("work in progress")))
    eventlet.sleep(0)
    with eventlet.Timeout(20):
        assert group.stop(graceful=True, timeout=30) == []
    assert done == ["work in progress"]
    assert not caplog.text


def _die(_seconds: float) -> None:
    raise RuntimeError("x")


@pytest.mark.parametrize("add", [ThreadGroup.add_timer, ThreadGroup.add_timer_args])
@pytest.mark.parametrize("error", [RuntimeError("x"), eventlet.Timeout(None), SystemExit(3)])
def test_a_timer_that_dies_of_anything_is_a_crash(add: Callable[..., object], error: BaseException) -> None:
    crashes: list[BaseException] = []
    group = ThreadGroup(on_crash=crashes.append)
    add(group, 0.01, Dying(error))
    wait_until(lambda: crashes)
    assert crashes == [error]
    group.stop()


def test_a_dynamic_timer_that_dies_is_a_crash() -> None:
    crashes: list[BaseException] = []
    group = ThreadGroup(on_crash=crashes.append)
    group.add_dynamic_timer_args(Dying(RuntimeError("x")), periodic_interval_max=0.01)
    wait_until(lambda: crashes)
    group.stop()
