# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import eventlet
import pytest
from eventlet.event import Event
from oslo_service import service as oslo_service

from l3agent.exceptions import ConfigError, PermissionMissing
from l3agent.service import Services, ThreadGroup
from l3agent.testing import wait_until


class Recorded:
    """A service that records its calls in a shared log and runs given functions."""

    def __init__(self, log: list[str], name: str, *, start: Any = None, stop: Any = None, reset: Any = None) -> None:
        self.log, self.binary, self.runs = log, name, False
        self._do = {"start": start, "stop": stop, "reset": reset}

    def _done(self, what: str) -> None:
        self.log.append(f"{what} {self.binary}")
        action = self._do[what]
        if isinstance(action, BaseException):
            raise action
        if action is not None:
            action()

    def start(self) -> None:
        self._done("start")
        self.runs = True
        self.log.append(f"started {self.binary}")

    def stop(self) -> None:
        self.runs = False
        self._done("stop")

    def wait(self) -> None:
        if not self.runs:
            self.log.append(f"wait {self.binary}")

    def reset(self) -> None:
        self._done("reset")


@pytest.fixture
def services() -> Iterator[Services]:
    services = Services("mutate", stop_timeout=5)
    yield services
    services.stop()


@pytest.fixture
def log() -> list[str]:
    return []


def started(services: Services) -> None:
    with eventlet.Timeout(30):
        services.wait_started()


def failed(services: Services) -> int:
    """Return the status of the SystemExit that ``wait`` raises."""
    with eventlet.Timeout(30), pytest.raises(SystemExit) as exit_:
        services.wait()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_services_start_in_order_the_next_when_the_previous_has_started(services: Services, log: list[str]) -> None:
    services.add(Recorded(log, "slow", start=lambda: eventlet.sleep(0.05)))
    services.add(Recorded(log, "quick"))
    started(services)
    assert log == ["start slow", "started slow", "start quick", "started quick"]


def test_services_stop_in_reverse_order(services: Services, log: list[str]) -> None:
    for name in "abc":
        services.add(Recorded(log, name))
    started(services)
    log.clear()
    assert services.stop()
    assert log == ["stop c", "wait c", "stop b", "wait b", "stop a", "wait a"]


def test_any_number_of_services_can_be_parked(services: Services, log: list[str]) -> None:
    """In the original container the eleventh ``add`` blocks for ever."""
    with eventlet.Timeout(30):
        for number in range(100):
            services.add(Recorded(log, str(number)))
        services.wait_started()
    assert sum(line.startswith("started") for line in log) == 100


def test_a_stop_that_raises_keeps_no_other_from_stopping(services: Services, log: list[str]) -> None:
    services.add(Recorded(log, "a"))
    services.add(Recorded(log, "b", stop=RuntimeError("no")))
    started(services)
    assert not services.stop()
    assert "stop a" in log


def test_a_stop_that_hangs_keeps_no_other_from_stopping(log: list[str], caplog: pytest.LogCaptureFixture) -> None:
    services = Services(stop_timeout=0.2)
    services.add(Recorded(log, "a"))
    services.add(Recorded(log, "b", stop=lambda: eventlet.sleep(60)))
    started(services)
    before = time.monotonic()
    assert not services.stop()
    assert time.monotonic() - before < 30
    assert "stop a" in log
    assert "b did not stop in time" in caplog.text


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("x"), 1), (ConfigError("x"), 78), (PermissionMissing("x"), 77), (SystemExit(3), 3)],
)
def test_a_failing_start_ends_the_services_with_its_status(services: Services, error: Any, status: int) -> None:
    services.add(Recorded([], "bad", start=error))
    assert failed(services) == status


def test_waiting_for_the_start_ends_when_one_fails(services: Services) -> None:
    services.add(Recorded([], "bad", start=ConfigError("x")))
    services.add(Recorded([], "never"))
    with eventlet.Timeout(30), pytest.raises(SystemExit) as exit_:
        services.wait_started()
    assert exit_.value.code == 78


def test_a_failing_start_stops_those_started_and_leaves_out_those_after_it(services: Services, log: list[str]) -> None:
    services.add(Recorded(log, "first"))
    services.add(Recorded(log, "bad", start=RuntimeError("x")))
    services.add(Recorded(log, "never"))
    failed(services)
    services.stop()
    assert log == ["start first", "started first", "start bad", "stop bad", "wait bad", "stop first", "wait first"]


def test_a_service_that_is_still_starting_is_interrupted_and_stopped(services: Services, log: list[str]) -> None:
    services.add(Recorded(log, "endless", start=lambda: eventlet.sleep(60)))
    wait_until(lambda: log == ["start endless"])
    assert services.stop()
    assert log == ["start endless", "stop endless", "wait endless"]


def test_a_thread_that_dies_ends_the_services_with_status_70(services: Services, log: list[str]) -> None:
    service: Any = Recorded(log, "a")
    service.tg = ThreadGroup()
    services.add(service)
    started(services)
    service.tg.add_thread(lambda: 1 / 0)
    assert failed(services) == 70


def test_a_thread_of_an_unchanged_service_of_oslo_that_dies_is_not_silent(services: Services) -> None:
    """In the original container its traceback goes to stderr, and the service continues without the thread."""
    theirs = oslo_service.Service()
    services.add(theirs)
    started(services)
    theirs.tg.add_thread(lambda: 1 / 0)
    assert failed(services) == 70


def test_a_group_that_is_in_use_already_stays_as_it_is(services: Services) -> None:
    theirs = oslo_service.Service()
    thread = theirs.tg.add_thread(eventlet.sleep, 60)
    group = theirs.tg
    services.add(theirs)
    assert theirs.tg is group
    services.stop()
    assert thread.thread.dead


def test_what_had_to_be_killed_is_named(log: list[str], caplog: pytest.LogCaptureFixture) -> None:
    def hang() -> None:
        eventlet.sleep(60)

    services = Services(stop_timeout=0.1)
    service: Any = Recorded(log, "a", stop=hang)
    service.tg = ThreadGroup()
    service.tg.add_thread(hang)
    services.add(service)
    started(services)
    assert not services.stop()
    assert "a did not stop in time; killed: " in caplog.text
    assert "hang" in caplog.text
    assert not service.tg.threads


@pytest.mark.parametrize("answer", [False, RuntimeError("x"), lambda: eventlet.sleep(60)])
def test_a_service_that_is_not_healthy_is_named(
    services: Services, log: list[str], monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    def healthy() -> bool:
        if isinstance(answer, Exception):
            raise answer
        return bool(answer() if callable(answer) else answer)

    monkeypatch.setattr("l3agent.service.service_calls.ANSWER_LIMIT_S", 0.05)
    services.add(Recorded(log, "without an opinion"))
    service: Any = Recorded(log, "sick")
    service.healthy = healthy
    services.add(service)
    assert services.list_unhealthy() == ["sick"]


def test_wait_before_start_waits_for_the_end(services: Services, log: list[str]) -> None:
    services.add(Recorded(log, "a"))
    waiter = eventlet.spawn(services.wait)
    started(services)
    assert not waiter.dead
    services.stop()
    with eventlet.Timeout(30):
        waiter.wait()


def test_wait_with_no_service_returns() -> None:
    with eventlet.Timeout(30):
        Services().wait()


def test_stop_twice_stops_once(services: Services, log: list[str]) -> None:
    services.add(Recorded(log, "a"))
    started(services)
    services.stop()
    services.stop()
    assert log.count("stop a") == 1


def test_restart_resets_and_an_error_of_one_keeps_no_other_from_it(services: Services, log: list[str]) -> None:
    services.add(Recorded(log, "a", reset=RuntimeError("x")))
    services.add(Recorded(log, "b"))
    started(services)
    log.clear()
    for _ in range(2):
        services.restart()
    assert log == ["reset a", "reset b"] * 2


def test_restart_by_reload_stops_resets_and_starts_again_any_number_of_times(log: list[str]) -> None:
    services = Services("reload")
    services.add(Recorded(log, "a"))
    started(services)
    log.clear()
    for _ in range(2):
        services.restart()
        started(services)
    assert log == ["stop a", "wait a", "reset a", "start a", "started a"] * 2
    services.stop()


def test_an_unknown_restart_method_is_refused() -> None:
    with pytest.raises(ValueError, match="restart_method: 'renew': must be mutate or reload"):
        Services("renew")


def test_run_service_is_start_then_done(log: list[str]) -> None:
    done = Event()
    runner = eventlet.spawn(Services.run_service, Recorded(log, "a"), done)
    wait_until(lambda: "started a" in log)
    assert not runner.dead
    done.send()
    with eventlet.Timeout(30):
        runner.wait()


def test_a_service_of_oslo_runs_unchanged(services: Services) -> None:
    class Theirs(oslo_service.Service):  # type: ignore[misc]
        beats = 0

        def start(self) -> None:
            self.tg.add_timer(0.01, self.beat)

        def beat(self) -> None:
            self.beats += 1

    theirs = Theirs()
    services.add(theirs)
    wait_until(lambda: theirs.beats > 2)
    assert services.stop()
    beats = theirs.beats
    eventlet.sleep(0.05)
    assert theirs.beats == beats
