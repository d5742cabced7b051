# SPDX-License-Identifier: Apache-2.0
"""The launcher with real processes and real signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import eventlet
import pytest
from oslo_config import cfg

from l3agent.service import launch

PROGRAM = Path(__file__).with_name("program.py")
SOON_S = 0.3  # 50 ms on a machine that has nothing else to do; the hub alone would take up to 60 s


class Process:
    """The program, and what it said."""

    def __init__(self, mode: str, workers: int, folder: Path) -> None:
        self.folder = folder
        self.configure("first")
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), mode, str(workers), "--config-file", str(folder / "conf")],
            stdout=subprocess.PIPE,
            stderr=(folder / "log").open("w"),
            text=True,
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
        )

    def configure(self, word: str) -> None:
        (self.folder / "conf").write_text(
            f"[DEFAULT]\nword = {word}\ngraceful_shutdown_timeout = 1\nuse_stderr = true\n"
        )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def line(self, what: str, timeout: float = 15) -> tuple[int, float]:
        """Wait until the program says this; return the process that said it, and when."""
        with eventlet.Timeout(timeout, TimeoutError(f"never said: {what}\n{self.log}")):
            for line in iter(self.process.stdout.readline, ""):  # type: ignore[union-attr]
                said, pid, moment = line.rsplit(maxsplit=2)
                if said == what:
                    return int(pid), float(moment)
        raise AssertionError(f"ended without saying: {what}\n{self.log}")

    def signal(self, number: signal.Signals) -> float:
        """Send a signal; return when."""
        moment = time.monotonic()
        self.process.send_signal(number)
        return moment

    def status(self, timeout: float = 15) -> int:
        with eventlet.Timeout(timeout, TimeoutError(f"still runs\n{self.log}")):
            return self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []

    def start(mode: str = "plain", workers: int = 1) -> Process:
        processes.append(Process(mode, workers, tmp_path))
        return processes[-1]

    yield start
    for one in processes:
        one.process.kill()
        one.process.wait()
        one.process.stdout.close()  # type: ignore[union-attr]


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """The service manager: each call waits for one message."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        os.chdir(tmp_path)  # the path of a socket has at most 107 bytes
        manager.bind("notify")
        manager.settimeout(15)
        yield lambda: manager.recv(1000).decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_an_idle_hub_stops_the_services_at_once(
    start: Callable[..., Process], number: signal.Signals
) -> None:
    """Nothing is open and no timer runs: the original acts after up to 60 s."""
    process = start()
    process.line("started")
    eventlet.sleep(0.1)
    sent = process.signal(number)
    _, stopped = process.line("stop")
    assert process.status() == 0
    assert stopped - sent < SOON_S


def test_a_second_signal_kills_at_once_even_when_the_hub_is_stuck(start: Callable[..., Process]) -> None:
    process = start("stuck_stop")
    process.line("started")
    process.signal(signal.SIGTERM)
    process.line("stop")
    process.signal(signal.SIGTERM)
    assert process.status(timeout=2) == -signal.SIGTERM


def test_a_stop_that_outlasts_the_deadline_ends_with_a_log_line_and_status_1(start: Callable[..., Process]) -> None:
    process = start("hanging_stop")
    process.line("started")
    sent = process.signal(signal.SIGTERM)
    assert process.status() == 1
    assert 1 <= time.monotonic() - sent < 3
    assert "Program did not stop in time" in process.log


def test_a_signal_interrupts_a_start_that_hangs(start: Callable[..., Process]) -> None:
    process = start("hanging_start")
    process.line("starting")
    process.signal(signal.SIGTERM)
    process.line("stopped")
    assert process.status() == 0


@pytest.mark.parametrize(("mode", "status"), [("error", 1), ("permission", 77), ("config", 78), ("crash", 70)])
def test_the_exit_status_says_why(start: Callable[..., Process], mode: str, status: int) -> None:
    process = start(mode)
    process.line("stopped")
    assert process.status() == status


def test_a_wrong_configuration_is_said_without_a_traceback(start: Callable[..., Process]) -> None:
    process = start("config")
    process.status()
    assert "x: wrong" in process.log
    assert "Traceback" not in process.log


def test_hang_up_takes_over_changed_options_again_and_again(start: Callable[..., Process]) -> None:
    """The original, in the foreground, neither reloads nor stops, and takes no further signal."""
    process = start()
    process.line("started")
    for word in ("second", "third"):
        process.configure(word)
        sent = process.signal(signal.SIGHUP)
        _, reset = process.line(f"reset {word}")
        assert reset - sent < SOON_S
    process.signal(signal.SIGTERM)
    assert process.status() == 0


def test_a_configuration_that_cannot_be_read_leaves_all_as_it_was(start: Callable[..., Process]) -> None:
    process = start()
    process.line("started")
    (process.folder / "conf").write_text("no equals sign\n")
    process.signal(signal.SIGHUP)
    process.configure("better")
    eventlet.sleep(0.3)
    process.signal(signal.SIGHUP)
    process.line("reset better")
    process.signal(signal.SIGTERM)
    assert process.status() == 0


def test_the_service_manager_hears_of_it_when_it_is_true(
    start: Callable[..., Process], notified: Callable[[], str]
) -> None:
    process = start()
    ready = notified()
    assert ready.startswith("READY=1\nSTATUS=running")
    _, started = process.line("started")
    assert started <= time.monotonic()
    process.signal(signal.SIGHUP)
    assert notified().startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert notified() == "READY=1"
    process.signal(signal.SIGTERM)
    assert notified() == "STOPPING=1\nSTATUS=stopping"


def test_a_start_that_fails_is_never_reported_as_ready(
    start: Callable[..., Process], notified: Callable[[], str]
) -> None:
    start("error")
    assert notified().startswith("STOPPING=1")


def test_workers_each_run_the_service(start: Callable[..., Process]) -> None:
    process = start(workers=2)
    pids = {process.line("started")[0] for _ in range(2)}
    assert len(pids) == 2
    assert process.process.pid not in pids
    sent = process.signal(signal.SIGTERM)
    stops = [process.line("stop") for _ in range(2)]
    assert process.status() == 0
    assert {pid for pid, _ in stops} == pids
    assert max(moment for _, moment in stops) - sent < SOON_S


def test_a_worker_that_dies_is_replaced(start: Callable[..., Process]) -> None:
    process = start(workers=2)
    pids = {process.line("started")[0] for _ in range(2)}
    os.kill(min(pids), signal.SIGKILL)
    assert process.line("started")[0] not in pids
    process.signal(signal.SIGTERM)
    assert process.status() == 0


def test_hang_up_reaches_each_worker(start: Callable[..., Process]) -> None:
    process = start(workers=2)
    pids = {process.line("started")[0] for _ in range(2)}
    process.configure("second")
    process.signal(signal.SIGHUP)
    assert {process.line("reset second")[0] for _ in range(2)} == pids
    process.signal(signal.SIGTERM)
    assert process.status() == 0


def test_workers_that_outlast_the_deadline_end_with_status_1(start: Callable[..., Process]) -> None:
    process = start("stuck_stop", workers=2)
    for _ in range(2):
        process.line("started")
    process.signal(signal.SIGTERM)
    assert process.status() == 1
    assert "Killed, since not done within 1 s: workers" in process.log


def test_workers_stop_when_their_parent_is_killed(start: Callable[..., Process]) -> None:
    process = start(workers=2)
    pids = {process.line("started")[0] for _ in range(2)}
    process.signal(signal.SIGKILL)
    assert {process.line("stopped")[0] for _ in range(2)} == pids


def test_launch_refuses_what_is_no_service() -> None:
    conf = cfg.ConfigOpts()
    conf([])
    with pytest.raises(TypeError, match="must have start, stop, wait and reset"):
        launch(conf, object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="workers: 0: must be 1 or more"):
        launch(conf, [], workers=0)
