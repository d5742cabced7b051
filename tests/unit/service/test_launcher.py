# SPDX-License-Identifier: Apache-2.0
"""The launcher with real processes and real signals."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import eventlet
import pytest
from oslo_config import cfg

from l3agent.service import launch
from l3agent.testing import wait_until
from tests.support.service_manager import ServiceManager
from tests.support.service_process import Process

Start = Callable[..., Process]
AT_ONCE_S = 0.05  # the minimum of several: a busy machine may delay any of them
TRIES = 20
_METHODS = dict.fromkeys(("start", "stop", "wait", "reset"), lambda: None)
SOON_S = 30  # only one; an idle hub wakes up after up to 60 s


def test_a_second_signal_kills_at_once_even_when_the_hub_is_stuck(start: Start) -> None:
    process = start("stuck_stop")
    process.line("started")
    process.signal(signal.SIGTERM)
    process.line("stop")
    process.signal(signal.SIGTERM)
    assert process.status() == -signal.SIGTERM


def test_a_stop_that_outlasts_the_deadline_ends_with_a_log_line_and_status_1(start: Start) -> None:
    process = start("hanging_stop")
    process.line("started")
    sent = process.signal(signal.SIGTERM)
    assert process.status() == 1
    assert 1 <= time.monotonic() - sent < 30  # its stop sleeps for 60 s
    assert "Program did not stop in time; killed: eventlet.greenthread.sleep" in process.log


def test_a_signal_interrupts_a_start_that_hangs(start: Start) -> None:
    process = start("hanging_start")
    process.line("starting")
    process.signal(signal.SIGTERM)
    process.line("stopped")
    assert process.status() == 0


@pytest.mark.parametrize(("mode", "status"), [("error", 1), ("permission", 77), ("config", 78), ("crash", 70)])
def test_the_exit_status_depends_on_the_error(start: Start, mode: str, status: int) -> None:
    process = start(mode)
    process.line("stopped")
    assert process.status() == status


def test_a_configuration_error_is_logged_without_a_traceback(start: Start) -> None:
    process = start("config")
    process.status()
    assert "x: wrong" in process.log
    assert "Traceback" not in process.log


@pytest.mark.parametrize("hub", ["epolls", "poll", "asyncio"])
def test_signals_act_within_50_ms_on_an_idle_hub(start: Start, hub: str) -> None:
    """Nothing is open and no timer runs: an idle hub wakes up after up to 60 s."""
    process = start(EVENTLET_HUB=hub)
    process.line("started")
    assert any(_time_of_a_reset(process, number) < AT_ONCE_S for number in range(TRIES))
    assert any(_time_of_a_report(process, number) < AT_ONCE_S for number in range(1, TRIES))
    sent = process.signal(signal.SIGTERM)
    assert process.line("stop")[1] - sent < SOON_S
    assert process.status() == 0


def _time_of_a_reset(process: Process, number: int) -> float:
    eventlet.sleep(0.1)
    process.configure(f"word{number}")
    sent = process.signal(signal.SIGHUP)
    return process.line(f"reset word{number}")[1] - sent


def _time_of_a_report(process: Process, number: int) -> float:
    sent = time.time()
    process.signal(signal.SIGUSR2)
    wait_until(lambda: process.log.count("Guru Meditation") == number, timeout=60)
    line = [line for line in process.log.splitlines() if "SIGUSR2: writing a report" in line][-1]
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S.%f").timestamp() - sent


@pytest.mark.feature("operation.guru-report")
def test_sigusr2_shows_greenthreads_services_and_options_and_keeps_secrets(start: Start) -> None:
    process = start()
    process.line("started")
    process.signal(signal.SIGUSR2)
    wait_until(lambda: "transport_url" in process.log or "graceful_shutdown_timeout = 1" in process.log)
    assert "1 Program = started" in process.log
    assert "max_lag_s" in process.log
    assert "services.py" in process.log  # the method in which the service waits
    assert "word = first" in process.log
    process.signal(signal.SIGTERM)
    assert process.status() == 0


@pytest.mark.feature("process.sighup")
def test_sighup_logs_changed_options_and_options_that_need_a_restart(start: Start) -> None:
    process = start()
    process.line("started")
    process.configure("second", fixed="moved")
    process.signal(signal.SIGHUP)
    process.line("reset second")
    assert "Options changed: DEFAULT.word" in process.log
    assert "Options changed that need a restart: DEFAULT.fixed" in process.log
    process.configure("second")
    process.signal(signal.SIGHUP)
    process.line("reset second")
    assert "Options changed: none" in process.log
    assert process.log.count("need a restart") == 1


@pytest.mark.feature("process.sighup")
def test_sighup_reopens_log_files(start: Start, tmp_path: Path) -> None:
    process = start(OS_DEFAULT__LOG_FILE=str(tmp_path / "program.log"))
    process.line("started")
    wait_until((tmp_path / "program.log").exists, timeout=60)
    (tmp_path / "program.log").rename(tmp_path / "program.log.1")
    process.signal(signal.SIGHUP)
    process.line("reset first")
    wait_until((tmp_path / "program.log").exists, timeout=60)
    process.signal(signal.SIGTERM)
    assert process.status() == 0
    assert "exit status 0" in (tmp_path / "program.log").read_text()


@pytest.mark.feature("process.sighup")
def test_sighup_works_repeatedly_during_a_long_start(
    start: Start, service_manager: ServiceManager, tmp_path: Path
) -> None:
    log = tmp_path / "program.log"
    process = start("hanging_start", OS_DEFAULT__LOG_FILE=str(log))
    process.line("starting")
    for word in ("second", "third"):
        log.rename(tmp_path / f"{word}.log")
        process.configure(word, log_file=str(log))
        process.signal(signal.SIGHUP)
        process.line(f"reset {word}")
        wait_until(log.exists, timeout=60)
    process.signal(signal.SIGTERM)
    assert process.status() == 0
    assert [one.split("\n")[0] for one in service_manager.receive_within(0.5)] == ["RELOADING=1"] * 2 + ["STOPPING=1"]


def test_sighup_with_reload_restarts_a_long_start(start: Start, service_manager: ServiceManager) -> None:
    process = start("reload hanging_start")
    for _ in range(3):
        process.line("starting")
        process.signal(signal.SIGHUP)
        process.line("stopped")
    process.line("starting")
    process.signal(signal.SIGTERM)
    assert process.status() == 0
    assert [one.split("\n")[0] for one in service_manager.receive_within(0.5)] == ["RELOADING=1"] * 3 + ["STOPPING=1"]


def test_sighup_with_reload_ends_when_all_have_started_again(start: Start, service_manager: ServiceManager) -> None:
    process = start("reload")
    service_manager.receive("READY")
    process.signal(signal.SIGHUP)
    service_manager.receive("RELOADING")
    service_manager.receive("READY")
    ready_at = time.monotonic()
    process.line("started")
    assert process.line("started")[1] < ready_at


def test_a_configuration_that_cannot_be_read_leaves_all_as_it_was(start: Start) -> None:
    process = start()
    process.line("started")
    (process.folder / "conf").write_text("no equals sign\n")
    process.signal(signal.SIGHUP)
    wait_until(lambda: "Cannot reload the configuration" in process.log, timeout=60)
    process.configure("better")
    process.signal(signal.SIGHUP)
    process.line("reset better")
    process.signal(signal.SIGTERM)
    assert process.status() == 0


@pytest.mark.feature("process.readiness")
def test_the_service_manager_receives_each_state_in_order(start: Start, service_manager: ServiceManager) -> None:
    interval = 0.6
    process = start(WATCHDOG_USEC=str(int(interval * 1e6)))
    ready = service_manager.receive()
    ready_at = time.monotonic()
    assert ready == "READY=1\nSTATUS=running, 1 services"
    assert process.line("started")[1] < ready_at
    for _ in range(2):
        service_manager.receive("WATCHDOG=1")

    process.configure("sick")
    process.signal(signal.SIGHUP)
    # The health is checked concurrently: its result may arrive before or after the end of the reload.
    reloading, ready, status = service_manager.receive_all("RELOADING", "READY", "STATUS")
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert (ready, status) == ("READY=1", "STATUS=not healthy: Program, 1 services")
    assert service_manager.receive_within(2 * interval) == []

    process.configure("well")
    process.signal(signal.SIGHUP)
    assert service_manager.receive_all("WATCHDOG", "STATUS")[1] == "STATUS=running, 1 services"

    process.configure("block")
    process.signal(signal.SIGHUP)
    service_manager.receive("BLOCK=1")
    assert service_manager.receive() == "BLOCK=0"  # the block is longer than the interval
    service_manager.receive("WATCHDOG")
    # The watchdog notification and the report both follow the block, in any order.
    wait_until(lambda: "in hold_the_hub" in process.log, timeout=60)

    process.signal(signal.SIGTERM)
    assert service_manager.receive("STOPPING") == "STOPPING=1\nSTATUS=stopping"
    assert process.status() == 0


def test_a_start_that_fails_is_never_reported_as_ready(start: Start, service_manager: ServiceManager) -> None:
    start("error")
    assert service_manager.receive().startswith("STOPPING=1")


def test_a_start_that_does_not_return_is_named_once_in_the_log_and_the_status(
    start: Start, service_manager: ServiceManager
) -> None:
    process = start("hanging_start", START_TIMEOUT="0.5")
    assert service_manager.receive() == "STATUS=starting, Program has not started within 0.5 s"
    assert service_manager.receive_within(2) == []
    wait_until(lambda: "The start of Program has not returned within 0.5 s" in process.log, timeout=60)
    assert process.log.count("has not returned") == 1


def test_a_start_that_does_not_return_is_named_with_the_services_that_wait_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    conf = cfg.ConfigOpts()
    conf([])
    first, stuck, third = (SimpleNamespace(binary=name, **_METHODS) for name in ("first", "stuck", "third"))
    stuck.start = lambda: eventlet.sleep(60)
    launcher = launch(conf, [first, stuck, third], start_timeout=0.2)
    waiting = eventlet.spawn(launcher.wait_started)
    wait_until(lambda: "The start of stuck has not returned within 0.2 s; waiting for it: third" in caplog.text)
    assert "start of first" not in caplog.text
    waiting.kill()
    launcher.stop()


@pytest.mark.forks
def test_workers_each_run_the_service(start: Start) -> None:
    process = start(workers=2)
    pids = {process.line("started")[0] for _ in range(2)}
    assert len(pids) == 2
    assert process.process.pid not in pids
    sent = process.signal(signal.SIGTERM)
    stops = [process.line("stop") for _ in range(2)]
    assert process.status() == 0
    assert {pid for pid, _ in stops} == pids
    assert max(moment for _, moment in stops) - sent < SOON_S


@pytest.mark.forks
def test_workers_are_reported_as_ready_when_all_have_started(start: Start, service_manager: ServiceManager) -> None:
    process = start(workers=2)
    assert service_manager.receive() == "READY=1\nSTATUS=running, 2 workers"
    ready_at = time.monotonic()
    assert max(process.line("started")[1] for _ in range(2)) < ready_at


@pytest.mark.forks
def test_a_worker_that_dies_is_replaced(start: Start) -> None:
    process = start(workers=2)
    pids = {process.line("started")[0] for _ in range(2)}
    os.kill(min(pids), signal.SIGKILL)
    assert process.line("started")[0] not in pids
    process.signal(signal.SIGTERM)
    assert process.status() == 0


@pytest.mark.forks
def test_sighup_reaches_each_worker(start: Start) -> None:
    process = start(workers=2)
    pids = {process.line("started")[0] for _ in range(2)}
    process.configure("second")
    process.signal(signal.SIGHUP)
    assert {process.line("reset second")[0] for _ in range(2)} == pids
    process.signal(signal.SIGTERM)
    assert process.status() == 0


@pytest.mark.forks
def test_sighup_with_reload_replaces_the_workers(start: Start) -> None:
    process = start("reload", workers=2)
    pids = {process.line("started")[0] for _ in range(2)}
    process.signal(signal.SIGHUP)
    assert {process.line("started")[0] for _ in range(2)}.isdisjoint(pids)
    process.signal(signal.SIGTERM)
    assert process.status() == 0


@pytest.mark.forks
def test_a_report_is_asked_of_all_workers(start: Start) -> None:
    process = start(workers=2)
    for _ in range(2):
        process.line("started")
    process.signal(signal.SIGUSR2)
    wait_until(lambda: process.log.count("Guru Meditation") == 3, timeout=60)


@pytest.mark.forks
def test_failing_workers_are_replaced_once_per_second_and_signals_are_processed(start: Start) -> None:
    process = start("error", workers=2)
    starts = [process.line("starting")[1] for _ in range(6)]
    assert max(starts) - min(starts) > 1.5
    process.signal(signal.SIGTERM)
    assert process.status() == 0


@pytest.mark.forks
def test_workers_that_cannot_start_are_never_reported_as_ready(start: Start, service_manager: ServiceManager) -> None:
    """This includes the intervals in which all have died and none is replaced yet."""
    process = start("error", workers=2)
    for _ in range(6):
        process.line("starting")
    process.signal(signal.SIGTERM)
    assert process.status() == 0
    assert service_manager.receive().startswith("STOPPING=1")


@pytest.mark.forks
@pytest.mark.parametrize(("mode", "status"), [("config", 78), ("permission", 77)])
def test_workers_that_can_never_start_end_with_their_status(start: Start, mode: str, status: int) -> None:
    process = start(mode, workers=2)
    assert process.status() == status


@pytest.mark.forks
def test_the_watchdog_is_fed_while_each_worker_is_healthy(start: Start, service_manager: ServiceManager) -> None:
    interval = 0.6
    process = start(workers=2, WATCHDOG_USEC=str(int(interval * 1e6)))
    pid = min(process.line("started")[0] for _ in range(2))
    service_manager.receive("WATCHDOG")
    os.kill(pid, signal.SIGSTOP)
    # An earlier notification may still be in the queue.
    assert any(service_manager.receive_within(2 * interval) == [] for _ in range(5))
    os.kill(pid, signal.SIGCONT)
    assert service_manager.receive("WATCHDOG")


@pytest.mark.forks
def test_workers_that_outlast_the_deadline_end_with_status_1(start: Start) -> None:
    process = start("stuck_stop", workers=2)
    for _ in range(2):
        process.line("started")
    process.signal(signal.SIGTERM)
    assert process.status() == 1
    assert "Killed after 1 s: workers" in process.log


@pytest.mark.forks
def test_workers_in_which_something_was_killed_end_with_status_1(start: Start) -> None:
    process = start("hanging_stop", workers=2, KILL_DELAY_S="30")
    for _ in range(2):
        process.line("started")
    process.signal(signal.SIGTERM)
    assert process.status() == 1
    assert process.log.count("Program did not stop in time") == 2
    assert "Killed after 1 s: workers" not in process.log


@pytest.mark.forks
def test_workers_stop_when_their_parent_is_killed(start: Start) -> None:
    process = start(workers=2)
    pids = {process.line("started")[0] for _ in range(2)}
    process.signal(signal.SIGKILL)
    assert {process.line("stopped")[0] for _ in range(2)} == pids


def test_workers_are_refused_in_words_on_a_hub_that_does_not_survive_a_fork(start: Start) -> None:
    process = start(workers=2, EVENTLET_HUB="asyncio")
    assert process.status() == 78
    assert "workers: 2: EVENTLET_HUB=asyncio supports one worker only" in process.log
    assert "Traceback" not in process.log


def test_launch_refuses_what_is_no_service() -> None:
    conf = cfg.ConfigOpts()
    conf([])
    with pytest.raises(TypeError, match="must have start, stop, wait and reset"):
        launch(conf, object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="workers: 0: must be 1 or more"):
        launch(conf, [], workers=0)
