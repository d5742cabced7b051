# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from l3agent.exceptions import AgentNotFoundByTypeHost
from l3agent.standalone.entities import Topology, stable_id
from l3agent.standalone.l3_plugin import Change, Plugin
from l3agent.standalone.topology import load

from .conftest import agent_state, report, utc

R1, R2, R3 = (stable_id("router", name) for name in ("r1", "r2", "r3"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plugin(topology_file: Path, clock: Clock) -> Plugin:
    plugin = Plugin(load(topology_file), clock=clock)
    clock.now += 10
    return plugin


def changed(path: Path, *replacements: tuple[str, str]) -> Topology:
    text = path.read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_an_agent_is_new_then_alive_then_revived(plugin: Plugin, clock: Clock) -> None:
    assert report(plugin, "a", start_flag=True) == "new"
    assert report(plugin, "a") == "alive"
    clock.now += 75
    assert report(plugin, "a") == "alive"
    clock.now += 75.1
    assert report(plugin, "a") == "revived"
    assert report(plugin, "a") == "alive"


def test_an_agent_started_before_the_server_is_revived(plugin: Plugin) -> None:
    assert report(plugin, "a") == "revived"


def test_a_report_older_than_the_server_is_ignored(plugin: Plugin) -> None:
    assert plugin.report_state(agent_state("a"), utc(-11)) is None
    assert plugin.router_ids("a") == []
    assert plugin.report_state(agent_state("a"), utc(-9)) is not None


def test_a_report_without_identity_is_refused(plugin: Plugin) -> None:
    state = agent_state("a")
    del state["topic"]
    with pytest.raises(KeyError):
        plugin.report_state(state, utc())


def test_agents_of_other_types_get_no_routers(plugin: Plugin) -> None:
    report(plugin, "a", agent_type="DHCP agent")
    assert plugin.router_ids("a") == []


def test_an_agent_without_a_report_gets_the_error_of_neutron(plugin: Plugin) -> None:
    with pytest.raises(AgentNotFoundByTypeHost):
        plugin.routers("a", [R1])
    assert plugin.router_ids("a") == []


def test_one_agent_gets_all_routers(plugin: Plugin) -> None:
    report(plugin, "a")
    assert set(plugin.router_ids("a")) == {R1, R2, R3}


def test_several_agents_share_the_routers_and_keep_them(plugin: Plugin) -> None:
    report(plugin, "a")
    report(plugin, "b")
    ids_a, ids_b = set(plugin.router_ids("a")), set(plugin.router_ids("b"))
    assert ids_a | ids_b == {R1, R2, R3}
    assert not ids_a & ids_b
    assert {len(ids_a), len(ids_b)} == {1, 2}
    report(plugin, "c")
    assert plugin.router_ids("c") == []
    assert set(plugin.router_ids("a")) == ids_a


def test_only_routers_of_the_requesting_agent_are_returned(plugin: Plugin) -> None:
    report(plugin, "a")
    plugin.router_ids("a")
    report(plugin, "b")
    assert plugin.routers("b", [R1, R2, R3]) == []
    assert [router["id"] for router in plugin.routers("a", [R2, "unknown"])] == [R2]


def test_a_router_stays_with_a_dead_agent(plugin: Plugin, clock: Clock) -> None:
    report(plugin, "a")
    plugin.router_ids("a")
    clock.now += 1000
    report(plugin, "b")
    assert plugin.router_ids("b") == []


def test_a_router_is_bound_to_the_agent_that_its_description_names(plugin: Plugin, topology_file: Path) -> None:
    for host in ("a", "b"):
        report(plugin, host)
    owner = "a" if R1 in plugin.router_ids("a") else "b"
    other = "b" if owner == "a" else "a"
    changes = plugin.replace(changed(topology_file, ("  r1:\n", f"  r1:\n    agent: {other}\n")))
    assert changes == [Change("router_removed_from_agent", owner, R1), Change("routers_updated", other, R1)]
    assert R1 in plugin.router_ids(other)
    assert R1 not in plugin.router_ids(owner)


def test_bindings_of_an_earlier_run_are_kept(topology_file: Path) -> None:
    plugin = Plugin(load(topology_file), bindings={R2: "b", "deleted": "b"})
    report(plugin, "a")
    assert set(plugin.router_ids("a")) == {R1, R3}
    assert plugin.bindings == {R1: "a", R2: "b", R3: "a"}


def test_a_router_that_is_down_is_not_sent(plugin: Plugin, topology_file: Path) -> None:
    report(plugin, "a")
    plugin.router_ids("a")
    changes = plugin.replace(changed(topology_file, ("  r1:\n", "  r1:\n    admin_state_up: false\n")))
    assert changes == [Change("routers_updated", "a", R1)]
    assert plugin.routers("a", [R1]) == []


def test_a_change_notifies_exactly_the_affected_routers(plugin: Plugin, topology_file: Path) -> None:
    report(plugin, "a")
    plugin.router_ids("a")
    assert plugin.replace(load(topology_file)) == []
    assert plugin.replace(changed(topology_file, ("203.0.113.100: vm1", "203.0.113.100: vm2"))) == [
        Change("routers_updated", "a", R1)
    ]
    assert plugin.replace(changed(topology_file, ("mtu: 1450", "mtu: 1400"))) == [Change("routers_updated", "a", R2)]
    assert plugin.replace(changed(topology_file, ("[10.0.0.6, ", "[10.0.0.7, "))) == [
        Change("routers_updated", "a", R1)  # its floating IP is associated with that address
    ]


def test_a_deleted_router_is_announced_to_all_agents_and_unbound(plugin: Plugin, topology_file: Path) -> None:
    report(plugin, "a")
    plugin.router_ids("a")
    text = topology_file.read_text(encoding="utf-8")
    start, end = text.index("  r3:"), text.index("# Simulated hosts")
    topology_file.write_text(text[:start] + text[end:], encoding="utf-8")
    assert plugin.replace(load(topology_file)) == [Change("router_deleted", None, R3)]
    assert R3 not in plugin.router_ids("a")


def test_a_new_router_is_bound_to_an_alive_agent_at_once(topology_file: Path) -> None:
    plugin = Plugin(Topology())
    report(plugin, "a")
    changes = plugin.replace(load(topology_file))
    assert {(change.method, change.host) for change in changes} == {("routers_updated", "a")}
    assert {change.router_id for change in changes} == {R1, R2, R3}


def test_no_change_is_sent_while_there_is_no_agent(topology_file: Path) -> None:
    assert Plugin(Topology()).replace(load(topology_file)) == []


def test_the_status_of_a_floating_ip_is_kept_until_its_association_changes(plugin: Plugin, topology_file: Path) -> None:
    report(plugin, "a")
    plugin.router_ids("a")

    def statuses() -> list[str]:
        (router,) = plugin.routers("a", [R1])
        return [entry["status"] for entry in router["_floatingips"]]

    (router,) = plugin.routers("a", [R1])
    (fip,) = router["_floatingips"]
    assert statuses() == ["DOWN"]
    plugin.set_floating_ip_statuses(R1, {fip["id"]: "ACTIVE", "unknown": "ERROR"})
    plugin.set_floating_ip_statuses("unknown", {fip["id"]: "ERROR"})
    assert statuses() == ["ACTIVE"]
    plugin.replace(changed(topology_file, ("mtu: 1450", "mtu: 1400")))
    assert statuses() == ["ACTIVE"]
    plugin.replace(changed(topology_file, ("203.0.113.100: vm1", "203.0.113.100: vm2")))
    assert statuses() == ["DOWN"]
    plugin.replace(changed(topology_file, ("203.0.113.100: vm2", "203.0.113.100: vm1")))
    assert statuses() == ["DOWN"]
