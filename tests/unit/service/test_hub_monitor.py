# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import eventlet
import pytest
from eventlet import hubs

from l3agent.service import hub_monitor
from l3agent.service.hub_monitor import HubMonitor
from l3agent.testing import wait_until

_sleep_for_real = eventlet.patcher.original("time").sleep


def hold(seconds: float) -> str:
    _sleep_for_real(seconds)
    return "not interrupted"


@pytest.fixture
def watch() -> Iterator[HubMonitor]:
    watch = HubMonitor(limit=0.1)
    watch.start()
    eventlet.sleep(0.05)
    yield watch
    watch.stop()


def test_these_tests_run_on_the_hub_that_was_asked_for() -> None:
    """``tox -e asyncio`` runs them on another one."""
    asked_for = os.environ.get("EVENTLET_HUB", "epolls")
    assert type(hubs.get_hub()).__module__ == f"eventlet.hubs.{asked_for}"


def test_a_block_is_logged_with_its_stack_and_not_interrupted(
    watch: HubMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    """Retry up to ten times: on a busy machine the hub may be delayed in other places."""

    def is_reported() -> bool:
        caplog.clear()
        before = watch.blocks
        assert hold(0.4) == "not interrupted"
        eventlet.sleep(0.1)  # the greenthread logs the stack that the native thread has captured
        return watch.blocks > before and "in hold\n" in caplog.text and "test_hub_monitor.py" in caplog.text

    assert any(is_reported() for _ in range(10))


def test_a_block_recorded_after_its_end_keeps_its_duration(caplog: pytest.LogCaptureFixture) -> None:
    """Delay the native thread after it has found the probe 1.5 s late; meanwhile the hub measures and continues."""
    watch = HubMonitor(limit=1.0)
    watch._due = hub_monitor._now()
    watch._stack = ("the stack\n", watch._due - 5, 1.5)
    probe = eventlet.spawn(watch._measure)
    wait_until(lambda: watch.blocks)
    probe.kill()
    assert "blocked for 1.5 s (limit 1.0 s)" in caplog.text


def test_the_lag_is_measured(watch: HubMonitor) -> None:
    wait_until(lambda: watch.lag_s < 0.1)
    hold(0.3)
    wait_until(lambda: watch.max_lag_s > 0.2)
    wait_until(lambda: watch.lag_s < 0.1)


def test_waiting_is_no_block(watch: HubMonitor) -> None:
    """Retry up to ten times: a busy machine delays the hub by itself."""

    def blocks_of_a_wait() -> int:
        before = watch.blocks
        eventlet.sleep(0.4)
        return watch.blocks - before

    assert any(blocks_of_a_wait() == 0 for _ in range(10))


def test_it_ends_its_thread_at_once_and_can_begin_again(watch: HubMonitor) -> None:
    threads = threading._active  # type: ignore[attr-defined]
    before = len(threads)
    for _ in range(3):
        watch.stop()
        watch.start()
    assert len(threads) == before
    hold(0.4)
    wait_until(lambda: watch.blocks)


def test_without_a_limit_nothing_is_watched() -> None:
    watch = HubMonitor(limit=0)
    watch.start()
    hold(0.05)
    watch.stop()
    assert (watch.blocks, watch.max_lag_s) == (0, 0.0)


_STUCK = """
import warnings; warnings.simplefilter("ignore")
import eventlet; eventlet.monkey_patch()
from l3agent.service import hub_monitor
from l3agent.service.hub_monitor import HubMonitor
def for_ever():
    eventlet.patcher.original("time").sleep(60)
HubMonitor(limit=0.05).start()
eventlet.sleep(0)
for_ever()
"""


def test_a_block_without_end_is_written_to_stderr() -> None:
    with subprocess.Popen([sys.executable, "-c", _STUCK], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            with eventlet.Timeout(20):
                while "in for_ever" not in process.stderr.readline():
                    pass
        finally:
            process.kill()
