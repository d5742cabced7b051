# SPDX-License-Identifier: Apache-2.0
"""Pause and drain: what is left alone, what is remembered, and what is done afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import eventlet
import pytest
from oslo_config import cfg

from l3agent.exceptions import DataplaneUnavailable, L3AgentError
from l3agent.testing import FakeDataplane, FakePlugin, running, wait_until
from tests.support.agents import MakeAgent, OpenAgent, ServiceOf, router_state
from tests.support.payloads import a_floating_ip, a_router

R1, R2 = "cffffff1-0000-4000-8000-000000000000", "cffffff2-0000-4000-8000-000000000000"


def payload(router_id: str, *floating: int) -> dict[str, Any]:
    return a_router(id=router_id, _floatingips=[a_floating_ip(f"203.0.113.{n}", "10.0.0.5") for n in floating])


@pytest.fixture
def serving(agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane) -> OpenAgent:
    """Two routers, in sync."""
    plugin.routers = {router_id: payload(router_id) for router_id in (R1, R2)}
    agent.full_sync.request("the test")
    wait_until(lambda: agent.full_sync.in_sync and len(dataplane.states) == 2)
    return agent


def floating(dataplane: FakeDataplane, router_id: str) -> list[str] | None:
    if ("router", router_id) not in dataplane.states:
        return None
    return sorted(str(one.floating) for one in router_state(dataplane, router_id).floating_ips)


def updated(agent: OpenAgent, dataplane: FakeDataplane, router_id: str, *expected: int) -> None:
    agent.routers_updated(None, [router_id])
    wait_until(lambda: floating(dataplane, router_id) == [f"203.0.113.{n}" for n in expected])


def test_a_paused_router_is_left_alone_and_its_news_are_done_at_the_resume(
    serving: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    serving.maintenance.pause(R1)
    assert dataplane.unmanaged == {("router", R1)}
    plugin.routers |= {R1: payload(R1, 7), R2: payload(R2, 8)}
    serving.routers_updated(None, [R1])
    updated(serving, dataplane, R2, 8)
    serving.full_sync.request("the test")
    wait_until(lambda: serving.full_sync.completed >= 2 and serving.full_sync.in_sync)
    dataplane.restart()
    wait_until(lambda: dataplane.applied.count((("router", R2), dataplane.states["router", R2])) >= 2)
    assert floating(dataplane, R1) == []
    assert serving.queue.counts()["suspended"] == 1
    serving.maintenance.resume(R1)
    wait_until(lambda: floating(dataplane, R1) == ["203.0.113.7"])
    assert not dataplane.unmanaged
    wait_until(lambda: not any(serving.queue.counts().values()))


def test_the_end_of_a_pause_undoes_what_was_done_by_hand(serving: OpenAgent, dataplane: FakeDataplane) -> None:
    serving.maintenance.pause(R1)
    del dataplane.states["router", R1]
    serving.maintenance.resume(R1)
    wait_until(lambda: ("router", R1) in dataplane.states)


def test_a_router_deleted_while_it_is_paused_goes_at_the_resume(
    serving: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    serving.maintenance.pause(R1)
    del plugin.routers[R1]
    serving.router_deleted(None, R1)
    updated(serving, dataplane, R2)
    assert ("router", R1) in dataplane.states
    serving.maintenance.resume(R1)
    wait_until(lambda: ("router", R1) not in dataplane.states)
    assert not serving.maintenance.paused


def test_a_pause_waits_for_the_update_in_progress(
    serving: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    dataplane.delay = 0.2
    plugin.routers[R1] = payload(R1, 7)
    serving.routers_updated(None, [R1])
    wait_until(lambda: serving.routers.in_kernel_work)
    serving.maintenance.pause(R1)
    assert floating(dataplane, R1) == ["203.0.113.7"] and not serving.routers.in_kernel_work


def test_a_router_whose_removal_is_in_progress_cannot_be_paused(
    serving: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    dataplane.delay = 0.2
    del plugin.routers[R1]
    serving.router_deleted(None, R1)
    wait_until(lambda: serving.queue.is_processing(R1))
    with pytest.raises(L3AgentError, match="removed"):
        serving.maintenance.pause(R1)
    assert serving.maintenance.paused == set()


def test_a_failing_router_that_is_paused_is_not_tried_again_until_the_resume(
    serving: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    dataplane.fail_next(DataplaneUnavailable("gone"), times=1000)
    plugin.routers[R1] = payload(R1, 7)
    serving.routers_updated(None, [R1])
    wait_until(lambda: serving.router_info[R1].status == "error")
    serving.maintenance.pause(R1)
    wait_until(lambda: serving.queue.counts() == {"waiting": 0, "processing": 0, "retrying": 0, "suspended": 1})
    dataplane._failures._scheduled.clear()
    eventlet.sleep(0.3)  # longer than any retry of this agent
    assert floating(dataplane, R1) == []
    serving.maintenance.resume(R1)
    wait_until(lambda: floating(dataplane, R1) == ["203.0.113.7"])


def test_a_pause_that_the_data_plane_does_not_hear_of_is_none(
    serving: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    dataplane.fail_next(DataplaneUnavailable("gone"), operation="unmanage")
    with pytest.raises(DataplaneUnavailable):
        serving.maintenance.pause(R1)
    assert not serving.maintenance.paused
    plugin.routers[R1] = payload(R1, 7)
    updated(serving, dataplane, R1, 7)


@pytest.mark.feature("operation.pause")
def test_a_pause_survives_a_restart_of_the_agent(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    plugin.routers = {router_id: payload(router_id) for router_id in (R1, R2)}
    first, second = make_agent(), make_agent
    with running(plugin, service_of(first)):
        wait_until(lambda: first.full_sync.in_sync and len(dataplane.states) == 2)
        first.maintenance.pause(R1)
    plugin.routers = {R1: payload(R1, 7), R2: payload(R2, 8)}
    with running(plugin, service_of(again := second())):
        assert again.maintenance.paused == {R1}
        wait_until(lambda: again.full_sync.in_sync and floating(dataplane, R2) == ["203.0.113.8"])
        assert floating(dataplane, R1) == []
        again.maintenance.resume(R1)
        wait_until(lambda: floating(dataplane, R1) == ["203.0.113.7"])
    assert make_agent().maintenance.paused == set()


@pytest.mark.parametrize("text", ["", "{", "7", '"abc', '"abc"', "null"])
def test_a_damaged_file_of_pauses_is_logged_and_pauses_no_router(
    make_agent: MakeAgent, conf: cfg.ConfigOpts, text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "l3-agent-paused.json").write_text(text)
    assert make_agent().maintenance.paused == set()
    assert "l3-agent-paused.json" in caplog.text


def test_only_what_is_here_can_be_paused_and_only_what_is_paused_resumed(serving: OpenAgent) -> None:
    with pytest.raises(L3AgentError, match="not on this node"):
        serving.maintenance.pause("cffffff9-0000-4000-8000-000000000000")
    with pytest.raises(L3AgentError, match="not paused"):
        serving.maintenance.resume(R1)


def test_paused_routers_stay_when_all_are_removed_at_a_stop(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, dataplane: FakeDataplane, conf: cfg.ConfigOpts
) -> None:
    conf.set_override("cleanup_on_shutdown", True)
    plugin.routers = {router_id: payload(router_id) for router_id in (R1, R2)}
    with running(plugin, service_of(agent := make_agent())):
        wait_until(lambda: agent.full_sync.in_sync and len(dataplane.states) == 2)
        agent.maintenance.pause(R1)
    assert dataplane.states.keys() == {("router", R1)}


def test_a_drain_finishes_what_waits_and_takes_no_more(
    serving: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    dataplane.delay = 0.1
    plugin.routers[R1] = payload(R1, 7)
    serving.routers_updated(None, [R1])
    syncs = serving.full_sync.completed
    serving.maintenance.drain()
    assert serving.maintenance.state == "draining"
    wait_until(lambda: serving.maintenance.state == "drained")
    assert floating(dataplane, R1) == ["203.0.113.7"]
    plugin.routers[R2] = payload(R2, 8)
    serving.routers_updated(None, [R2])
    serving.full_sync.request("the test")
    wait_until(lambda: serving.full_sync.completed > syncs)
    assert serving.maintenance.state == "drained" and serving.queue.counts()["suspended"] == 2
    assert floating(dataplane, R2) == []
    serving.maintenance.undrain()
    wait_until(lambda: floating(dataplane, R2) == ["203.0.113.8"])
    assert serving.maintenance.state == "serving"


@pytest.mark.feature("operation.drain")
def test_state_reports_contain_a_drain_until_its_end(serving: OpenAgent, plugin: FakePlugin) -> None:
    def reports() -> Any:
        serving.parts.registration.report()
        return plugin.called("report_state")[-1]["agent_state"]["agent_state"]["configurations"].get("admin")

    assert reports() is None
    serving.maintenance.drain()
    wait_until(lambda: reports() == "drained")
    serving.maintenance.undrain()
    assert reports() is None


def test_a_paused_router_stays_paused_after_a_drain(
    serving: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    serving.maintenance.pause(R1)
    serving.maintenance.drain()
    plugin.routers = {R1: payload(R1, 7), R2: payload(R2, 8)}
    serving.routers_updated(None, [R1, R2])
    serving.maintenance.undrain()
    wait_until(lambda: floating(dataplane, R2) == ["203.0.113.8"])
    assert floating(dataplane, R1) == []
