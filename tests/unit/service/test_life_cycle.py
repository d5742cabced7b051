# SPDX-License-Identifier: Apache-2.0
"""The life cycle as in the docstring of ``l3agent.service``, line by line, with real signals to this process."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import eventlet
import pytest
from oslo_config import cfg

import l3agent.service
from l3agent.exceptions import ConfigError, PermissionMissing
from l3agent.service import ThreadGroup, inprocess, launch, restart_on_crash
from l3agent.testing import wait_until
from tests.support.service_manager import ServiceManager


class Recorded:
    """Records its calls in a log that all services of a test share."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log
        self.tg = ThreadGroup()
        self.in_start: Callable[[], Any] = lambda: None
        self.well = True
        self.is_ready = True

    def start(self) -> None:
        self.log.append(f"start {self.name}")
        self.in_start()
        self.log.append(f"started {self.name}")

    def stop(self) -> None:
        self.log.append(f"stop {self.name}")
        self.tg.stop(graceful=True)

    def wait(self) -> None: ...

    def reset(self) -> None:
        self.log.append(f"reset {self.name}")

    def healthy(self) -> bool:
        return self.well

    def ready(self) -> bool:
        return self.is_ready


class Life:
    """Three services, launched in this process."""

    def __init__(self) -> None:
        self.conf = cfg.ConfigOpts()
        self.conf([], default_config_files=[])
        self.log: list[str] = []
        self.services = [Recorded(name, self.log) for name in "abc"]
        self.launcher = launch(self.conf, self.services, restart_method="mutate")
        self.conf.set_override("graceful_shutdown_timeout", 5)
        self._waiting: Any = None

    def begin(self) -> None:
        self._waiting = eventlet.spawn(self.launcher.wait)
        wait_until(lambda: self.log[-1:] == ["started c"])

    def status(self) -> int:
        self._waiting = self._waiting or eventlet.spawn(self.launcher.wait)
        with eventlet.Timeout(10):
            return int(self._waiting.wait())

    def close(self) -> None:
        self.launcher.services.request_stop()
        if self._waiting:
            self.status()


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    life = Life()
    yield life
    life.close()


STOPS = ["stop c", "stop b", "stop a"]


def test_line_1_nothing_starts_before_wait(life: Life) -> None:
    assert life.log == []


def test_line_2_services_start_in_order(life: Life) -> None:
    life.services[0].in_start = lambda: eventlet.sleep(0.05)
    life.begin()
    assert life.log == [f"{what} {name}" for name in "abc" for what in ("start", "started")]


@pytest.mark.feature("process.readiness")
def test_line_3_ready_when_all_have_started_and_the_watchdog_while_all_are_healthy(
    service_manager: ServiceManager, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "150000")
    life = Life()
    life.services[2].in_start = lambda: eventlet.sleep(0.1)
    life.services[0].is_ready = False
    assert service_manager.receive_within(0.05) == []
    life.begin()
    assert service_manager.receive() == "STATUS=starting, not ready: Recorded"
    assert service_manager.receive_within(0.3) == []
    life.services[0].is_ready = True
    assert service_manager.receive() == "READY=1\nSTATUS=running, 3 services"
    assert service_manager.receive("WATCHDOG=1")
    life.services[1].well = False
    service_manager.receive("STATUS=not healthy: Recorded")
    assert service_manager.receive_within(0.3) == []
    life.close()


def test_line_3_a_service_that_is_not_ready_delays_the_others_for_a_limited_time(
    service_manager: ServiceManager, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setattr(inprocess, "READY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(inprocess, "_HEALTH_POLL_S", 0.05)
    life = Life()
    life.services[0].is_ready = False
    life.begin()
    os.kill(os.getpid(), signal.SIGHUP)  # the end of a reload is not the end of the start
    assert service_manager.receive("READY") == "READY=1\nSTATUS=not ready: Recorded, 3 services"
    life.services[0].is_ready = True
    assert service_manager.receive("STATUS") == "STATUS=running, 3 services"
    life.close()


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("x"), 1), (PermissionMissing("x"), 77), (ConfigError("x"), 78)]
)
def test_line_4_a_start_that_fails_stops_those_before_it(life: Life, error: Exception, status: int) -> None:
    def fail() -> None:
        raise error

    life.services[1].in_start = fail
    assert life.status() == status
    assert life.log == ["start a", "started a", "start b", "stop b", "stop a"]


def test_line_5_sighup_resets_each_service_in_order_again_and_again(life: Life) -> None:
    called: list[str] = []
    life.conf.register_mutate_hook(lambda conf, fresh: called.append("options"))
    life.begin()
    for times in (1, 2):
        del life.log[:]
        os.kill(os.getpid(), signal.SIGHUP)
        wait_until(lambda: len(life.log) == 3)
        assert life.log == ["reset a", "reset b", "reset c"]
        assert called == ["options"] * times


def test_line_6_sigusr2_writes_a_report(life: Life, capfd: pytest.CaptureFixture[str]) -> None:
    life.begin()
    os.kill(os.getpid(), signal.SIGUSR2)
    said = ""
    with eventlet.Timeout(10):
        while "Configuration" not in said:
            eventlet.sleep(0.05)
            said += capfd.readouterr().err
    assert "3 Recorded = started" in said
    assert "graceful_shutdown_timeout = 5" in said


def test_line_7_a_thread_that_dies_stops_all_unless_it_is_restarted(life: Life) -> None:
    life.begin()
    deaths: list[int] = []

    def die() -> None:
        deaths.append(1)
        raise RuntimeError("x")

    life.services[0].tg.add_thread(restart_on_crash(die, delay_min=0.01))
    wait_until(lambda: len(deaths) == 3)
    del life.log[:]
    life.services[1].tg.add_thread(die)
    assert life.status() == 70
    assert life.log == STOPS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_line_8_a_signal_stops_all_in_reverse_order_each_under_its_own_guard(
    life: Life, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """The kill by a second signal is tested by ``test_a_second_signal_kills_at_once_even_when_the_hub_is_stuck``."""

    def fail(graceful: bool) -> None:
        raise RuntimeError("x")

    life.begin()
    monkeypatch.setattr(life.services[1].tg, "stop", fail)
    del life.log[:]
    os.kill(os.getpid(), number)
    assert life.status() == 1
    assert life.log == STOPS


@pytest.mark.feature("process.graceful-stop")
def test_line_9_work_in_progress_has_until_the_deadline_and_is_then_killed_and_named(
    life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    life.launcher.services.stop_timeout = 0.5
    life.begin()
    life.services[0].tg.add_thread(lambda: (eventlet.sleep(0.1), life.log.append("done")))

    def endless() -> None:
        eventlet.sleep(60)

    life.services[1].tg.add_thread(endless)
    os.kill(os.getpid(), signal.SIGTERM)
    assert life.status() == 1
    assert "done" in life.log
    assert re.search(r"Recorded did not stop in time; killed: \S*endless", caplog.text)


def test_line_10_the_exit_status_is_0_when_all_went_well(life: Life) -> None:
    """Lines 4, 7, 8 and 9 test the other statuses."""
    life.begin()
    os.kill(os.getpid(), signal.SIGTERM)
    assert life.status() == 0


def test_each_line_of_the_page_has_its_test() -> None:
    told = re.findall(r"^ {4,5}(\d+)  ", l3agent.service.__doc__ or "", flags=re.MULTILINE)
    tested = {match[1] for name in globals() if (match := re.match(r"test_line_(\d+)_", name))}
    assert told == [str(number) for number in range(1, 11)]
    assert set(told) == tested
