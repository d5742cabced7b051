# SPDX-License-Identifier: Apache-2.0
"""Changes by an operator: one reconcile restores our entries and never touches foreign ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest

from l3agent.model.states import NamespaceState, NetworkState, Port
from l3agent.testing import wait_until
from tests.functional.test_dataplane_changes import leftovers, meaning, wait_until_removed
from tests.support.kernel import rules
from tests.support.processes import Dataplane
from tests.support.states import bridge, floating_ips, key, namespace, new_id, port, route, router, tap

FIP = "203.0.113.100"


@dataclass
class World:
    """A router with a gateway, built; ``inside`` runs a command in its namespace."""

    machine: Dataplane
    state: NamespaceState
    inner: Port
    gateway: Port

    @property
    def namespace(self) -> str:
        return namespace(self.state)

    def inside(self, command: str) -> str:
        return self._typed(command, self.namespace)

    def outside(self, command: str) -> str:
        return self._typed(command, None)

    def _typed(self, command: str, netns: str | None) -> str:
        """Run a command to its end before the data plane receives its first event."""
        with self.machine.paused() if self.machine.status is None else nullcontext():
            return self.machine.sandbox.run(["sh", "-c", self._filled(command)], netns=netns)

    def _filled(self, command: str) -> str:
        words = {
            "QR": self.inner.device,
            "QG": self.gateway.device,
            "TAP": tap(self.inner),
            "BRIDGE": bridge(self.inner.network_id),
            "NS": namespace(self.state),
        }
        for word, meant in words.items():
            command = command.replace(word, meant)
        return command

    def reconcile(self) -> tuple[str, ...]:
        (report,) = self.machine.reconcile((key(self.state), self.state))
        assert report.error is None
        return report.operations

    def plan(self) -> tuple[str, ...]:
        (report,) = self.machine.reconcile((key(self.state), self.state), dry_run=True)
        assert report.error is None
        return report.operations

    def everything(self) -> tuple[Any, Any]:
        found = meaning(self.machine, self.state), rules(self.machine.sandbox, namespace(self.state))
        return found, self._flags_and_settings()

    def _flags_and_settings(self) -> list[Any]:
        links = self.machine.sandbox.json("ip -j link", netns=self.namespace)
        bridges = self.machine.sandbox.json("ip -j link show type bridge")
        names = " ".join(self._filled(one.partition("=")[0]) for one in SETTINGS)
        return [
            {(one["ifname"], *sorted(one["flags"])) for one in links if one["ifname"].startswith(("qr-", "qg-"))},
            {one.get("ifalias") for one in bridges if one["ifname"] == bridge(self.inner.network_id)},
            self.machine.sandbox.run(f"sysctl {names}".split(), netns=self.namespace),
        ]


def a_world(machine: Dataplane) -> World:
    inner = port(new_id(), "10.0.0.1/24", "10.0.9.1/24", "2001:db8:1::1/64")
    gateway = port(new_id(), "203.0.113.10/24", "2001:db8:ffff::10/64", gateway=True)
    routes = [
        route("0.0.0.0/0", (gateway, "192.0.2.1")),
        route("192.0.2.1/32", (gateway, None)),
        route("::/0", (gateway, "2001:db8:ffff::1")),
        route("172.30.0.0/24", (inner, "10.0.0.7"), (inner, "10.0.0.8")),
    ]
    return World(machine, router(inner, gateway=gateway, routes=routes, fips={FIP: "10.0.0.5"}), inner, gateway)


@pytest.fixture
def world(machine: Dataplane) -> Iterator[World]:
    world = a_world(machine)
    world.reconcile()
    yield world
    wait_until_removed(machine, world.state)


INSIDE = [
    "ip address delete 10.0.0.1/24 dev QR",
    "ip address delete 2001:db8:1::1/64 dev QR",
    f"ip address delete {FIP}/32 dev QG",
    "ip address delete 203.0.113.10/24 dev QG",
    "ip address flush dev QR",
    "ip address add 203.0.113.99/24 dev QG",
    "ip address add 2001:db8:ffff::99/64 dev QG",
    "ip address delete 10.0.0.1/24 dev QR; ip address add 10.0.0.1/16 dev QR",
    "ip route delete default",
    "ip -6 route delete default",
    "ip route flush protocol 201",
    "ip route replace default via 203.0.113.254 protocol 201",
    "ip route replace 172.30.0.0/24 via 10.0.0.7 protocol 201",
    "ip route add 198.18.0.0/15 via 10.0.0.9 protocol 201",
    "ip route replace default via 203.0.113.254",
    "ip route replace default via 192.0.2.1 dev QG protocol boot",
    "ip route add default via 192.0.2.1 dev QG protocol boot metric 50",
    "ip -6 route add default via 2001:db8:ffff::2 dev QG protocol bird metric 50",
    "ip route replace 192.0.2.1/32 dev QG",
    "ip route replace blackhole default",
    "ip -6 route replace default via 2001:db8:ffff::2 dev QG",
    "ip -6 route append default via 2001:db8:ffff::2 dev QG",
    "ip -6 route append default via 2001:db8:ffff::2 protocol 201",
    "ip route flush table main; ip -6 route flush table main",
    "ip route delete 10.0.9.0/24 dev QR",
    "ip -6 route delete 2001:db8:1::/64 dev QR",
    "ip -6 route delete fe80::/64 dev QG",
    "ip route replace 10.0.0.0/24 via 10.0.9.7",
    "ip link set QR arp off",
    "ip link set QG multicast off arp off",
    "ip link set QR down",
    "ip link set QG down",
    "ip link set lo down",
    "ip link set QR address 02:00:00:00:00:01",
    "ip link set QR mtu 1300",
    "ip link delete QR",
    f"nft delete element ip l3agent floating_dnat {{ {FIP} }}",
    "nft delete element ip l3agent floating_snat { 10.0.0.5 }",
    f"nft 'delete element ip l3agent floating_dnat {{ {FIP} }}; "
    f"add element ip l3agent floating_dnat {{ {FIP} : 10.0.0.9 }}'",
    "nft add element ip l3agent floating_dnat { 203.0.113.150 : 10.0.0.9 }",
    'nft add element ip l3agent external "{ \\"QR\\" }"',
    "nft add element ip l3agent floating_dnat '{ * : 10.0.0.9 }'",
    "nft delete table ip l3agent; nft add table ip l3agent; nft add map ip l3agent floating_dnat "
    "'{ type inet_service : ipv4_addr; elements = { 80 : 10.0.0.9 } }'",
    "nft flush map ip l3agent gateway_snat",
    "nft delete table ip l3agent",
    "nft flush ruleset",
    "nft flush table ip l3agent",
    "nft flush chain ip l3agent postrouting",
    "nft insert rule ip l3agent prerouting ip daddr 10.0.0.5 accept",
    "nft add rule ip l3agent prerouting counter",
    "nft add chain ip l3agent more '{ type filter hook forward priority 0; policy drop; }'",
    "nft add chain ip l3agent prerouting '{ policy drop; }'",
    "nft add set ip l3agent more '{ type ipv4_addr; }'",
    "nft add table ip l3agent '{ flags dormant; }'",
]
#: Changes without an event.
SETTINGS = [
    "net.ipv4.ip_forward=0",
    "net.ipv4.conf.all.arp_ignore=0",
    "net.ipv4.conf.all.arp_announce=0",
    "net.ipv4.conf.all.promote_secondaries=0",
    "net.ipv6.conf.all.forwarding=0",
    "net.netfilter.nf_conntrack_tcp_be_liberal=0",
    "net.ipv4.conf.QR.forwarding=0",
    "net.ipv4.conf.QG.arp_ignore=8",
    "net.ipv6.conf.QG.forwarding=0",
]
OUTSIDE = [
    "ip link set TAP nomaster",
    "ip link set TAP down",
    "ip link set TAP mtu 1300",
    "ip link delete TAP",
    "ip link set BRIDGE down",
    "ip link set BRIDGE alias ''",
    "ip link set BRIDGE alias other",
    "ip link delete BRIDGE",
    "ip link add other0 type bridge; ip link set TAP master other0",
    "ip netns add other1; ip link set TAP netns other1",
    "ip link set TAP down; ip link set TAP name other2",
    "ip netns delete NS",
]


@pytest.mark.parametrize("command", INSIDE)
def test_a_hand_inside_the_namespace_is_undone_by_one_reconcile(world: World, command: str) -> None:
    before = world.everything()
    world.inside(command)
    world.reconcile()
    assert world.everything() == before
    assert world.reconcile() == ()


@pytest.mark.parametrize("command", SETTINGS)
def test_a_setting_is_restored_by_a_reconcile_that_reads_the_kernel(world: World, command: str) -> None:
    before = world.everything()
    # The rotation of the data plane may restore it before the plan is made.
    wait_until(lambda: world.inside(f"sysctl -qw {command}") or world.plan(), timeout=30)
    world.machine.request("invalidate", {"keys": None})
    world.reconcile()
    assert world.everything() == before
    assert world.plan() == ()


@pytest.mark.parametrize("command", OUTSIDE)
def test_a_hand_in_the_switch_is_undone_by_one_reconcile(world: World, command: str) -> None:
    before = world.everything()
    world.outside(command)
    world.reconcile()
    assert world.everything() == before
    assert world.reconcile() == ()


def test_hands_are_undone_by_the_next_process_too(dataplane: Dataplane) -> None:
    world = a_world(dataplane)
    world.reconcile()
    before = world.everything()
    dataplane.kill()
    world.inside("ip address delete 10.0.0.1/24 dev QR; ip link set lo down; nft flush chain ip l3agent output")
    world.inside("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 net.ipv4.conf.all.arp_ignore=0")
    world.outside("ip link set TAP nomaster")
    dataplane.start()
    world.reconcile()
    assert world.everything() == before
    assert world.reconcile() == ()


def test_a_foreign_device_whose_name_is_no_text_is_harmless(world: World) -> None:
    name = "\"$(printf 'mine\\377')\""
    world.outside(f"ip link add {name} type bridge")
    try:
        assert world.reconcile() == ()
        inventory = world.machine.request("inventory", {})
        assert world.state.id in inventory["router"] and world.inner.network_id in inventory["network"]
    finally:
        world.outside(f"ip link delete {name}")


def test_loopback_is_up(world: World) -> None:
    world.inside("ping -c1 -W2 127.0.0.1")
    world.inside("ip link set lo down")
    world.reconcile()
    world.inside("ping -c1 -W2 127.0.0.1")


# ---- what is not ours ---------------------------------------------------------------------------------------------

FOREIGN_INSIDE = """
ip link add mine0 type veth peer name mine9
ip link set mine0 addrgenmode none
ip link set mine9 addrgenmode none
ip link set mine9 up
ip link set mine0 up
ip address add 198.51.100.1/24 dev mine0
ip route add 198.18.0.0/15 via 198.51.100.7
ip route add 198.18.9.0/24 via 198.51.100.7 protocol bird
ip route add 203.0.113.0/24 via 198.51.100.7 table 77
ip -6 route add 2001:db8:77::/48 dev mine0 protocol static
ip rule add from 198.51.100.0/24 lookup 77 priority 777
nft add table ip mine
nft add chain ip mine input '{ type filter hook input priority 0; }'
nft add rule ip mine input tcp dport 9 counter drop
nft add table ip6 l3agent
nft add table inet mine
"""
FOREIGN_OUTSIDE = """
ip link add mine1 type bridge
ip link add mine2 type veth peer name mine3
ip link set mine2 master mine1
ip link set mine3 master BRIDGE
ip link set mine3 up
ip link add brqffffffff-ff type bridge
ip netns add mine
ip netns add qdhcp-11111111
ip -n mine link add qr-ffffffff-ff type bridge
ip route add 198.18.0.0/15 dev lo protocol 201
nft add table ip l3agent
nft add table ip mine
"""


def foreign(world: World) -> list[Any]:
    """Return all that is neither the router's nor the kernel's."""
    inside = [
        world.inside("ip -j address show dev mine0"),
        world.inside("ip route show table all | grep -v -e QR -e QG -e 'dev lo' -e 'proto 201'"),
        world.inside("ip -6 route show table all | grep mine0"),
        world.inside("ip rule"),
        world.inside("nft list table ip mine; nft list table ip6 l3agent; nft list table inet mine"),
    ]
    return [*inside, *foreign_outside(world)]


def foreign_outside(world: World) -> list[Any]:
    links = json.loads(world.outside("ip -j link"))
    return [
        {(one["ifname"], one.get("master"), tuple(one["flags"])) for one in links if one["ifname"].startswith("mine")},
        "brqffffffff-ff" in {one["ifname"] for one in links},
        world.outside("ip route show protocol 201"),
        world.outside("nft list ruleset"),
        world.outside("ip -n mine link"),
        {"mine", "qdhcp-11111111"} <= world.machine.sandbox.namespaces(),
    ]


def test_nothing_foreign_is_touched_by_change_repair_and_removal(dataplane: Dataplane) -> None:
    world = a_world(dataplane)
    world.reconcile()
    world.inside("set -e" + FOREIGN_INSIDE)
    world.outside("set -e" + FOREIGN_OUTSIDE)
    before = foreign(world)
    assert world.reconcile() == ()
    default = route("0.0.0.0/0", (world.gateway, "203.0.113.1"))
    world.state = replace(world.state, floating_ips=floating_ips({FIP: "10.0.0.6"}), routes=frozenset({default}))
    world.reconcile()
    assert foreign(world) == before
    world.inside("ip address flush dev QR; nft flush chain ip l3agent output")
    world.reconcile()
    assert foreign(world) == before
    dataplane.kill()
    dataplane.start()
    world.reconcile()
    assert foreign(world) == before
    for state in (NetworkState(world.inner.network_id, None), None):
        (report,) = dataplane.reconcile((("network", world.inner.network_id), state))
        assert (report.error, report.operations) == (None, ())
    wait_until_removed(dataplane, world.state)
    wait_until(lambda: leftovers(dataplane, world.state) == [bridge(world.inner.network_id)], timeout=10)
    assert foreign_outside(world) == before[-6:]


def test_the_inventory_names_what_is_ours_and_nothing_else(dataplane: Dataplane) -> None:
    world = a_world(dataplane)
    world.reconcile()
    world.outside("set -e" + FOREIGN_OUTSIDE)
    assert dataplane.request("inventory", {}) == {
        "router": [world.state.id],
        "host": [],
        "network": sorted([world.inner.network_id, world.gateway.network_id]),
    }


def test_a_connected_route_comes_back_before_the_routes_that_lean_on_it(world: World) -> None:
    """A router that lost both must not need a second attempt, and goes with its addresses afterwards as if made so."""
    world.machine.request("unmanage", {"keys": [key(world.state)]})
    world.inside("ip route flush table main; ip -6 route flush table main")
    plan = world.plan()
    connected = [at for at, line in enumerate(plan) if "proto kernel" in line]
    others = [at for at, line in enumerate(plan) if "protocol 201" in line]
    assert len(connected) == 7 and others and max(connected) < min(others)
    assert world.reconcile() == plan
    world.machine.request("unmanage", {"keys": [key(world.state)]})
    world.inside("ip address delete 10.0.9.1/24 dev QR; ip address delete 2001:db8:1::1/64 dev QR")
    routes = world.inside("ip route show table main; ip -6 route show table main")
    assert "10.0.9.0/24" not in routes and "2001:db8:1::/64" not in routes


def test_a_router_that_cannot_be_brought_about_is_still_watched(world: World) -> None:
    """Its address is restored without a request, although a route is refused all the time."""
    unreachable = route("198.51.100.0/24", (world.inner, "192.0.2.99"))
    wrong = replace(world.state, routes=world.state.routes | {unreachable}, ports=frozenset({world.inner}))
    machine, shown = world.machine, ["ip", "address", "show", "dev", world.inner.device]
    for state in (wrong, replace(wrong, floating_ips=floating_ips({FIP: "10.0.0.6"}))):
        (report,) = world.machine.reconcile((key(world.state), state))
        assert report.error is not None and "198.51.100.0/24" in report.error
        world.inside("ip address delete 10.0.9.1/24 dev QR")
        wait_until(lambda: "10.0.9.1/24" in machine.sandbox.run(shown, netns=world.namespace), timeout=30)
        world.machine.request("unmanage", {"keys": [key(world.state)]})
