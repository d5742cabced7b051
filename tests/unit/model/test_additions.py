# SPDX-License-Identifier: Apache-2.0
"""Additions of extensions: merged in one place, and each clash is named."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network

import pytest

from l3agent.model.additions import Addable, Addition, PortAddress, merge_additions
from l3agent.model.desired import desired_state
from l3agent.model.states import FloatingIP, Neighbour, NextHop, PolicyRule, Route, RouterState
from l3agent.model.wire import pack_state, unpack_state
from tests.support.payloads import a_floating_ip, a_router
from tests.support.states import only_namespace

PAYLOAD = a_router(_floatingips=[a_floating_ip("203.0.113.100", "10.0.0.5")])
ROUTER = desired_state(PAYLOAD)
(INNER,) = only_namespace(ROUTER).ports
assert ROUTER.gateway is not None
GATEWAY = ROUTER.gateway


def route(destination: str, via: str = "10.0.0.9", device: str = INNER.device, table: int = 254) -> Route:
    return Route(ip_network(destination), frozenset({NextHop(device, ip_address(via))}), table)


def neighbour(address: str, mac: str = "02:00:00:00:00:01") -> Neighbour:
    return Neighbour(INNER.device, ip_address(address), mac)


def fip(floating: str, fixed: str) -> FloatingIP:
    return FloatingIP(IPv4Address(floating), IPv4Address(fixed))


def address(interface: str, device: str = INNER.device) -> PortAddress:
    return PortAddress(device, ip_interface(interface))


def merged(*values: Addable, source: str = "one") -> RouterState:
    return merge_additions(ROUTER, [Addition(source, "router", value) for value in values])


def test_a_router_without_additions_is_the_same_object() -> None:
    assert merge_additions(ROUTER, []) is ROUTER


def test_each_kind_of_addition_is_served() -> None:
    rule = PolicyRule(100, 16, ip_network("10.0.0.0/24"), None)
    values = (route("172.31.0.0/24"), route("0.0.0.0/0", table=16), rule, neighbour("10.0.0.7"))
    state = merged(*values, fip("203.0.113.101", "10.0.0.6"), address("10.0.0.200/32"), address("10.9.0.1/24"))
    assert state.warnings == ROUTER.warnings
    before, after = only_namespace(ROUTER), only_namespace(state)
    assert after.routes == before.routes | set(values[:2])
    assert after.rules == {rule} and after.neighbours == {values[3]}
    assert after.floating_ips == before.floating_ips | {fip("203.0.113.101", "10.0.0.6")}
    (port,) = after.ports
    assert port.addresses == INNER.addresses | {ip_interface("10.0.0.200/32"), ip_interface("10.9.0.1/24")}
    assert unpack_state(pack_state(after.key, after)) == (after.key, after)


def test_an_address_of_the_gateway_port_is_served() -> None:
    state = merged(address("203.0.113.200/32", GATEWAY.device))
    assert state.gateway is not None
    assert state.gateway.addresses == GATEWAY.addresses | {ip_interface("203.0.113.200/32")}


def test_a_further_address_in_a_subnet_of_the_port_is_served() -> None:
    (port,) = only_namespace(merged(address("10.0.0.2/24"))).ports
    assert port.addresses == INNER.addresses | {ip_interface("10.0.0.2/24")}
    (port,) = only_namespace(merged(address("10.9.0.1/24"), address("10.9.0.2/24"))).ports
    assert port.addresses == INNER.addresses | {ip_interface("10.9.0.1/24"), ip_interface("10.9.0.2/24")}


def test_a_next_hop_may_be_in_a_network_that_another_addition_makes() -> None:
    on_link = Route(ip_network("10.5.0.0/24"), frozenset({NextHop(INNER.device, None)}), 16)
    through = route("0.0.0.0/0", "10.5.0.1", table=16)
    beside = route("172.31.0.0/24", "10.9.0.9")
    first = [Addition("a", "router", value) for value in (through, beside)]
    second = [Addition("b", "router", value) for value in (on_link, address("10.9.0.1/24"))]
    state = merge_additions(ROUTER, [*first, *second])
    assert state.warnings == ROUTER.warnings
    assert only_namespace(state).routes == only_namespace(ROUTER).routes | {through, beside, on_link}


def test_an_on_link_route_serves_its_own_table_and_that_of_the_main_table_all() -> None:
    through = route("172.31.0.0/24", "10.5.0.1", table=16)
    for table, is_served in ((16, True), (254, True), (17, False)):
        on_link = Route(ip_network("10.5.0.0/24"), frozenset({NextHop(INNER.device, None)}), table)
        assert (through in only_namespace(merged(on_link, through)).routes) == is_served


def test_desired_state_merges_additions() -> None:
    addition = Addition("one", "router", neighbour("10.0.0.7"))
    assert desired_state(PAYLOAD, additions=[addition]) == merge_additions(ROUTER, [addition])


CLASHES = [
    (route("172.31.0.0/24"), route("172.31.0.0/24", "10.0.0.10")),
    (neighbour("10.0.0.7"), neighbour("10.0.0.7", "02:00:00:00:00:02")),
    (fip("203.0.113.101", "10.0.0.6"), fip("203.0.113.101", "10.0.0.7")),
    (fip("203.0.113.101", "10.0.0.6"), fip("203.0.113.102", "10.0.0.6")),
    (address("10.0.0.200/32"), fip("10.0.0.200", "10.0.0.6")),
    (PolicyRule(100, 16, None, INNER.device), PolicyRule(100, 16, None, INNER.device)),
    (address("10.9.0.1/24"), route("10.9.0.0/24")),
]


@pytest.mark.parametrize(("first", "second"), CLASHES, ids=repr)
def test_of_two_additions_that_claim_one_object_the_first_stays(first: Addable, second: Addable) -> None:
    additions = [Addition("one", "router", first), Addition("two", "router", second)]
    other = Addition("three", "router", neighbour("10.0.0.77"))
    for order in (additions, additions[::-1]):
        state = merge_additions(ROUTER, [*order, other])
        assert replace(state, warnings=()) == replace(merged(first, other.value), warnings=())
        (warning,) = set(state.warnings) - set(ROUTER.warnings)
        assert warning.startswith("extension two: ") and warning.endswith(" skipped: one has this object")


@pytest.mark.parametrize(
    "value",
    [
        *only_namespace(ROUTER).routes,
        *only_namespace(ROUTER).floating_ips,
        fip("203.0.113.100", "10.0.0.7"),
        fip("203.0.113.101", "10.0.0.5"),
        *(fip(str(one.ip), "10.0.0.7") for one in GATEWAY.addresses if isinstance(one.ip, IPv4Address)),
        route("10.0.0.0/24"),
        # The next hop of the default route: the router would send this traffic to itself.
        address("203.0.113.1/32", GATEWAY.device),
        fip("203.0.113.1", "10.0.0.7"),
        address("10.0.0.1/32"),
    ],
    ids=repr,
)
def test_the_router_keeps_its_own_objects(value: Addable) -> None:
    state = merged(value)
    assert state == ROUTER
    (warning,) = set(state.warnings) - set(ROUTER.warnings)
    assert warning.endswith(" skipped: the router has this object")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (route("172.31.0.0/24", device="lo"), "expected the device of a port of the state"),
        (route("172.31.0.0/24", "2001:db8::1"), "expected a unicast address of the same family"),
        (route("224.0.0.0/4"), "expected a routable network"),
        (route("172.31.0.0/24", table=255), "table: 255"),
        (PolicyRule(0, 16, None, INNER.device), "priority: 0"),
        (PolicyRule(100, 16, None, None), "expected a source or a device"),
        (PolicyRule(100, 16, None, "lo"), "expected the device of a port of the state"),
        (neighbour("10.0.0.7", "01:00:5e:00:00:01"), "expected a unicast MAC address"),
        (neighbour("10.0.0.7", "not-a-mac"), "it has no wire form: non-hexadecimal number"),
        (neighbour("10.0.0.7", "02:00:00:00:00:0A"), "its form is not canonical"),
        (neighbour("::ffff:10.0.0.7"), "its form is not canonical"),
        (neighbour("224.0.0.1"), "expected the bytes of a unicast address"),
        (fip("127.0.0.1", "10.0.0.9"), "expected the bytes of unicast addresses"),
        (address("10.0.0.200/32", "eth1"), "the namespace has no device eth1"),
        (address("224.0.0.1/32"), "expected a unicast address"),
        (route("172.31.0.0/24", "10.5.0.1"), "no network of this device has the next hop 10.5.0.1"),
        (route("172.31.0.0/24", "203.0.113.1"), "no network of this device has the next hop 203.0.113.1"),
        (route("172.31.0.0/24", "10.0.0.255"), "no network of this device has the next hop 10.0.0.255"),
        (route("172.31.0.0/24", "10.0.0.1"), "the next hop 10.0.0.1 is an address of the router itself"),
        (address("10.9.0.0/24"), "the network or broadcast address of 10.9.0.0/24"),
        (address("10.0.0.255/32"), "the network or broadcast address of 10.0.0.0/24"),
        (address("203.0.113.200/32"), "overlaps 203.0.113.0/24 of another port"),
    ],
)
def test_an_addition_that_is_not_valid_costs_itself(value: Addable, reason: str) -> None:
    state = merged(value, neighbour("10.0.0.77"))
    assert state == merged(neighbour("10.0.0.77"))
    (warning,) = set(state.warnings) - set(ROUTER.warnings)
    assert warning.startswith("extension one: ") and reason in warning


def test_a_floating_ip_needs_a_gateway() -> None:
    inside = desired_state(a_router(gw_port=None))
    state = merge_additions(inside, [Addition("one", "router", fip("203.0.113.101", "10.0.0.6"))])
    assert state == inside
    assert set(state.warnings) - set(inside.warnings) == {
        "extension one: floating IP 203.0.113.101 for 10.0.0.6 skipped: the namespace has no gateway port"
    }


def test_an_addition_for_a_namespace_that_the_router_lacks_is_ignored_and_named() -> None:
    state = merge_additions(ROUTER, [Addition("one", "host", neighbour("10.0.0.7"))])
    assert state == ROUTER
    assert set(state.warnings) - set(ROUTER.warnings) == {
        f"extension one: neighbour 10.0.0.7 at {INNER.device} (02:00:00:00:00:01) skipped: "
        "the router has no host namespace"
    }


@pytest.mark.parametrize(
    "value", [address("2001:db8:9::1/64"), neighbour("2001:db8::7"), route("2001:db8:9::/48", "fe80::1")], ids=repr
)
def test_an_ipv6_addition_at_a_port_without_ipv6_costs_itself(value: Addable) -> None:
    namespace = only_namespace(ROUTER)
    small = replace(namespace, ports=frozenset({replace(INNER, mtu=1279)}))
    router = replace(ROUTER, namespaces=(small,))
    fine = Addition("one", "router", neighbour("10.0.0.77"))
    state = merge_additions(router, [Addition("one", "router", value), fine])
    assert replace(state, warnings=router.warnings) == merge_additions(router, [fine])
    (warning,) = set(state.warnings) - set(router.warnings)
    assert warning.endswith(" skipped: IPv6 needs an MTU of 1280, the port has 1279")
    large = replace(ROUTER, namespaces=(replace(namespace, ports=frozenset({replace(INNER, mtu=1280)})),))
    assert merge_additions(large, [Addition("one", "router", value)]).warnings == ROUTER.warnings
