# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import eventlet
import pytest
from oslo_config import cfg

from l3agent.agent.composition import STATE_CACHE_FILE
from l3agent.agent.state_cache import StateCache
from l3agent.exceptions import DataplaneUnavailable
from l3agent.model.states import NamespaceState
from l3agent.rpc import Client, get_transport
from l3agent.service import Service
from l3agent.service.services import Services
from l3agent.testing import FakeDataplane, FakePlugin, running, wait_until
from tests.support.agents import FOREIGN_STATE, MakeAgent, OpenAgent, ServiceOf, router_state
from tests.support.payloads import a_floating_ip, a_router
from tests.support.states import desired_namespace

R1, R2, R3 = (f"cffffff{number}-0000-4000-8000-000000000000" for number in (1, 2, 3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / STATE_CACHE_FILE


@pytest.fixture
def remember(path: Path) -> Callable[..., None]:
    def write(*payloads: dict[str, Any]) -> None:
        state_cache = StateCache(str(path), "node1", interval=1)
        for payload in payloads:
            state_cache.store(payload["id"], payload)
        state_cache.write()

    return write


def loaded(path: Path, host: str = "node1") -> list[Any]:
    return list(StateCache(str(path), host, interval=1).load())


def local_ids(dataplane: FakeDataplane) -> set[str]:
    return {router_id for kind, router_id in dataplane.states if kind == "router"}


# The file


def test_what_is_remembered_is_loaded(path: Path, remember: Callable[..., None]) -> None:
    remember(a_router(id=R1), a_router(id=R2))
    assert loaded(path) == [a_router(id=R1), a_router(id=R2)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_damaged_line_costs_one_router(
    path: Path, remember: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    remember(a_router(id=R1), a_router(id=R2), a_router(id=R3))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1], lines[2][:40], "[]", lines[3]]))
    assert [payload["id"] for payload in loaded(path)] == [R1, R3]
    assert len([record for record in caplog.records if "is ignored" in record.getMessage()]) == 2


def test_damaged_bytes_cost_one_router(
    path: Path, remember: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    remember(a_router(id=R1), a_router(id=R2), a_router(id=R3))
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], lines[2].replace(b"e", b"\xff", 1), lines[3]]))
    assert [payload["id"] for payload in loaded(path)] == [R1, R3]
    assert "line 3 is ignored" in caplog.text


@pytest.mark.feature("process.without-server")
@pytest.mark.parametrize("content", ["", "nonsense\n", '{"l3agent_routers": 2, "host": "node1"}\n', b"\xff\xfe\n"])
def test_a_foreign_file_is_logged_and_ignored(path: Path, content: Any, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert loaded(path) == []
    assert "is ignored" in caplog.text


def test_the_file_of_another_node_is_ignored(path: Path, remember: Callable[..., None]) -> None:
    remember(a_router(id=R1))
    assert loaded(path, "node2") == []


def test_a_failed_write_is_logged_and_keeps_the_former_file(
    path: Path, remember: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    remember(a_router(id=R1))
    path.with_name(path.name + ".new").mkdir()
    state_cache = StateCache(str(path), "node1", interval=1)
    state_cache.store(R2, a_router(id=R2))
    state_cache.write()
    state_cache.write()
    assert caplog.text.count(str(path)) == 2, "each failure is logged once, and names the file twice"
    assert [payload["id"] for payload in loaded(path)] == [R1]
    path.with_name(path.name + ".new").rmdir()
    state_cache.write()
    assert [payload["id"] for payload in loaded(path)] == [R2]


def test_a_write_that_is_killed_is_made_good_by_the_next(path: Path) -> None:
    state_cache = StateCache(str(path), "node1", interval=1)
    for number in range(60):  # more than are written without a yield
        state_cache.store(str(number), a_router(id=R1))
    writing = eventlet.spawn(state_cache.write)
    eventlet.sleep(0)
    fresh = path.with_name(path.name + ".new")
    assert fresh.exists() and not path.exists()
    writing.kill()
    assert not fresh.exists()
    state_cache.write()
    assert len(loaded(path)) == 60


def test_nothing_is_written_when_nothing_changed(path: Path, remember: Callable[..., None]) -> None:
    remember(a_router(id=R1))
    state_cache = StateCache(str(path), "node1", interval=1)
    list(state_cache.load())
    before = path.stat().st_ino
    state_cache.store(R1, a_router(id=R1))
    state_cache.write()
    assert path.stat().st_ino == before


# The agent


def test_an_agent_keeps_what_it_serves_and_forgets_what_is_gone(
    agent: OpenAgent, plugin: FakePlugin, path: Path
) -> None:
    wait_until(lambda: agent.full_sync.in_sync)
    plugin.routers = {R1: a_router(id=R1), R2: a_router(id=R2)}
    agent.routers_updated(None, [R1, R2])
    wait_until(lambda: path.exists() and {payload["id"] for payload in loaded(path)} == {R1, R2})
    agent.router_deleted(None, R2)
    wait_until(lambda: {payload["id"] for payload in loaded(path)} == {R1})


@pytest.mark.feature("process.without-server")
def test_without_a_server_the_routers_of_the_last_time_are_served(
    make_agent: MakeAgent, service_of: ServiceOf, dataplane: FakeDataplane, remember: Callable[..., None]
) -> None:
    remember(a_router(id=R1), a_router(id=R2))
    dataplane.states[("router", R1)] = FOREIGN_STATE
    dataplane.states[("router", "unknown")] = FOREIGN_STATE
    with running(service_of(agent := make_agent())):
        wait_until(lambda: local_ids(dataplane) == {R1, R2, "unknown"})
        wait_until(lambda: dataplane.states[("router", R1)] == desired_namespace(a_router(id=R1)))
        assert {info.status for info in agent.router_info.values()} <= {"active", "pending"}
        assert agent.full_sync.completed == 0
    assert all(state is not None for _, state in dataplane.applied), "something was removed"


@pytest.mark.feature("process.without-server")
def test_without_a_broker_too(
    conf: cfg.ConfigOpts,
    request: pytest.FixtureRequest,
    dataplane: FakeDataplane,
    remember: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Start without a broker, for which the start waits."""
    monkeypatch.setattr("l3agent.agent.l3_agent._BROKER_S", 0.1)
    transport = get_transport(conf, "rabbit://127.0.0.1:1/")
    Client(transport, "registers the option")
    conf.set_override("rpc_response_timeout", 1)
    remember(a_router(id=R1), a_router(id=R2))
    dataplane.states[("router", R1)] = FOREIGN_STATE
    agent = OpenAgent(conf, "node1", dataplane=dataplane, transport=transport)
    service = Service.create(
        binary="neutron-l3-agent", topic="l3_agent", manager=agent, conf=conf, host="node1", transport=transport
    )
    services = Services()
    services.add(service)
    try:
        wait_until(lambda: local_ids(dataplane) == {R1, R2}, timeout=30)
        assert dataplane.states[("router", R1)] == desired_namespace(a_router(id=R1))
        assert service.conn is not None and not service.conn.connected and agent.full_sync.completed == 0
    finally:
        services.stop()


def test_what_the_kernel_has_is_brought_in_order_before_the_server_answers(
    make_agent: MakeAgent,
    service_of: ServiceOf,
    plugin: FakePlugin,
    dataplane: FakeDataplane,
    remember: Callable[..., None],
) -> None:
    """Hold routers that the kernel lacks: the server may have moved them while this node was down."""
    remember(a_router(id=R1), a_router(id=R2))
    dataplane.states[("router", R1)] = FOREIGN_STATE
    plugin.routers = {R1: a_router(id=R1)}
    plugin.delays["get_router_ids"] = 0.6
    with running(plugin, service_of(agent := make_agent())):
        wait_until(lambda: dataplane.applied)
        assert agent.full_sync.completed == 0
        wait_until(lambda: agent.full_sync.in_sync and R2 not in agent.router_info)
    assert {key for key, state in dataplane.applied if state is not None} == {("router", R1)}


def test_the_word_of_the_server_wins_over_what_is_remembered(
    make_agent: MakeAgent,
    service_of: ServiceOf,
    plugin: FakePlugin,
    dataplane: FakeDataplane,
    remember: Callable[..., None],
) -> None:
    remember(a_router(id=R1, gw_port=None, revision_number=3))
    dataplane.states[("router", R1)] = FOREIGN_STATE
    plugin.routers = {R1: a_router(id=R1, revision_number=4)}
    with running(plugin, service_of(agent := make_agent())):
        wait_until(lambda: agent.full_sync.in_sync and agent.router_info[R1].sequence)
        wait_until(lambda: dataplane.states[("router", R1)] == desired_namespace(a_router(id=R1)))


@pytest.mark.feature("process.without-server")
def test_what_is_remembered_is_checked_like_an_answer(
    make_agent: MakeAgent,
    service_of: ServiceOf,
    dataplane: FakeDataplane,
    remember: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    remember(a_router(id=R1, _interfaces="nonsense"), a_router(id=R2, ha=True), a_router(id=R3))
    with running(service_of(make_agent())):
        wait_until(lambda: local_ids(dataplane) == {R3})
    assert "_interfaces" in caplog.text


def test_statuses_of_restored_floating_ips_are_not_reported_again(
    make_agent: MakeAgent,
    service_of: ServiceOf,
    plugin: FakePlugin,
    dataplane: FakeDataplane,
    remember: Callable[..., None],
) -> None:
    fip = a_floating_ip("203.0.113.99", "10.0.0.9")
    remember(a_router(id=R1, _floatingips=[fip]))
    dataplane.states[("router", R1)] = FOREIGN_STATE
    plugin.routers = {R1: a_router(id=R1, _floatingips=[fip | {"status": "ACTIVE"}])}
    with running(plugin, service_of(agent := make_agent())):
        wait_until(lambda: agent.full_sync.in_sync and agent.router_info[R1].sequence)
        eventlet.sleep(0.05)
    assert not plugin.called("update_floatingip_statuses")


def test_a_data_plane_that_is_late_is_waited_for(
    make_agent: MakeAgent, service_of: ServiceOf, dataplane: FakeDataplane, remember: Callable[..., None]
) -> None:
    remember(a_router(id=R1))
    dataplane.states[("router", R1)] = FOREIGN_STATE
    dataplane.fail_next(DataplaneUnavailable("not yet"), times=3, operation="inventory")
    with running(service_of(make_agent())):
        wait_until(lambda: dataplane.states[("router", R1)] == desired_namespace(a_router(id=R1)))


# Answers older than what is known


@pytest.mark.feature("sync.stale-answer")
def test_an_answer_older_than_what_is_known_is_asked_for_again(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_until(lambda: agent.full_sync.in_sync)
    plugin.routers = {R1: a_router(id=R1, revision_number=7)}
    agent.routers_updated(None, [R1])
    wait_until(lambda: local_ids(dataplane) == {R1})
    real, old = plugin.sync_routers, [a_router(id=R1, gw_port=None, revision_number=6)]
    plugin.sync_routers = lambda context, **arguments: [old.pop()] if old else real(context, **arguments)
    agent.routers_updated(None, [R1])
    wait_until(lambda: agent.router_info[R1].updates == 2)
    assert all(isinstance(state, NamespaceState) and state.gateway for _, state in dataplane.applied)


@pytest.mark.feature("sync.stale-answer")
def test_the_same_older_answer_twice_is_the_truth(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    """Restore an older database in the server."""
    wait_until(lambda: agent.full_sync.in_sync)
    plugin.routers = {R1: a_router(id=R1, revision_number=7)}
    agent.routers_updated(None, [R1])
    wait_until(lambda: local_ids(dataplane) == {R1})
    plugin.routers = {R1: a_router(id=R1, gw_port=None, revision_number=6)}
    agent.routers_updated(None, [R1])
    wait_until(lambda: router_state(dataplane, R1).gateway is None)
    assert agent.router_info[R1].revision == 6


def test_the_file_is_one_json_object_a_line(path: Path, remember: Callable[..., None]) -> None:
    remember(a_router(id=R1))
    header, payload = map(json.loads, path.read_text().splitlines())
    assert header == {"l3agent_routers": 1, "host": "node1"}
    assert payload["id"] == R1
