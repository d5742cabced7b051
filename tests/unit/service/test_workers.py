# SPDX-License-Identifier: Apache-2.0
"""Forked workers and their parent, with real processes and real signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from l3agent.testing import wait_until
from tests.support.service_manager import ServiceManager
from tests.support.service_process import Process

pytestmark = pytest.mark.forks
Start = Callable[..., Process]


def _started(process: Process, count: int = 2) -> set[int]:
    return {process.line("started")[0] for _ in range(count)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_process_group_completes_the_work_of_each_worker(start: Start, number: signal.Signals) -> None:
    process = start("slow_stop", workers=2)
    pids = _started(process)
    process.signal_group(number)
    assert {process.line("stopped")[0] for _ in range(2)} == pids
    assert process.status() == 0


def test_a_second_signal_to_the_process_group_kills_at_once(start: Start) -> None:
    process = start("long_stop", workers=2)
    _started(process)
    process.signal_group(signal.SIGINT)
    wait_until(lambda: process.log.count("SIGINT: stopping, time limit 300 s; a second signal kills") == 3, timeout=60)
    process.signal_group(signal.SIGINT)
    assert process.status() == -signal.SIGINT
    with pytest.raises(AssertionError, match="ended without a line"):
        process.line("stopped")


def test_a_worker_that_was_asked_to_stop_twice_is_killed_only_by_a_signal_after_its_parents(start: Start) -> None:
    process = start("slow_stop", workers=2)
    pid = min(_started(process))
    os.kill(pid, signal.SIGTERM)  # an operator
    assert process.line("stop")[0] == pid
    process.signal(signal.SIGTERM)  # the parent forwards it
    assert {process.line("stopped")[0] for _ in range(2)} >= {pid}
    assert process.status() == 0


@pytest.mark.parametrize("group", [False, True])
def test_a_second_hang_up_does_not_cut_workers_that_the_first_replaces(start: Start, group: bool) -> None:
    process = start("reload slow_stop", workers=2)
    pids = _started(process)
    hang_up = process.signal_group if group else process.signal
    hang_up(signal.SIGHUP)
    for _ in range(2):
        process.line("stop")
    hang_up(signal.SIGHUP)
    assert {process.line("stopped")[0] for _ in range(2)} == pids
    assert _started(process).isdisjoint(pids)
    process.signal(signal.SIGTERM)
    assert process.status() == 0
    assert "status -" not in process.log


def test_stop_from_a_greenthread_ends_the_workers_and_the_wait(start: Start) -> None:
    process = start("stop_later", workers=2)
    assert process.status() == 0


def test_the_parent_resets_and_stops_its_own_services(start: Start) -> None:
    process = start("reload facts", workers=2)
    assert len(process.pids("first True, frozen True, word first", "first False, frozen True, word first")) == 2
    process.configure("second")
    process.signal(signal.SIGHUP)
    process.line("reset in the parent")
    process.line("first True, frozen True, word second")
    process.signal(signal.SIGTERM)
    process.line("stop in the parent")
    assert process.status() == 0


def test_exactly_one_worker_is_the_first_and_its_replacement_takes_its_place(start: Start) -> None:
    process = start("facts", workers=2)
    process.line("first False, frozen True, word first")
    process = start("facts", workers=2)
    first, _ = process.line("first True, frozen True, word first")
    os.kill(first, signal.SIGKILL)
    assert process.line("first True, frozen True, word first")[0] != first


def test_the_parent_leaves_the_statuses_of_its_other_children_alone(start: Start) -> None:
    process = start("run_programs", workers=2)
    process.line("statuses [1]")


def test_a_start_that_does_not_return_is_named_with_its_worker(start: Start, service_manager: ServiceManager) -> None:
    process = start("hanging_start", workers=2, START_TIMEOUT="0.5")
    assert service_manager.receive("STATUS=starting, not started within 0.5 s: Program (worker ")
    wait_until(lambda: "The start of Program has not returned within 0.5 s" in process.log, timeout=60)
