# SPDX-License-Identifier: Apache-2.0
"""Number of log lines of an agent with 1,000 routers. Ten minutes are ten seconds: all intervals are a sixtieth."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import eventlet
import pytest
from oslo_config import cfg

from l3agent.agent import dataplane_client, dataplane_connector
from l3agent.rpc import failure_log
from l3agent.testing import FakeDataplane, FakePlugin, running, wait_until
from tests.support.agents import MakeAgent, OpenAgent, ServiceOf
from tests.support.payloads import a_router

ROUTERS = 1000
_SCALE = 1 / 60


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)
    return lambda: [f"{one.name}: {one.getMessage()}" for one in caplog.records if one.levelno >= logging.INFO]


@pytest.fixture
def thousand(plugin: FakePlugin) -> None:
    plugin.routers = {
        router["id"]: router
        for router in (a_router(id=f"c{n:07x}-0000-4000-8000-000000000000") for n in range(ROUTERS))
    }


def wait_idle(agent: OpenAgent) -> None:
    wait_until(lambda: agent.full_sync.in_sync and not any(agent.queue.counts().values()), timeout=60)


@pytest.mark.feature("operation.log-volume")
def test_an_idle_full_sync_of_a_thousand_routers_is_one_line(
    make_agent: MakeAgent,
    service_of: ServiceOf,
    plugin: FakePlugin,
    dataplane: FakeDataplane,
    thousand: None,
    lines: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running(plugin, service_of(agent := make_agent())):
        wait_idle(agent)
        assert len(dataplane.states) == ROUTERS
        caplog.clear()
        agent.full_sync.request("the last one was long ago")
        wait_idle(agent)
        assert len(lines()) == 1, lines()[:10]
        assert "Full sync complete (the last one was long ago): 1000 routers" in lines()[0]
        # Requested updates and repairs are logged.
        caplog.clear()
        router_id = next(iter(plugin.routers))
        plugin.cast_to_agents("routers_updated", routers=[router_id])
        wait_until(lambda: any(f"router {router_id} updated" in one for one in lines()))
        dataplane.states.pop(("router", router_id))
        agent.full_sync.request("test")
        wait_idle(agent)
        assert len([one for one in lines() if f"router {router_id} updated" in one]) == 2


@pytest.mark.feature("operation.log-volume")
def test_a_data_plane_that_is_absent_for_ten_minutes_is_few_lines(
    conf: cfg.ConfigOpts,
    transport: Any,
    service_of: ServiceOf,
    plugin: FakePlugin,
    thousand: None,
    lines: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    scaled = {"first": failure_log.FIRST_S * _SCALE, "then": failure_log.THEN_S * _SCALE}
    monkeypatch.setattr(failure_log.FailureLog.__init__, "__kwdefaults__", scaled)
    monkeypatch.setattr(dataplane_connector, "_CONNECTING_S", 5 * _SCALE)
    conf.set_override("retry_min", 1 * _SCALE, group="l3agent")
    conf.set_override("retry_max", 60 * _SCALE, group="l3agent")
    # The real client; nothing listens.
    dataplane = dataplane_client.DataplaneClient(str(tmp_path / "nothing.sock"), timeout=30 * _SCALE)
    agent = OpenAgent(conf, "node1", dataplane=dataplane, transport=transport)
    dataplane.start()
    try:
        with running(plugin, service_of(agent)):
            eventlet.sleep(600 * _SCALE)
            found = lines()
            failures = agent.queue.failures()
    finally:
        dataplane.stop()
    # Each of eight workers waits five seconds for the connection.
    assert len(failures) > ROUTERS // 4 and all("nothing.sock" in one.reason for one in failures.values())
    assert len(found) <= 50, found
    assert any("more failures" in one for one in found)
