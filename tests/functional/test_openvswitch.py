# SPDX-License-Identifier: Apache-2.0
"""The driver ``openvswitch`` against a real Open vSwitch with its datapath in user space."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from l3agent.model.states import NamespaceState
from l3agent.model.wire import pack_state
from l3agent.testing import wait_until
from tests.support.ovs_node import Node, a_node, a_router
from tests.support.states import floating_ips, host, key, namespace, new_id, port, route, router
from tests.support.watch import capture

pytestmark = pytest.mark.openvswitch


@pytest.fixture(scope="module")
def node():
    with a_node() as node:
        yield node


def with_another(state: NamespaceState) -> NamespaceState:
    """Return the router with another floating IP than it has."""
    return replace(state, floating_ips=floating_ips({"203.0.113.101": "10.0.0.5"}))


@pytest.mark.feature("driver.openvswitch")
def test_a_router_is_plugged_in_dead_until_it_is_wired(node: Node):
    state, inner, gateway = a_router()
    operations = node.build(state)
    assert node.switch_stats()["not_wired"] >= 2
    assert any(line.startswith("ovs-vsctl add-port br-int") for line in operations)
    for one in (inner, gateway):
        row, interface = node.ovs.row("Port", one.device), node.ovs.row("Interface", one.device)
        assert (row["tag"], row["vlan_mode"], row["trunks"]) == (4095, "trunk", 4095)
        assert interface["type"] == "internal"
        assert interface["external_ids"] == {
            "iface-id": one.id,
            "iface-status": "active",
            "attached-mac": one.mac,
            "l3agent-router": state.id,
        }
        device = node.device(state, one)
        assert (device["address"], device["mtu"]) == (one.mac, one.mtu)
        assert "UP" in device["flags"]
    assert node.build(state) == ()


@pytest.mark.feature("dataplane.privilege")
def test_no_state_takes_a_card_of_the_machine_or_a_port_of_another_bridge(node: Node):
    node.sandbox.run(["ip", "link", "add", "mgmt0", "type", "veth", "peer", "name", "outside0"])
    node.ovs.vsctl("add-br", "br-storage", "--", "add-port", "br-storage", "store0")
    state, inner, _ = a_router(fips=())
    machine = host(new_id(), "10.0.0.5/24")
    for device in ("mgmt0", "store0"):
        named = replace(state, ports=frozenset({replace(inner, device=device)}))
        assert f"device: '{device}'" in str(node.reconcile(named).error)
    (report,) = node.dataplane.reconcile((key(machine), machine))
    assert "refused" in str(report.error)
    assert {"mgmt0", "outside0"} <= {link["ifname"] for link in node.sandbox.json("ip -j link show")}
    assert node.ovs.vsctl("port-to-br", "store0").strip() == "br-storage"
    node.sandbox.run(["ip", "link", "delete", "mgmt0"])
    node.ovs.vsctl("del-br", "br-storage")


def test_the_plan_typed_by_hand_does_the_same(node: Node):
    state, inner, gateway = a_router()
    (report,) = node.dataplane.reconcile((key(state), state), dry_run=True)
    assert not node.ovs.ports() & {inner.device, gateway.device}
    for line in report.operations:
        node.sandbox.run(["sh", "-c", line])
    assert node.build(state) == ()
    (report,) = node.dataplane.reconcile((key(state), None), dry_run=True)
    # Nobody undoes what is typed.
    node.dataplane.request("unmanage", {"keys": [key(state)]})
    for line in report.operations:
        node.sandbox.run(["sh", "-c", line])
    assert node.remove(state).operations == ()
    assert not node.ovs.ports() & {inner.device, gateway.device}


def test_it_goes_with_its_ports(node: Node):
    state, inner, gateway = a_router()
    node.build(state)
    assert node.remove(state).error is None
    assert not node.ovs.ports() & {inner.device, gateway.device}
    assert namespace(state) not in node.sandbox.namespaces()
    assert state.id not in node.inventory()
    assert node.remove(state).operations == ()


def test_an_interface_comes_and_goes(node: Node):
    state, inner, gateway = a_router()
    node.build(state)
    other = port(new_id(), "10.7.0.1/24")
    node.build(replace(state, ports=frozenset({inner, other})))
    assert node.ovs.ports() >= {inner.device, other.device, gateway.device}
    node.build(state)
    assert other.device not in node.ovs.ports()
    assert node.device(state, other) == {"flags": []}
    assert node.build(state) == ()


@pytest.mark.feature("driver.openvswitch-batch")
def test_many_ports_are_one_transaction(node: Node):
    before = node.generation()
    states = [a_router()[0] for _ in range(6)]
    assert node.ovs.database is not None
    with node.ovs.database.paused():
        numbers = node.ask(*states)
        # Its answer comes when all six were handed over.
        node.dataplane.request("hello", {})
    assert [node.answer(number).error for number in numbers] == [None] * 6
    # The first may go alone, for it waits for nobody; all that come meanwhile go with the next one.
    assert 1 <= node.generation() - before <= 2
    assert all(node.build(state) == () for state in states)


@pytest.mark.feature("driver.openvswitch")
def test_traffic_passes_once_ports_are_wired(node: Node):
    inner, gateway = port(new_id(), "10.0.0.1/24"), port(new_id(), "203.0.113.10/24", gateway=True)
    state = router(inner, gateway=gateway, fips={"203.0.113.100": "10.0.0.5"})
    node.build(state)
    node.machine("vm", "br-int", "10.0.0.5/24", vlan=11, gateway="10.0.0.1")
    node.machine("outside", "br-int", "203.0.113.1/24", vlan=12)
    assert not node.pings("vm", "203.0.113.1", tries=1)
    node.ovs.wire(inner.device, 11)
    node.ovs.wire(gateway.device, 12)
    assert node.pings("vm", "203.0.113.1")
    assert node.pings("outside", "203.0.113.100")
    node.ovs.kill_switch()
    node.ovs.start_switch()
    node.plug_again("vm", "10.0.0.5/24", "10.0.0.1")
    node.plug_again("outside", "203.0.113.1/24")
    assert node.pings("outside", "203.0.113.100")


@pytest.mark.feature("driver.openvswitch-keep")
def test_a_port_that_is_right_is_never_made_anew(node: Node):
    state, inner, gateway = a_router()
    node.build(state)
    for one in (inner, gateway):
        node.ovs.wire(one.device)
    before = [node.identity(state, one) for one in (inner, gateway)]
    node.dataplane.kill()
    node.dataplane.start()
    assert node.build(state) == ()
    node.build(replace(state, ports=frozenset({replace(inner, mtu=1400)})))
    assert node.device(state, inner)["mtu"] == 1400
    assert [node.identity(state, one) for one in (inner, gateway)] == before
    assert node.ovs.row("Port", inner.device)["tag"] == 1


@pytest.mark.feature("driver.openvswitch-keep")
def test_a_port_that_neutrons_agent_made_is_taken_as_it_is(node: Node):
    state, inner, gateway = a_router()
    ns = namespace(state)
    node.sandbox.run(["ip", "netns", "add", ns])
    for one in (inner, gateway):
        node.ovs.vsctl(
            *["add-port", "br-int", one.device, "tag=5", "--", "set", "Interface", one.device, "type=internal"],
            *[f"external_ids:iface-id={one.id}", "external_ids:iface-status=active"],
            f'external_ids:attached-mac="{one.mac}"',
        )
        node.sandbox.run(["ip", "link", "set", one.device, "netns", ns])
        node.sandbox.run(["ip", "-n", ns, "link", "set", one.device, "address", one.mac, "mtu", str(one.mtu), "up"])
    before = [node.identity(state, one) for one in (inner, gateway)]
    node.build(state)
    assert [node.identity(state, one) for one in (inner, gateway)] == before
    assert node.ovs.row("Port", inner.device)["tag"] == 5
    assert node.ovs.row("Interface", inner.device)["external_ids"]["l3agent-router"] == state.id


@pytest.mark.feature("driver.openvswitch-keep")
@pytest.mark.parametrize(
    "command",
    [
        "remove Interface PORT external_ids iface-id",
        "set Interface PORT external_ids:attached-mac=nonsense external_ids:foreign=kept",
        "clear Port PORT tag -- clear Port PORT vlan_mode -- clear Port PORT trunks",
        "del-port PORT",
        "del-port PORT -- add-port br-ex PORT",
    ],
)
def test_what_somebody_changes_in_the_database_is_set_right(node: Node, command: str):
    state, inner, _ = a_router()
    node.build(state)
    node.ovs.add_bridge("br-ex")
    node.ovs.vsctl(*command.replace("PORT", inner.device).split())
    wait_until(lambda: node.is_right(state, inner), timeout=30)
    ids = node.ovs.row("Interface", inner.device)["external_ids"]
    assert ids.pop("foreign", "kept") == "kept"
    assert ids["iface-id"] == inner.id and ids["attached-mac"] == inner.mac
    assert node.ovs.row("Port", inner.device)["tag"] == 4095
    wait_until(lambda: node.build(state) == (), timeout=30)


@pytest.mark.feature("driver.openvswitch-snapshot")
def test_an_update_without_new_ports_observes_nothing(node: Node):
    state, inner, _ = a_router()
    node.build(state)
    assert node.build(state) == ()
    # A state that is applied from a snapshot reads no namespace: the dumps of another program's changes are absent.
    unchanged = node.reconcile(state)
    assert unchanged.operations == () and "plan" not in unchanged.timings
    added = node.reconcile(with_another(state))
    assert added.error is None and "switch" not in added.timings
    observations = node.dataplane.request("stats", {})["observations"]
    # An L2 agent that wires the port changes nothing that is compared.
    node.ovs.wire(inner.device, 7)
    assert "plan" not in node.reconcile(with_another(state)).timings
    assert node.dataplane.request("stats", {})["observations"] == observations
    # The bridge of a trunk port concerns no router.
    node.ovs.vsctl("add-br", "tbr-1")
    node.ovs.vsctl("del-br", "tbr-1")
    assert "plan" not in node.reconcile(with_another(state)).timings
    assert node.dataplane.request("stats", {})["observations"] == observations
    node.dataplane.request("invalidate", {"keys": None})
    assert "plan" in node.reconcile(with_another(state)).timings
    assert node.remove(state).error is None


def test_a_partly_refused_update_announces_what_it_added_though_another_supersedes_it(node: Node):
    state, inner, gateway = a_router()
    node.build(replace(state, ports=frozenset({inner, port(new_id(), "10.7.0.1/24")})))
    wanted = replace(state, floating_ips=floating_ips({"203.0.113.100": "10.0.0.5", "203.0.113.101": "10.0.0.6"}))
    refused = replace(wanted, routes=wanted.routes | {route("172.30.0.0/24", (inner, "192.0.2.1"))})
    with capture(node.sandbox, gateway.device, "arp", namespace(state)) as frames:
        assert node.ovs.database is not None
        with node.ovs.database.paused():
            (first,) = node.ask(refused)
            # Its answer comes when the kernel's part of the update is done and the removal of the port was submitted.
            node.dataplane.request("hello", {})
            (second,) = node.ask(wanted)
            node.dataplane.request("hello", {})
        assert "superseded" in str(node.answer(first).error)
        assert node.answer(second).error is None
        added = "Request who-has 203.0.113.101 tell 203.0.113.101,"
        wait_until(lambda: any(added in line for line in frames.lines()), timeout=20)


@pytest.mark.feature("dataplane.large-routers")
def test_a_router_is_shown_while_its_change_waits_for_the_switch(node: Node):
    many = {f"198.18.{number // 250}.{number % 250}": f"10.1.{number // 250}.{number % 250}" for number in range(2000)}
    state, _, _ = a_router(fips=())
    state = replace(state, floating_ips=floating_ips(many))
    node.build(state)
    wanted = replace(state, ports=state.ports | {port(new_id(), "10.77.0.1/24")})
    assert node.ovs.database is not None
    for one in (wanted, state):
        with node.ovs.database.paused():
            (change,) = node.ask(one)
            # Until it waits for the switch, most likely; before that, the two are in order anyway.
            time.sleep(1)
            shown = node.dataplane.send("inspect", {"state": pack_state(key(one), one)})
            node.dataplane.request("hello", {})
        assert node.answer(change).error is None
        assert node.dataplane.answer(shown)["actual"]


@pytest.mark.feature("driver.openvswitch-keep")
def test_a_port_that_is_marked_with_a_router_which_has_no_such_port_is_deleted(node: Node):
    state, _, _ = a_router()
    node.build(state)
    marked = f"external_ids:l3agent-router={state.id}"
    node.ovs.vsctl("add-port", "br-int", "stray0", "--", "set", "Interface", "stray0", "type=internal", marked)
    wait_until(lambda: "stray0" not in node.ovs.ports(), timeout=30)
    wait_until(lambda: node.build(state) == (), timeout=30)


def test_an_l2_agent_that_knows_no_dead_ports_can_wire_them_too(node: Node):
    state, inner, _ = a_router()
    node.build(state)
    node.ovs.vsctl("set", "Port", inner.device, "tag=7")
    wait_until(lambda: node.ovs.row("Port", inner.device)["vlan_mode"] == [], timeout=30)
    row = node.ovs.row("Port", inner.device)
    assert (row["tag"], row["trunks"]) == (7, [])


def test_a_device_that_somebody_deletes_is_made_anew(node: Node):
    state, inner, _ = a_router()
    node.build(state)
    node.sandbox.run(["ip", "-n", namespace(state), "link", "delete", inner.device])
    wait_until(lambda: node.is_right(state, inner), timeout=30)
    assert node.device(state, inner)["address"] == inner.mac


@pytest.mark.feature("driver.openvswitch-outage")
def test_the_switch_started_anew_gives_its_devices_back(node: Node):
    state, inner, gateway = a_router()
    node.build(state)
    node.ovs.kill_switch()
    node.ovs.start_switch()
    for one in (inner, gateway):
        wait_until(lambda one=one: "LOWER_UP" in node.device(state, one)["flags"], timeout=30)
    wait_until(lambda: node.build(state) == (), timeout=30)


def test_without_the_switch_a_new_router_is_in_error_and_others_are_served(node: Node):
    standing, _, _ = a_router()
    node.build(standing)
    node.ovs.kill_switch()
    try:
        new, _, _ = a_router()
        report = node.reconcile(new)
        assert report.error is not None and "ovs-vswitchd" in report.error and "is it running?" in report.error
        assert node.build(with_another(standing))
    finally:
        node.ovs.start_switch()
    wait_until(lambda: node.reconcile(new).error is None, timeout=30)


@pytest.mark.feature("driver.openvswitch-outage")
def test_without_the_database_those_that_stand_are_served_and_the_rest_comes_by_itself(node: Node):
    standing, _, _ = a_router()
    going, _, _ = a_router()
    node.build(standing)
    node.build(going)
    node.ovs.kill_database()
    try:
        new, inner, _ = a_router()
        report = node.reconcile(new)
        assert report.error is not None
        assert node.ovs.remote in report.error and "[OVS] ovsdb_connection" in report.error
        assert node.build(with_another(standing))
        assert node.remove(going).error is not None
        # What tenants had is gone; only its ports are left, and known.
        assert namespace(going) not in node.sandbox.namespaces()
        assert going.id in node.inventory()
    finally:
        node.ovs.start_database()
    # Nobody asks for it again.
    wait_until(lambda: node.is_right(new, inner), timeout=30)
    assert node.build(new) == ()
    wait_until(lambda: node.remove(going).error is None, timeout=30)
    assert going.id not in node.inventory()


@pytest.mark.feature("driver.openvswitch-outage")
def test_without_the_database_all_is_done_that_needs_no_new_port(node: Node):
    state, inner, _ = a_router()
    node.build(state)
    other = port(new_id(), "10.7.0.1/24")
    node.ovs.kill_database()
    try:
        report = node.reconcile(replace(with_another(state), ports=frozenset({inner, other})))
        assert report.error is not None and node.ovs.remote in report.error
        mappings = node.sandbox.run(["nft", "list", "map", "ip", "l3agent", "floating_dnat"], netns=namespace(state))
        assert "203.0.113.101" in mappings and "203.0.113.100" not in mappings
    finally:
        node.ovs.start_database()
    wait_until(lambda: "LOWER_UP" in node.device(state, other)["flags"], timeout=30)
    assert node.build(replace(with_another(state), ports=frozenset({inner, other}))) == ()


def test_started_without_the_database_the_data_plane_serves_what_stands(node: Node):
    standing, inner, _ = a_router()
    node.build(standing)
    node.dataplane.kill()
    node.ovs.kill_database()
    try:
        node.dataplane.start()
        assert node.build(standing) == ()
        assert node.build(with_another(standing))
    finally:
        node.ovs.start_database()
    node.ovs.vsctl("del-port", inner.device)
    wait_until(lambda: node.is_right(standing, inner), timeout=30)


@pytest.mark.feature("driver.openvswitch-outage")
def test_a_database_that_does_not_answer_delays_nobody_else(node: Node):
    standing, _, _ = a_router()
    node.build(standing)
    assert node.ovs.database is not None
    with node.ovs.database.paused():
        new, _, _ = a_router()
        (number,) = node.ask(new)
        assert node.build(with_another(standing))
        report = node.answer(number)
    assert "no answer in time" in report.error
    wait_until(lambda: node.reconcile(new).error is None, timeout=30)
