# SPDX-License-Identifier: Apache-2.0
"""The driver ``openvswitch`` against a real Open vSwitch with its datapath in user space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from l3agent.model.states import Port, Report, RouterState
from l3agent.testing import wait_until
from tests.functional.support.openvswitch import OpenVSwitch
from tests.functional.support.processes import Dataplane, last_lines
from tests.functional.support.sandbox import Sandbox
from tests.functional.support.states import key, namespace, new_id, port, route, router

pytestmark = pytest.mark.openvswitch


@dataclass
class Node:
    """A machine with Open vSwitch and a data plane that plugs ports into it."""

    ovs: OpenVSwitch
    dataplane: Dataplane

    def reconcile(self, *states: RouterState) -> list[Report]:
        return self.dataplane.reconcile(*((key(one), one) for one in states))

    def build(self, state: RouterState) -> tuple[str, ...]:
        (report,) = self.reconcile(state)
        assert report.error is None, (report.error, last_lines(self.dataplane.log))
        return report.operations

    def remove(self, state: RouterState) -> Report:
        (report,) = self.dataplane.reconcile((key(state), None))
        return report

    def device(self, state: RouterState, one: Port) -> dict[str, Any]:
        links = self.dataplane.sandbox.json("ip -j -d link show", netns=namespace(state))
        return next((link for link in links if link["ifname"] == one.device), {"flags": []})


def a_node(sandbox: Sandbox, folder: Path, **options: object) -> Iterator[Node]:
    ovs = OpenVSwitch(sandbox, folder)
    ovs.start()
    defaults = {"interface_driver": "openvswitch", **options}
    dataplane = Dataplane(
        sandbox, folder, {"DEFAULT": defaults, "OVS": {"ovsdb_connection": ovs.remote, "ovsdb_timeout": 5}}
    )
    dataplane.start()
    yield Node(ovs, dataplane)
    dataplane.hang_up()
    print(dataplane.log.read_text(errors="replace"))


@pytest.fixture
def node(sandbox: Sandbox, folder: Path) -> Iterator[Node]:
    yield from a_node(sandbox, folder)


def a_router(**options: object) -> tuple[RouterState, Port, Port]:
    inner = port(new_id(), "10.0.0.1/24", "2001:db8:1::1/64", mtu=1450)
    gateway = port(new_id(), "203.0.113.10/24", gateway=True)
    routes = [route("0.0.0.0/0", (gateway, "203.0.113.1"))]
    return router(inner, gateway=gateway, routes=routes, fips={"203.0.113.100": "10.0.0.5"}), inner, gateway


def test_a_router_is_plugged_in_dead_until_it_is_wired(node: Node):
    state, inner, gateway = a_router()
    operations = node.build(state)
    assert any(line.startswith("ovs-vsctl add-port br-int") for line in operations)
    assert node.ovs.ports() == {inner.device, gateway.device}
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


def test_it_goes_with_its_ports(node: Node):
    state, _, _ = a_router()
    node.build(state)
    assert node.remove(state).error is None
    assert node.ovs.ports() == set()
    assert namespace(state) not in node.dataplane.sandbox.namespaces()
    assert node.dataplane.request("inventory", {})["router"] == []
    assert node.remove(state).operations == ()


def test_a_port_that_stays_is_not_made_anew(node: Node):
    state, inner, gateway = a_router()
    node.build(state)
    for one in (inner, gateway):
        node.ovs.wire(one.device)
    before = [node.ovs.row("Port", one.device)["_uuid"] for one in (inner, gateway)]
    node.dataplane.kill()
    node.dataplane.start()
    assert node.build(state) == ()
    changed = replace(inner, mtu=1400)
    node.build(replace(state, ports=frozenset({changed})))
    assert node.device(state, inner)["mtu"] == 1400
    assert [node.ovs.row("Port", one.device)["_uuid"] for one in (inner, gateway)] == before
    assert node.ovs.row("Port", inner.device)["tag"] == 1


def test_the_switch_started_anew_gives_its_devices_back(node: Node):
    state, inner, gateway = a_router()
    node.build(state)
    node.ovs.kill_switch()
    node.ovs.start_switch()
    wait_until(lambda: "LOWER_UP" in node.device(state, inner)["flags"], timeout=30)
    wait_until(lambda: "LOWER_UP" in node.device(state, gateway)["flags"], timeout=30)
    wait_until(lambda: node.build(state) == (), timeout=30)


def test_a_port_that_somebody_deletes_is_back(node: Node):
    state, inner, _ = a_router()
    node.build(state)
    node.ovs.vsctl("del-port", inner.device)
    wait_until(lambda: inner.device in node.ovs.ports(), timeout=30)
    wait_until(lambda: node.build(state) == (), timeout=30)
