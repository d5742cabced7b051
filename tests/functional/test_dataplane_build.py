# SPDX-License-Identifier: Apache-2.0
"""A router that is built: the kernel holds all entries of the state, and applying it again changes nothing."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

import pytest

from l3agent.model.states import NamespaceState, Port
from tests.support.kernel import observed
from tests.support.processes import Dataplane
from tests.support.states import bridge, key, mac_of, namespace, new_id, port, route, router, tap
from tests.support.watch import ip_events, nft_events

ROUTER_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/arp_ignore": "1",
    "net/ipv4/conf/all/arp_announce": "2",
    "net/ipv4/conf/all/promote_secondaries": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/netfilter/nf_conntrack_tcp_be_liberal": "1",
}


def built(machine: Dataplane, state: NamespaceState) -> NamespaceState:
    (report,) = machine.reconcile((key(state), state))
    assert report.error is None
    assert report.operations
    return state


def crowded() -> tuple[NamespaceState, Port, Port, Port]:
    """Return a router with entries of each kind; its blue, red and gateway ports."""
    blue = port(new_id(), "10.0.0.1/24", "10.0.7.1/25", "2001:db8:1::1/64", mtu=1450)
    red = port(new_id(), "10.0.1.254/23")
    gateway = port(new_id(), "203.0.113.10/24", "2001:db8:ffff::10/64", gateway=True, mtu=1400)
    routes = [
        route("0.0.0.0/0", (gateway, "192.0.2.1")),
        route("192.0.2.1/32", (gateway, None)),
        route("::/0", (gateway, "2001:db8:ffff::1")),
        route("198.51.100.0/24", (gateway, None)),
        route("172.30.0.0/24", (blue, "10.0.0.7"), (blue, "10.0.0.8"), (red, "10.0.1.9")),
        route("172.31.0.0/16", (red, "10.0.1.7")),
        route("2001:db8:30::/48", (blue, "2001:db8:1::7"), (blue, "2001:db8:1::8")),
    ]
    fips = {"203.0.113.100": "10.0.0.5", "203.0.113.101": "10.0.1.5"}
    return router(blue, red, gateway=gateway, routes=routes, fips=fips), blue, red, gateway


@pytest.fixture(scope="module")
def made(machine: Dataplane) -> tuple[NamespaceState, Port, Port, Port]:
    state, blue, red, gateway = crowded()
    built(machine, state)
    return state, blue, red, gateway


def inside(machine: Dataplane, state: NamespaceState, command: str) -> Any:
    return machine.sandbox.json(command, netns=namespace(state))


def test_devices_have_their_mac_address_and_their_mtu_at_both_ends(machine: Dataplane, made: Any) -> None:
    state, blue, red, gateway = made
    links = {link["ifname"]: link for link in inside(machine, state, "ip -j -d link")}
    assert set(links) == {"lo", blue.device, red.device, gateway.device}
    assert {links[one.device]["address"] for one in (blue, red, gateway)} == {
        mac_of(one.id) for one in (blue, red, gateway)
    }
    outside = {link["ifname"]: link for link in machine.sandbox.json("ip -j -d link")}
    for one, mtu in ((blue, 1450), (red, 1500), (gateway, 1400)):
        assert links[one.device]["mtu"] == outside[tap(one)]["mtu"] == mtu
        assert {"UP", "LOWER_UP"} <= set(links[one.device]["flags"])
        assert {"UP", "LOWER_UP"} <= set(outside[tap(one)]["flags"])
        # More than one queue costs the kernel a grace period for each that it takes back.
        assert links[one.device]["num_tx_queues"] == outside[tap(one)]["num_tx_queues"] == 1
    assert "UP" in links["lo"]["flags"]


def test_taps_are_ports_of_the_bridge_of_their_network_and_bridges_are_marked(machine: Dataplane, made: Any) -> None:
    _, *ports = made
    outside = {link["ifname"]: link for link in machine.sandbox.json("ip -j -d link")}
    for one in ports:
        assert outside[tap(one)]["master"] == bridge(one.network_id)
        made_bridge = outside[bridge(one.network_id)]
        assert made_bridge["ifalias"] == f"l3agent:network:{one.network_id}"
        data = made_bridge["linkinfo"]["info_data"]
        assert (data["stp_state"], data["forward_delay"], data["mcast_snooping"]) == (0, 0, 0)
        assert "UP" in made_bridge["flags"]


def test_the_switch_side_has_no_address_of_its_own(machine: Dataplane, made: Any) -> None:
    _, *ports = made
    addresses = {link["ifname"]: link["addr_info"] for link in machine.sandbox.json("ip -j addr")}
    for one in ports:
        assert addresses[tap(one)] == [] == addresses[bridge(one.network_id)]


def test_addresses_are_usable_at_once_and_ipv4_ones_have_their_broadcast_address(machine: Dataplane, made: Any) -> None:
    state, blue, red, gateway = made
    found = {
        (link["ifname"], f"{info['local']}/{info['prefixlen']}"): info
        for link in inside(machine, state, "ip -j addr")
        for info in link["addr_info"]
        if link["ifname"] != "lo"
    }
    assert {device: {one for at, one in found if at == device} for device, _ in found} == {
        blue.device: {"10.0.0.1/24", "10.0.7.1/25", "2001:db8:1::1/64", link_local(blue)},
        red.device: {"10.0.1.254/23", link_local(red)},
        gateway.device: {
            "203.0.113.10/24",
            "203.0.113.100/32",
            "203.0.113.101/32",
            "2001:db8:ffff::10/64",
            link_local(gateway),
        },
    }
    assert not [one for one in found.values() if "tentative" in one or "dadfailed" in one]
    assert all(one["valid_life_time"] == 2**32 - 1 for one in found.values())
    assert found[blue.device, "10.0.7.1/25"]["broadcast"] == "10.0.7.127"
    assert found[red.device, "10.0.1.254/23"]["broadcast"] == "10.0.1.255"
    assert "broadcast" not in found[gateway.device, "203.0.113.100/32"]
    scopes = {info["scope"] for (_, text), info in found.items() if text.startswith("fe80")}
    assert scopes == {"link"}


def link_local(one: Port) -> str:
    raw = bytes.fromhex(one.mac.replace(":", ""))
    host = bytes((raw[0] ^ 2,)) + raw[1:3] + b"\xff\xfe" + raw[3:]
    return f"{IPv6Address(bytes.fromhex('fe80000000000000') + host)}/64"


@pytest.mark.feature("router.gateway")
def test_routes_are_there_in_both_families(machine: Dataplane, made: Any) -> None:
    state, blue, red, gateway = made
    routes = {to: hops for to, by, hops in observed(machine.sandbox, namespace(state)).routes if by == "agent"}
    assert routes == {
        "0.0.0.0/0": {(gateway.device, "192.0.2.1")},
        "192.0.2.1/32": {(gateway.device, None)},
        "::/0": {(gateway.device, "2001:db8:ffff::1")},
        "198.51.100.0/24": {(gateway.device, None)},
        "172.30.0.0/24": {(blue.device, "10.0.0.7"), (blue.device, "10.0.0.8"), (red.device, "10.0.1.9")},
        "172.31.0.0/16": {(red.device, "10.0.1.7")},
        "2001:db8:30::/48": {(blue.device, "2001:db8:1::7"), (blue.device, "2001:db8:1::8")},
    }


def test_the_maps_translate_as_in_the_state(machine: Dataplane, made: Any) -> None:
    state, blue, red, gateway = made
    facts = observed(machine.sandbox, namespace(state))
    assert facts.dnat == {"203.0.113.100": "10.0.0.5", "203.0.113.101": "10.0.1.5"}
    assert facts.snat == {"10.0.0.5": "203.0.113.100", "10.0.1.5": "203.0.113.101"}
    assert facts.snat_out == {gateway.device: "203.0.113.10"}
    assert facts.snat_hairpin == {blue.device: "203.0.113.10", red.device: "203.0.113.10"}
    assert facts.outside == {gateway.device}


def test_the_namespace_is_set_up_to_forward(machine: Dataplane, made: Any) -> None:
    found = {
        path: machine.sandbox.run(["cat", f"/proc/sys/{path}"], netns=namespace(made[0])).strip()
        for path in ROUTER_SYSCTLS
    }
    assert found == ROUTER_SYSCTLS


def test_without_snat_only_what_turns_back_inside_gets_the_address_of_the_router(machine: Dataplane) -> None:
    inner, gateway = port(new_id(), "10.0.0.1/24"), port(new_id(), "203.0.113.10/24", gateway=True)
    state = built(machine, router(inner, gateway=gateway, snat=False))
    facts = observed(machine.sandbox, namespace(state))
    assert facts.snat_out == {}
    assert facts.snat_hairpin == {inner.device: "203.0.113.10"}


def test_a_router_without_a_gateway_translates_nothing(machine: Dataplane) -> None:
    state = built(machine, router(port(new_id(), "10.0.0.1/24"), port(new_id(), "10.0.1.1/24")))
    facts = observed(machine.sandbox, namespace(state))
    assert (facts.dnat, facts.snat, facts.snat_out, facts.snat_hairpin, facts.outside) == ({}, {}, {}, {}, set())


def test_a_network_with_a_small_mtu_has_ipv4_only(machine: Dataplane) -> None:
    """Below 1280 bytes the kernel has no IPv6 on a device (RFC 8200 section 5)."""
    small = port(new_id(), "10.0.0.1/24", mtu=1200)
    state = built(machine, router(small))
    facts = observed(machine.sandbox, namespace(state))
    assert facts.links == {small.device: (small.mac, 1200)}
    assert facts.addresses == {(small.device, "10.0.0.1/24")}
    assert machine.reconcile((key(state), state))[0].operations == ()


# ---- the same again -----------------------------------------------------------------------------------------------


@pytest.mark.feature("dataplane.atomic-rules")
@pytest.mark.parametrize("restart", ["no", "by SIGTERM", "by SIGKILL"])
def test_the_same_state_again_is_no_operation_and_no_event(dataplane: Dataplane, restart: str) -> None:
    state, *_ = crowded()
    built(dataplane, state)
    {"no": _nothing, "by SIGTERM": _stop, "by SIGKILL": _kill}[restart](dataplane)
    sandbox = dataplane.sandbox
    with (
        ip_events(sandbox, namespace(state)) as inner,
        nft_events(sandbox, namespace(state)) as rules,
        ip_events(sandbox) as switch,
    ):
        (again,) = dataplane.reconcile((key(state), state))
        assert (again.error, again.operations) == (None, ())
        assert [inner.so_far(), rules.so_far(), switch.so_far()] == [[], [], []]


def _nothing(_: Dataplane) -> None:
    pass


def _stop(dataplane: Dataplane) -> None:
    assert dataplane.stop() == 0
    dataplane.start()


def _kill(dataplane: Dataplane) -> None:
    dataplane.kill()
    dataplane.start()


def test_a_dry_run_lists_the_same_operations_and_applies_none(machine: Dataplane) -> None:
    state, *_ = crowded()
    before = machine.sandbox.run(["ip", "link"])
    (planned,) = machine.reconcile((key(state), state), dry_run=True)
    assert machine.sandbox.run(["ip", "link"]) == before
    assert namespace(state) not in machine.sandbox.namespaces()
    (done,) = machine.reconcile((key(state), state))
    assert planned.operations == done.operations
