# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from oslo_config import cfg

from l3agent.agent.mass_delete import MassDeleteGuard
from l3agent.testing import FakeDataplane, FakePlugin, running, wait_until
from tests.support.agents import FOREIGN_STATE, Node, OpenAgent, ServiceOf
from tests.support.payloads import a_router

ROUTERS = [a_router(id=f"c{number:07x}-0000-4000-8000-000000000000") for number in range(8)]
IDS = {router["id"] for router in ROUTERS}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(clock: Clock) -> MassDeleteGuard:
    return MassDeleteGuard(share=0.25, confirm_interval=30, clock=clock)


def local_ids(dataplane: FakeDataplane) -> set[str]:
    return {router_id for kind, router_id in dataplane.states if kind == "router"}


# The rule


@pytest.mark.parametrize(
    ("gone", "of", "allowed"),
    [("a", 2, "a"), ("a", 100, "a"), ("abc", 12, "abc"), ("abcd", 12, ""), ("ab", 4, ""), ("ab", 2, ""), ("a", 1, "")],
)
def test_few_are_removed_at_once_many_or_all_are_held(guard: MassDeleteGuard, gone: str, of: int, allowed: str) -> None:
    assert guard.filter(set(gone), of) == set(allowed)
    assert bool(guard.held) is (allowed == "")


def test_a_second_answer_in_time_confirms_what_both_leave_out(guard: MassDeleteGuard, clock: Clock) -> None:
    guard.filter({"a", "b", "c"}, 4)
    clock.now = 29
    assert guard.filter({"a", "b", "c"}, 4) == set()
    clock.now = 31
    assert guard.filter({"a", "b", "d"}, 4) == {"a", "b"}
    assert set(guard.held) == {"d"}


def test_routers_that_are_back_are_forgotten(guard: MassDeleteGuard, clock: Clock) -> None:
    guard.filter({"a", "b", "c"}, 4)
    assert guard.filter(set(), 4) == set()
    assert not guard.held
    clock.now = 100
    assert guard.filter({"a", "b", "c"}, 4) == set()
    assert guard.suspected_answers == 2


def test_without_a_delay_all_go_at_once() -> None:
    guard = MassDeleteGuard(share=0.25, confirm_interval=0)
    assert guard.filter({"a", "b"}, 2) == {"a", "b"}
    assert all(guard.allow_one(1) for _ in range(10))


def test_single_missing_routers_have_a_removal_budget(guard: MassDeleteGuard, clock: Clock) -> None:
    assert [guard.allow_one(12) for _ in range(5)] == [True, True, True, False, False]
    clock.now = 31
    assert guard.allow_one(12)


# The agent


@pytest.fixture
def node(conf: cfg.ConfigOpts, transport: Any) -> Node:
    """Return an agent with eight routers of the server."""
    conf.set_override("mass_delete_confirm_interval", 0.5, group="l3agent")
    plugin, dataplane = FakePlugin(transport, ROUTERS), FakeDataplane()
    agent = OpenAgent(conf, "node1", dataplane=dataplane, transport=transport)
    return agent, plugin, dataplane


@pytest.fixture
def full_node(node: Node, service_of: ServiceOf) -> Iterator[Node]:
    agent, plugin, dataplane = node
    with running(plugin, service_of(agent)):
        wait_until(lambda: agent.full_sync.in_sync and local_ids(dataplane) == IDS)
        yield node


@pytest.mark.feature("sync.mass-delete-guard")
@pytest.mark.parametrize("left", [0, 3], ids=["empty", "shrunken"])
def test_an_answer_that_would_wipe_the_node_is_held_logged_and_confirmed(
    full_node: Node, caplog: pytest.LogCaptureFixture, left: int
) -> None:
    agent, plugin, dataplane = full_node
    plugin.routers = {router["id"]: router for router in ROUTERS[:left]}
    agent.agent_updated(None, {"admin_state_up": False})
    wait_until(lambda: agent.mass_delete_guard.held)
    assert local_ids(dataplane) == IDS
    assert not agent.full_sync.in_sync
    assert len([one for one in caplog.records if "mass_delete_share" in one.getMessage()]) == 1
    wait_until(lambda: local_ids(dataplane) == set(plugin.routers))
    wait_until(lambda: agent.full_sync.in_sync)
    assert (len(agent.mass_delete_guard.held), agent.mass_delete_guard.suspected_answers) == (0, 1)


@pytest.mark.feature("sync.mass-delete-guard")
def test_an_answer_that_was_wrong_costs_nothing(full_node: Node) -> None:
    agent, plugin, dataplane = full_node
    known, plugin.routers = plugin.routers, {}
    agent.full_sync.request("test")
    wait_until(lambda: agent.mass_delete_guard.held)
    plugin.routers = known
    before = agent.full_sync.completed
    wait_until(lambda: agent.full_sync.completed > before and agent.full_sync.in_sync)
    assert local_ids(dataplane) == IDS
    assert all(state is not None for _, state in dataplane.applied)


@pytest.mark.feature("sync.orphans")
def test_orphans_are_found_at_every_full_sync_not_only_the_first(full_node: Node) -> None:
    agent, _, dataplane = full_node
    dataplane.states[("router", "orphan")] = FOREIGN_STATE
    agent.full_sync.request("test")
    wait_until(lambda: local_ids(dataplane) == IDS)


@pytest.mark.feature("sync.orphans")
def test_orphans_have_a_grace_period_and_are_listed_meanwhile(
    conf: cfg.ConfigOpts, transport: Any, service_of: ServiceOf
) -> None:
    conf.set_override("orphan_grace_period", 1, group="l3agent")
    conf.set_override("mass_delete_confirm_interval", 0, group="l3agent")
    plugin, dataplane = FakePlugin(transport, ROUTERS), FakeDataplane()
    agent = OpenAgent(conf, "node1", dataplane=dataplane, transport=transport)
    dataplane.states[("router", "orphan")] = FOREIGN_STATE
    with running(plugin, service_of(agent)):
        wait_until(lambda: agent.orphans.ages())
        assert agent.orphans.ages().keys() == {"orphan"} and "orphan" in local_ids(dataplane)
        wait_until(lambda: agent.full_sync.completed > 1 and local_ids(dataplane) == IDS)
        assert agent.orphans.ages() == {}


def test_suspicious_removals_of_orphans_are_confirmed_in_the_end(
    conf: cfg.ConfigOpts, transport: Any, service_of: ServiceOf
) -> None:
    conf.set_override("orphan_grace_period", 0.3, group="l3agent")
    conf.set_override("mass_delete_confirm_interval", 0.5, group="l3agent")
    plugin, dataplane = FakePlugin(transport), FakeDataplane()
    agent = OpenAgent(conf, "node1", dataplane=dataplane, transport=transport)
    dataplane.states |= {("router", router_id): FOREIGN_STATE for router_id in IDS}
    with running(plugin, service_of(agent)):
        wait_until(lambda: agent.mass_delete_guard.held)
        assert local_ids(dataplane) == IDS
        wait_until(lambda: not local_ids(dataplane), timeout=30)


@pytest.mark.feature("sync.orphans")
def test_orphans_may_be_listed_only_and_one_that_the_server_names_is_none(
    conf: cfg.ConfigOpts, transport: Any, service_of: ServiceOf
) -> None:
    conf.set_override("orphan_grace_period", -1, group="l3agent")
    conf.set_override("mass_delete_confirm_interval", 0, group="l3agent")
    plugin, dataplane = FakePlugin(transport, ROUTERS[1:]), FakeDataplane()
    agent = OpenAgent(conf, "node1", dataplane=dataplane, transport=transport)
    dataplane.states |= {("router", one): FOREIGN_STATE for one in ("orphan", ROUTERS[0]["id"])}
    with running(plugin, service_of(agent)):
        wait_until(lambda: agent.full_sync.in_sync)
        assert agent.orphans.ages().keys() == {"orphan", ROUTERS[0]["id"]}
        plugin.routers = {router["id"]: router for router in ROUTERS}
        agent.full_sync.request("test")
        wait_until(lambda: agent.full_sync.completed > 1 and agent.full_sync.in_sync)
        assert agent.orphans.ages().keys() == {"orphan"}
        assert local_ids(dataplane) == IDS | {"orphan"}


def test_orphans_that_stay_are_not_suspicious(
    conf: cfg.ConfigOpts, transport: Any, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    """However many they are: nothing is to be removed."""
    conf.set_override("orphan_grace_period", -1, group="l3agent")
    plugin, dataplane = FakePlugin(transport, ROUTERS), FakeDataplane()
    agent = OpenAgent(conf, "node1", dataplane=dataplane, transport=transport)
    orphans = {f"orphan{number}" for number in range(2 * len(IDS))}
    dataplane.states |= {("router", one): FOREIGN_STATE for one in orphans}
    with running(plugin, service_of(agent)):
        wait_until(lambda: agent.full_sync.in_sync)
        assert agent.orphans.ages().keys() == orphans
        assert (agent.mass_delete_guard.suspected_answers, agent.full_sync.completed) == (0, 1)
        assert "leaves out" not in caplog.text
        # A real loss is suspicious as if they were not there.
        plugin.routers = {}
        agent.full_sync.request("test")
        wait_until(lambda: agent.mass_delete_guard.held)
        assert agent.mass_delete_guard.held.keys() == IDS


@pytest.mark.feature("sync.mass-delete-guard")
def test_removals_of_single_missing_routers_are_bounded(full_node: Node) -> None:
    agent, plugin, dataplane = full_node
    plugin.routers = {}
    agent.routers_updated(None, sorted(IDS))
    wait_until(lambda: agent.mass_delete_guard.held)
    assert len(local_ids(dataplane)) == 6
    wait_until(lambda: not local_ids(dataplane))


def test_a_notification_that_names_a_router_is_never_suspicious(full_node: Node) -> None:
    agent, plugin, dataplane = full_node
    plugin.routers = {}
    for router_id in IDS:
        agent.router_deleted(None, router_id)
    wait_until(lambda: not local_ids(dataplane), timeout=5)
    assert agent.mass_delete_guard.suspected_answers == 0


@pytest.mark.feature("sync.priority")
def test_important_routers_go_first(conf: cfg.ConfigOpts, transport: Any, service_of: ServiceOf) -> None:
    conf.set_override("router_workers", 1, group="l3agent")
    inner = [router | {"gw_port": None} for router in ROUTERS[:3]]
    busy = ROUTERS[5] | {
        "_floatingips": [{"id": "f", "floating_ip_address": "203.0.113.99", "fixed_ip_address": "10.0.0.9"}]
    }
    plugin, dataplane = FakePlugin(transport, [*inner, ROUTERS[4], busy]), FakeDataplane()
    agent = OpenAgent(conf, "node1", dataplane=dataplane, transport=transport)
    with running(plugin, service_of(agent)):
        wait_until(lambda: len(local_ids(dataplane)) == 5)
    order = [router_id for (_, router_id), _ in dataplane.applied]
    assert order[:2] == [busy["id"], ROUTERS[4]["id"]]


@pytest.mark.feature("process.cleanup-on-stop")
@pytest.mark.parametrize("remove", [True, False])
def test_a_stop_removes_the_routers_only_when_asked_to(
    node: Node, conf: cfg.ConfigOpts, service_of: ServiceOf, remove: bool
) -> None:
    agent, plugin, dataplane = node
    conf.set_override("cleanup_on_shutdown", remove)
    with running(plugin, service_of(agent)):
        wait_until(lambda: local_ids(dataplane) == IDS)
        wait_until(lambda: agent.full_sync.in_sync)
    assert local_ids(dataplane) == (set() if remove else IDS)
