# SPDX-License-Identifier: Apache-2.0
"""Replay of one router: all its log lines and operations, and none of other routers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import eventlet
import pytest

from l3agent.exceptions import ApplyError, L3AgentError, TransientError
from l3agent.ops.replay import replay
from l3agent.testing import FakeDataplane, FakePlugin, wait_until
from tests.support.agents import OpenAgent, router_state
from tests.support.payloads import a_floating_ip, a_router

R1, R2 = "cffffff1-0000-4000-8000-000000000000", "cffffff2-0000-4000-8000-000000000000"


@pytest.fixture
def serving(agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane) -> OpenAgent:
    """Two routers, in sync."""
    plugin.routers = {router_id: a_router(id=router_id) for router_id in (R1, R2)}
    agent.full_sync.request("the test")
    wait_until(lambda: agent.full_sync.in_sync and len(dataplane.states) == 2)
    return agent


def changed(router_id: str) -> dict[str, Any]:
    return a_router(id=router_id, _floatingips=[a_floating_ip("203.0.113.7", "10.0.0.5")])


@pytest.mark.feature("operation.pause")
def test_a_replay_applies_the_current_payload_and_returns_its_log_lines(
    serving: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    plugin.routers |= {R1: changed(R1)}
    answer = replay(serving.view, serving.actions, R1, 5)
    assert (answer["action"], answer["result"], answer["error"]) == ("update", "ok", None)
    assert {str(one.floating) for one in router_state(dataplane, R1).floating_ips} == {"203.0.113.7"}
    assert {"wait", "fetch"} <= answer["timings"].keys()
    assert answer["log"] and all(R1 in line for line in answer["log"])
    assert any(" DEBUG " in line for line in answer["log"]) and any(" INFO " in line for line in answer["log"])


class Written(logging.Handler):
    """A log that takes whatever comes."""

    def __init__(self) -> None:
        super().__init__(level=0)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def written() -> Iterator[Written]:
    root, ours = logging.getLogger(), logging.getLogger("l3agent")
    before, log = (root.level, ours.level), Written()
    root.addHandler(log)
    root.setLevel(logging.INFO)
    ours.setLevel(logging.NOTSET)
    yield log
    root.removeHandler(log)
    root.setLevel(before[0])
    ours.setLevel(before[1])


def test_the_log_has_no_more_than_usual(serving: OpenAgent, plugin: FakePlugin, written: Written) -> None:
    other = logging.getLogger("oslo.messaging.test")
    other.setLevel(logging.DEBUG)
    plugin.routers |= {R1: changed(R1)}
    answer = replay(serving.view, serving.actions, R1, 5)
    assert any(" DEBUG " in line for line in answer["log"])
    assert {one.levelname for one in written.records if one.name.startswith("l3agent")} == {"INFO"}
    assert written.filters == [] and logging.getLogger("l3agent").level == logging.NOTSET
    other.debug("of another router")
    assert written.records[-1].getMessage() == "of another router"


def test_two_at_a_time_leave_the_level_as_it_was(
    serving: OpenAgent, plugin: FakePlugin, written: Written, dataplane: FakeDataplane
) -> None:
    plugin.routers |= {R1: changed(R1), R2: changed(R2)}
    dataplane.delay = 0.1
    results = [eventlet.spawn(replay, serving.view, serving.actions, one, 5) for one in (R1, R2)]
    assert [any(" DEBUG " in line for line in one.wait()["log"]) for one in results] == [True, True]
    assert logging.getLogger("l3agent").level == logging.NOTSET and written.filters == []


def test_a_paused_router_is_refused(serving: OpenAgent) -> None:
    serving.maintenance.pause(R2)
    with pytest.raises(L3AgentError, match="paused"):
        replay(serving.view, serving.actions, R2, 5)


def test_a_failure_is_returned(serving: OpenAgent, dataplane: FakeDataplane) -> None:
    dataplane.fail_next(ApplyError("the kernel has had enough"))
    answer = replay(serving.view, serving.actions, R1, 5)
    assert answer["result"] == "retry" and "the kernel has had enough" in answer["error"]


def test_an_update_in_progress_before_it_is_not_its_result(
    serving: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    dataplane.delay = 0.2
    serving.routers_updated(None, [R1])
    wait_until(lambda: serving.queue.is_processing(R1))
    plugin.routers |= {R1: changed(R1)}
    assert replay(serving.view, serving.actions, R1, 5)["result"] == "ok"
    assert {str(one.floating) for one in router_state(dataplane, R1).floating_ips} == {"203.0.113.7"}


def test_it_has_a_deadline_and_is_not_done_by_a_drained_agent(serving: OpenAgent, dataplane: FakeDataplane) -> None:
    dataplane.delay = 0.5
    with pytest.raises(TransientError, match=r"not processed within 0\.1 s"):
        replay(serving.view, serving.actions, R1, 0.1)
    assert serving.results.observers == []
    serving.maintenance.drain()
    with pytest.raises(L3AgentError, match="drained"):
        replay(serving.view, serving.actions, R1, 5)
