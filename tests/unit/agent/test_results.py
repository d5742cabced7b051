# SPDX-License-Identifier: Apache-2.0
"""Results of updates: one log line each, its request id, and the observers."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import eventlet
import pytest
from oslo_config import cfg

from l3agent.agent.resource_update import PRIORITY_RPC, Action
from l3agent.agent.results import UpdateResult, UpdateResults
from l3agent.exceptions import ApplyError, DataplaneUnavailable
from l3agent.rpc import Client, admin_context
from l3agent.testing import FakeDataplane, FakePlugin, wait_until
from tests.support.agents import OpenAgent
from tests.support.payloads import a_router

R1 = "cffffff1-0000-4000-8000-000000000000"


@pytest.fixture
def results(agent: OpenAgent) -> list[UpdateResult]:
    """Return all results after the agent is in sync."""
    wait_until(lambda: agent.full_sync.in_sync)
    outcomes: list[UpdateResult] = []
    agent.results.observers.append(outcomes.append)
    return outcomes


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    caplog.set_level(logging.INFO)
    return lambda: [one for one in caplog.records if one.name == "l3agent.agent.results"]


@pytest.mark.feature("operation.update-log")
def test_an_update_is_one_line_with_its_times_and_the_request_of_the_server(
    agent: OpenAgent,
    plugin: FakePlugin,
    transport: Any,
    results: list[UpdateResult],
    lines: Callable[[], list[logging.LogRecord]],
) -> None:
    plugin.routers = {R1: a_router(id=R1)}
    context = admin_context()
    Client(transport, "l3_agent").cast(context, "routers_updated", fanout=True, routers=[R1])
    wait_until(lambda: results)
    line: Any
    [line] = lines()
    assert line.levelname == "INFO"
    assert line.getMessage().startswith(f"router {R1} updated: 1 operations, wait ")
    phases = ("wait", "fetch", "observe", "plan", "apply")
    assert all(re.search(rf"\b{phase} \d+\.", line.getMessage()) for phase in phases)
    assert line.context.request_id == context.request_id
    assert (line.router_id, line.update, line.operations) == (R1, "update", 1)
    assert line.timings.keys() == {"wait", "fetch", "observe", "plan", "apply"}


def test_of_two_requests_for_one_router_the_later_one_is_named(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane, results: list[UpdateResult]
) -> None:
    plugin.routers = {R1: a_router(id=R1)}
    first, second = admin_context(), admin_context()
    agent.routers_updated(first, [R1])
    agent.routers_updated(second, [R1])
    agent.full_sync.request("without a request")
    wait_until(lambda: results)
    assert [one.context.request_id for one in results[:1]] == [second.request_id]


def test_a_removal_is_logged_as_one(
    agent: OpenAgent, plugin: FakePlugin, results: list[UpdateResult], lines: Callable[[], list[logging.LogRecord]]
) -> None:
    plugin.routers = {R1: a_router(id=R1)}
    agent.routers_updated(None, [R1])
    wait_until(lambda: results)
    agent.router_deleted(None, R1)
    wait_until(lambda: len(results) == 2)
    assert [one.action for one in results] == ["update", "delete"]
    assert f"router {R1} removed: 1 operations" in lines()[-1].getMessage()


@pytest.mark.parametrize("error", [ApplyError("no room"), DataplaneUnavailable("gone"), RuntimeError("a bug")])
def test_a_failure_is_kept_with_its_request_until_newer_ones_push_it_out(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane, results: list[UpdateResult], error: Any
) -> None:
    plugin.routers = {R1: a_router(id=R1)}
    dataplane.fail_next(error)
    context = admin_context()
    agent.routers_updated(context, [R1])
    wait_until(lambda: len(results) == 2)
    assert [one.status for one in results] == ["retry", "ok"]
    [kept] = agent.results.errors
    assert (kept["router"], kept["name"], kept["request_id"]) == (R1, "r1", context.request_id)
    assert str(error) in kept["error"]


def test_a_rejected_payload_has_a_result(agent: OpenAgent, plugin: FakePlugin, results: list[UpdateResult]) -> None:
    plugin.routers = {R1: a_router(id=R1, _interfaces="nonsense")}
    agent.routers_updated(None, [R1])
    wait_until(lambda: results)
    assert results[0].status == "rejected" and "nonsense" in str(results[0].error)


@pytest.mark.parametrize("payload", [None, {"_interfaces": "nonsense"}], ids=["unknown", "rejected"])
def test_a_router_without_a_desired_state_is_never_applied_again(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane, results: list[UpdateResult], payload: Any
) -> None:
    """The data plane would remove what the kernel has of it."""
    if payload is not None:
        plugin.routers = {R1: a_router(id=R1, **payload)}
        agent.routers_updated(None, [R1])
        wait_until(lambda: results)
        results.clear()
    agent.queue.add(R1, Action.REAPPLY, PRIORITY_RPC)
    wait_until(lambda: results)
    assert [one.status for one in results] == ["skipped"] and not dataplane.applied
    wait_until(lambda: not any(agent.queue.counts().values()))


def test_an_update_that_changes_nothing_and_finds_something_to_do_was_unasked(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane, results: list[UpdateResult]
) -> None:
    plugin.routers = {R1: a_router(id=R1)}
    for number in (1, 2, 3):
        agent.routers_updated(None, [R1])
        wait_until(lambda number=number: len(results) == number)  # type: ignore[misc]
        if number == 2:
            dataplane.states.clear()  # another program has changed the kernel
    assert [(one.drift_repair, one.operations) for one in results] == [(False, 1), (True, 0), (True, 1)]


def test_only_the_last_failures_are_kept() -> None:
    outcomes = UpdateResults()
    for number in range(60):
        outcomes.publish(UpdateResult(R1, "update", "retry", error=str(number)))
    assert [one["error"] for one in outcomes.errors] == [str(number) for number in range(10, 60)]


def test_a_worker_that_waits_for_the_server_is_not_stuck_a_restart_would_not_help(
    agent: OpenAgent, plugin: FakePlugin, results: list[UpdateResult]
) -> None:
    plugin.routers = {R1: a_router(id=R1)}
    plugin.delays["sync_routers"] = 2.0
    agent.routers_updated(None, [R1])
    wait_until(lambda: plugin.called("sync_routers"))
    agent.in_flight.limit = 0.3
    eventlet.sleep(0.4)
    assert agent.in_flight.ages()[R1] > 0.3 and agent.healthy()
    (work,) = agent.in_flight._work.values()
    while not results and work.progress_at == work.started_at:
        assert agent.healthy()
        eventlet.sleep(0.01)
    # With the answer its time begins anew.
    assert work.progress_at - work.started_at > 0.3
    wait_until(lambda: results)


@pytest.mark.feature("process.readiness")
def test_a_worker_that_is_busy_for_longer_than_all_its_deadlines_is_stuck(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane, conf: cfg.ConfigOpts, results: list[UpdateResult]
) -> None:
    plugin.routers = {R1: a_router(id=R1)}
    dataplane.delay = 3.0
    agent.routers_updated(None, [R1])
    wait_until(lambda: R1 in agent.in_flight.ages())
    assert agent.healthy()
    agent.in_flight.limit = -1.0  # as if that time had passed
    # While it waits for the server it is not.
    wait_until(lambda: not agent.healthy())
    assert R1 in agent.stuck()[0]
    wait_until(lambda: results)
    assert agent.healthy()
