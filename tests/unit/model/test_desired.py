# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import time
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from l3agent.exceptions import InvalidRouter, RouterNotCompatible, RouterNotWanted
from l3agent.model.desired import desired_state
from l3agent.model.states import FloatingIP, NextHop, Route, RouterState
from tests.support.payloads import (
    GATEWAY,
    a_fixed_ip,
    a_floating_ip,
    a_gateway,
    a_network,
    a_port,
    a_router,
    a_subnet,
    legacy_payload,
)
from tests.support.states import desired_namespace, only_namespace

PAYLOADS = Path(__file__).parent / "payloads"
QR, QG = "qr-a0000001-00", "qg-b0000000-00"


def routes_of(state: RouterState) -> dict[str, set[tuple[str, str | None]]]:
    return {
        str(route.destination): {(hop.device, None if hop.via is None else str(hop.via)) for hop in route.hops}
        for route in state.routes
    }


def refusal_of(router: dict[str, Any]) -> InvalidRouter:
    with pytest.raises(InvalidRouter) as caught:
        desired_state(router)
    return caught.value


def warning_of(router: dict[str, Any]) -> str:
    """Return the only warning of a router that is served without one part."""
    (warning,) = desired_state(router).warnings
    return warning


# Which routers


@pytest.mark.parametrize("kind", ["ha", "distributed"])
def test_ha_and_distributed_routers_are_not_for_this_agent(kind: str) -> None:
    with pytest.raises(RouterNotCompatible, match=kind):
        desired_state(a_router(**{kind: True}))


def test_a_router_without_gateway_is_refused_only_when_the_option_says_so() -> None:
    internal_only = a_router(gw_port=None)
    assert desired_state(internal_only).gateway is None
    with pytest.raises(RouterNotWanted, match="handle_internal_only_routers"):
        desired_state(internal_only, handle_internal_only_routers=False)


def test_a_router_that_is_administratively_down_should_not_exist() -> None:
    with pytest.raises(RouterNotWanted, match="admin_state_up"):
        desired_state(a_router(admin_state_up=False))


def test_keys_that_mitaka_does_not_send_may_be_absent() -> None:
    mitaka = legacy_payload()
    for key in ("ha", "distributed", "enable_ndp_proxy", "conntrack_helpers", "_pf_floatingips"):
        mitaka.pop(key)
    for port in [*mitaka["_interfaces"], mitaka["gw_port"]]:
        port.pop("mtu")
    assert {port.mtu for port in desired_state(mitaka).all_ports()} == {None}


def test_unknown_keys_are_ignored() -> None:
    router = a_router()
    assert desired_state(router | {"_new_in_2030": [object()]}) == desired_state(router)


# Ports


def test_a_port_may_have_several_addresses_of_several_subnets() -> None:
    fixed_ips = [a_fixed_ip("10.0.0.1", 24), a_fixed_ip("10.0.9.1", 24), a_fixed_ip("2001:db8:1::", 64)]
    (port,) = desired_namespace(a_router(_interfaces=[a_port(fixed_ips=fixed_ips)])).ports
    assert port.device == QR
    assert port.addresses == {ip_interface(text) for text in ("10.0.0.1/24", "10.0.9.1/24", "2001:db8:1::/64")}


@pytest.mark.parametrize("change", [{"admin_state_up": False}, {"fixed_ips": []}, {"fixed_ips": None}])
def test_a_port_that_is_down_or_has_no_address_is_left_out(change: dict[str, Any]) -> None:
    assert desired_namespace(a_router(_interfaces=[a_port(**change)])).ports == frozenset()


def test_a_router_may_have_no_ports_at_all() -> None:
    state = desired_state({"id": "a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b"})
    assert not state.all_ports() and not state.routes


def test_the_prefix_length_comes_from_the_subnet_where_the_fixed_ip_has_none() -> None:
    fixed_ip = {"ip_address": "10.0.0.1", "subnet_id": "s1"}
    port = a_port(fixed_ips=[fixed_ip], subnets=[{"id": "s1", "cidr": "10.0.0.0/20"}])
    (made,) = desired_namespace(a_router(_interfaces=[port])).ports
    assert made.addresses == {ip_interface("10.0.0.1/20")}


def test_mac_addresses_are_lower_case() -> None:
    (port,) = desired_namespace(a_router(_interfaces=[a_port(mac_address="FA:16:3E:00:00:0A")])).ports
    assert port.mac == "fa:16:3e:00:00:0a"


@pytest.mark.parametrize(("mtu", "expected"), [(None, None), (0, None), (68, 68), (1500, 1500), (65535, 65535)])
def test_an_mtu_of_none_or_zero_leaves_the_choice_to_the_kernel(mtu: int | None, expected: int | None) -> None:
    (port,) = desired_namespace(a_router(_interfaces=[a_port(mtu=mtu)])).ports
    assert port.mtu == expected


@pytest.mark.feature("sync.skipped-parts")
@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"mac_address": "01:00:5e:00:00:01"}, "mac_address"),
        ({"mac_address": "00:00:00:00:00:00"}, "mac_address"),
        ({"mac_address": "ff:ff:ff:ff:ff:ff"}, "mac_address"),
        ({"mac_address": "fa:16:3e:00:00:01\n"}, "mac_address"),
        ({"mac_address": None}, "mac_address"),
        ({"id": "../../../etc/x"}, "id"),
        ({"id": "aaaaaaaa\0aaa"}, "id"),
        ({"id": "aaaaaaaa-aa/a"}, "id"),
        ({"id": "a" * 10}, "id"),
        ({"id": "a" * 37}, "id"),
        ({"id": 7}, "id"),
        ({"network_id": "blue"}, "network_id"),
        ({"device_owner": "network:router_interface_distributed"}, "device_owner"),
        ({"device_owner": "network:ha_router_replicated_interface"}, "device_owner"),
        ({"device_owner": "network:router_centralized_snat"}, "device_owner"),
        ({"device_owner": "network:router_gateway"}, "device_owner"),
        ({"device_owner": ["network:router_interface"]}, "device_owner"),
        ({"fixed_ips": {}}, "fixed_ips"),
        ({"admin_state_up": "True"}, "admin_state_up"),
    ],
)
def test_a_bad_port_is_skipped_and_named_and_the_others_are_served(change: dict[str, Any], path: str) -> None:
    good = a_port(2, fixed_ips=[a_fixed_ip("10.0.2.1", 24)])
    state = desired_state(a_router(_interfaces=[a_port(**change), good]))
    assert state.all_ports() == desired_state(a_router(_interfaces=[good])).all_ports()
    (warning,) = state.warnings
    assert warning.startswith("port ") and f" skipped: {path}: " in warning


@pytest.mark.parametrize("change", [{"mac_address": "nonsense"}, {"id": None}, {"fixed_ips": "x"}])
def test_a_bad_gateway_port_is_skipped_with_all_that_needs_it(change: dict[str, Any]) -> None:
    router = a_router(gw_port=a_gateway(**change), _floatingips=[a_floating_ip("203.0.113.100", "10.0.0.5")])
    state = desired_state(router)
    assert (state.gateway, only_namespace(state).nat_address, state.snat, state.floating_ips) == (
        None,
        None,
        False,
        frozenset(),
    )
    assert len(only_namespace(state).ports) == 1 and state.unserved_floating_ips == {"floating 203.0.113.100"}
    assert "no usable gateway" in state.warnings[0] and len(state.warnings) == 2
    assert desired_namespace(router | {"gw_port": "nonsense"}).ports == only_namespace(state).ports


@pytest.mark.parametrize("mtu", [67, 65536, True, "1500"])
def test_of_a_port_with_a_bad_mtu_only_the_mtu_is_skipped(mtu: Any) -> None:
    state = desired_state(a_router(_interfaces=[a_port(mtu=mtu)]))
    assert {port.mtu for port in only_namespace(state).ports} == {None}
    assert state.warnings == (
        f"MTU of port {a_port()['id']} skipped: {mtu!r}: expected a whole number from 68 to 65535",
    )


def test_a_port_whose_mtu_is_too_small_for_ipv6_keeps_its_ipv4_addresses() -> None:
    port = a_port(mtu=1279, fixed_ips=[a_fixed_ip("10.0.0.1", 24), a_fixed_ip("2001:db8:1::1", 64)])
    state = desired_state(a_router(_interfaces=[port]))
    assert [port.addresses for port in only_namespace(state).ports] == [{ip_interface("10.0.0.1/24")}]
    assert "2001:db8:1::1/64" in state.warnings[0] and "1279" in state.warnings[0]


@pytest.mark.parametrize(
    ("address", "prefixlen"),
    [
        ("224.0.0.1", 24),
        ("127.0.0.1", 8),
        ("0.0.0.0", 24),
        ("255.255.255.255", 32),
        ("10.0.0.0", 24),
        ("10.0.0.255", 24),
        ("::", 64),
        ("::1", 128),
        ("ff02::1", 64),
        ("fe80::1", 64),
        ("2001:db8::1%eth0", 64),
        ("::ffff:10.0.0.1", 96),
        ("10.0.0.1/24", 24),
        ("010.0.0.1", 24),
        ("", 24),
        (167772161, 24),
        (None, 24),
    ],
)
def test_an_address_that_no_machine_can_have_is_skipped(address: Any, prefixlen: int) -> None:
    bad, good = {"ip_address": address, "prefixlen": prefixlen}, a_fixed_ip("10.7.0.1", 24)
    router = a_router(_interfaces=[a_port(fixed_ips=[bad, good])])
    (port,) = desired_namespace(router).ports
    assert port.addresses == {ip_interface("10.7.0.1/24")}
    assert warning_of(router).startswith(f"address of port {port.id} skipped: ip_address: ")
    without = desired_state(a_router(_interfaces=[a_port(fixed_ips=[bad])]))
    assert only_namespace(without).ports == frozenset()
    assert f"port {port.id} skipped: fixed_ips: " in without.warnings[1]


@pytest.mark.parametrize(("address", "prefixlen"), [("10.0.0.0", 31), ("10.0.0.1", 32), ("2001:db8:1::", 64)])
def test_the_first_address_of_a_network_is_usable_where_it_means_a_machine(address: str, prefixlen: int) -> None:
    (port,) = desired_namespace(a_router(_interfaces=[a_port(fixed_ips=[a_fixed_ip(address, prefixlen)])])).ports
    assert port.addresses == {ip_interface(f"{address}/{prefixlen}")}


@pytest.mark.parametrize("prefixlen", [0, 33, -1, True, "24", 24.0])
def test_an_address_with_a_prefix_length_outside_its_family_is_skipped(prefixlen: Any) -> None:
    bad = {"ip_address": "10.0.0.1", "prefixlen": prefixlen}
    router = a_router(_interfaces=[a_port(fixed_ips=[None, bad, a_fixed_ip("10.7.0.1", 24)])])
    state = desired_state(router)
    assert [port.addresses for port in only_namespace(state).ports] == [{ip_interface("10.7.0.1/24")}]
    assert len(state.warnings) == 2 and any(" skipped: prefixlen: " in warning for warning in state.warnings)


# What ports must not share


def both_orders(**lists: list[Any]) -> RouterState:
    """Return the state of a router; the order of its lists makes no difference to it or to its warnings."""
    one, other = (desired_state(a_router(**lists)), desired_state(a_router(**{k: v[::-1] for k, v in lists.items()})))
    assert one == other
    assert (one.warnings, one.unserved_floating_ips) == (other.warnings, other.unserved_floating_ips)
    return one


def addresses_of(state: RouterState) -> set[str]:
    return {str(address) for port in only_namespace(state).ports for address in port.addresses}


def test_the_same_address_twice_on_a_port_is_there_once() -> None:
    twice = [a_fixed_ip("10.0.0.1", 24), a_fixed_ip("10.0.0.1", 25)]
    for fixed_ips in (twice, twice[::-1]):
        state = desired_state(a_router(_interfaces=[a_port(fixed_ips=fixed_ips)]))
        assert addresses_of(state) == {"10.0.0.1/24"}
        assert state.warnings == (f"address 10.0.0.1/25 of port {a_port()['id']} skipped: the port has 10.0.0.1/24",)


@pytest.mark.feature("sync.skipped-parts")
@pytest.mark.parametrize("second", ["10.0.0.2/24", "10.0.0.2/25", "10.9.9.9/8", "10.0.0.1/32"])
def test_of_subnets_that_overlap_on_different_ports_that_of_the_lower_port_id_stays(second: str) -> None:
    address, _, length = second.partition("/")
    other = a_port(2, fixed_ips=[a_fixed_ip(address, int(length)), a_fixed_ip("172.16.0.1", 24)])
    state = both_orders(_interfaces=[a_port(1), other])
    assert addresses_of(state) == {"10.0.0.1/24", "172.16.0.1/24"}
    (warning,) = state.warnings
    assert second in warning and f"overlaps 10.0.0.0/24 of port {a_port(1)['id']}" in warning
    assert (
        len(only_namespace(both_orders(_interfaces=[a_port(1), a_port(2, fixed_ips=other["fixed_ips"][:1])])).ports)
        == 1
    )


def test_an_address_of_a_tenant_subnet_that_overlaps_the_external_network_is_skipped() -> None:
    tenant = a_port(fixed_ips=[a_fixed_ip("203.0.113.200", 25), a_fixed_ip("10.7.0.1", 24)])
    state = desired_state(a_router(_interfaces=[tenant]))
    assert addresses_of(state) == {"10.7.0.1/24"} and only_namespace(state).nat_address == IPv4Address("203.0.113.10")
    assert f"overlaps 203.0.113.0/24 of port {GATEWAY}" in state.warnings[0]


def test_subnets_of_one_port_may_nest() -> None:
    fixed_ips = [a_fixed_ip("10.0.0.1", 24), a_fixed_ip("10.0.0.5", 25), a_fixed_ip("10.0.1.1", 24)]
    for order in (fixed_ips, fixed_ips[::-1]):
        state = desired_state(a_router(_interfaces=[a_port(fixed_ips=order)]))
        assert len(addresses_of(state)) == 3 and state.warnings == ()
    nested = [a_port(1, fixed_ips=fixed_ips), a_port(2, fixed_ips=[a_fixed_ip("10.0.0.200", 26)])]
    assert len(addresses_of(both_orders(_interfaces=nested))) == 3


def test_an_overlap_is_seen_behind_subnets_that_lie_between() -> None:
    inner = a_port(3, fixed_ips=[a_fixed_ip("10.0.200.1", 24)])
    outer = a_port(1, fixed_ips=[a_fixed_ip("10.0.0.1", 16), a_fixed_ip("10.0.5.1", 24)])
    state = both_orders(_interfaces=[inner, outer])
    assert "10.0.200.0/24 overlaps 10.0.0.0/16" in state.warnings[0]
    swallowed = a_port(4, fixed_ips=[a_fixed_ip("10.0.0.9", 8)])
    assert "10.0.0.0/8 overlaps 10.0.0.0/16" in both_orders(_interfaces=[swallowed, outer]).warnings[0]


def test_of_two_ports_whose_devices_would_have_one_name_the_lower_id_stays() -> None:
    twin = a_port(2, id=a_port(1)["id"][:11] + "ff-4000-8000-000000000000", fixed_ips=[a_fixed_ip("10.0.2.1", 24)])
    state = both_orders(_interfaces=[a_port(1), twin])
    assert [port.id for port in only_namespace(state).ports] == [a_port(1)["id"]]
    assert state.warnings[0].startswith(f"port {twin['id']} skipped: ")


def test_an_internal_port_that_would_share_the_tap_of_the_gateway_is_skipped() -> None:
    state = desired_state(a_router(_interfaces=[a_port(id=GATEWAY)]))
    assert only_namespace(state).ports == frozenset() and state.gateway is not None
    assert GATEWAY in state.warnings[0]


def test_of_two_networks_that_would_share_a_bridge_that_of_the_lower_port_id_stays() -> None:
    network = a_port(1)["network_id"][:-1] + "f"
    other = a_port(2, network_id=network, fixed_ips=[a_fixed_ip("10.0.2.1", 24)])
    state = both_orders(_interfaces=[a_port(1), other])
    assert [port.id for port in only_namespace(state).ports] == [a_port(1)["id"]]
    assert network in state.warnings[0]


# Default routes


def test_each_family_of_the_gateway_port_has_its_default_route() -> None:
    gateway = a_gateway(
        fixed_ips=[a_fixed_ip("2001:db8:ffff::10", 64), a_fixed_ip("203.0.113.10", 24)],
        subnets=[
            a_subnet("203.0.113.0/24", gateway_ip="203.0.113.1"),
            a_subnet("2001:db8:ffff::/64", gateway_ip="2001:db8:ffff::1"),
        ],
    )
    routes = routes_of(desired_state(a_router(gw_port=gateway)))
    assert routes == {"0.0.0.0/0": {(QG, "203.0.113.1")}, "::/0": {(QG, "2001:db8:ffff::1")}}


def test_a_subnet_of_a_family_without_an_address_gives_no_default_route() -> None:
    gateway = a_gateway(subnets=[a_subnet("2001:db8:ffff::/64", gateway_ip="2001:db8:ffff::1")])
    assert routes_of(desired_state(a_router(gw_port=gateway))) == {}


@pytest.mark.parametrize("gateway_ip", ["192.0.2.1", "203.0.114.1"])
def test_a_gateway_outside_its_subnet_is_reached_on_link(gateway_ip: str) -> None:
    gateway = a_gateway(subnets=[a_subnet("203.0.113.0/24", gateway_ip=gateway_ip)])
    routes = routes_of(desired_state(a_router(gw_port=gateway)))
    assert routes == {"0.0.0.0/0": {(QG, gateway_ip)}, f"{gateway_ip}/32": {(QG, None)}}


def test_a_link_local_gateway_needs_no_route_to_itself() -> None:
    gateway = a_gateway(
        fixed_ips=[a_fixed_ip("2001:db8:ffff::10", 64)], subnets=[a_subnet("2001:db8:ffff::/64", gateway_ip="fe80::1")]
    )
    assert routes_of(desired_state(a_router(gw_port=gateway))) == {"::/0": {(QG, "fe80::1")}}


def test_the_last_of_several_subnets_with_a_gateway_has_the_default_route() -> None:
    gateway = a_gateway(
        fixed_ips=[a_fixed_ip("203.0.113.10", 24), a_fixed_ip("198.51.100.10", 24)],
        subnets=[
            a_subnet("203.0.113.0/24", gateway_ip="203.0.113.1"),
            a_subnet("198.51.100.0/24", gateway_ip="198.51.100.1"),
            a_subnet("192.0.2.0/24", gateway_ip=None),
        ],
    )
    state = desired_state(a_router(gw_port=gateway))
    assert routes_of(state)["0.0.0.0/0"] == {(QG, "198.51.100.1")}
    assert only_namespace(state).nat_address == IPv4Address("203.0.113.10")


def test_a_gateway_that_is_the_router_itself_is_left_out() -> None:
    state = desired_state(a_router(gw_port=a_gateway(subnets=[a_subnet("203.0.113.0/24", gateway_ip="203.0.113.10")])))
    assert routes_of(state) == {}
    assert "203.0.113.10" in state.warnings[0]


# Other subnets of the external network


def test_extra_subnets_of_the_external_network_are_on_link() -> None:
    state = desired_state(a_router(gw_port=a_gateway(extra_subnets=[a_subnet("198.51.100.0/24")])))
    assert routes_of(state)["198.51.100.0/24"] == {(QG, None)}


def test_an_extra_subnet_that_is_connected_already_needs_no_route() -> None:
    state = desired_state(a_router(gw_port=a_gateway(extra_subnets=[a_subnet("203.0.113.0/24")])))
    assert set(routes_of(state)) == {"0.0.0.0/0"}


@pytest.mark.parametrize("cidr", ["10.0.0.0/24", "10.0.0.0/8", "10.0.0.128/25"])
def test_an_extra_subnet_that_overlaps_a_tenant_subnet_is_left_out(cidr: str) -> None:
    state = desired_state(a_router(gw_port=a_gateway(extra_subnets=[a_subnet(cidr)])))
    assert cidr not in routes_of(state)
    assert cidr in state.warnings[0]


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "224.0.0.0/8", "127.0.0.0/8", "fe80::/64", "10.0.0.1/24", "nonsense"])
def test_an_absurd_extra_subnet_is_skipped(cidr: str) -> None:
    gateway = a_gateway(extra_subnets=[a_subnet(cidr), a_subnet("198.51.100.0/24")])
    state = desired_state(a_router(gw_port=gateway))
    assert set(routes_of(state)) == {"0.0.0.0/0", "198.51.100.0/24"}
    assert state.warnings[0].startswith(f"on-link route skipped: cidr: {cidr!r}: ")


@pytest.mark.parametrize("subnet", [None, 7, {"gateway_ip": "224.0.0.1"}, {"gateway_ip": 5}, {"gateway_ip": "x" * 500}])
def test_a_subnet_of_the_gateway_port_with_a_bad_gateway_costs_its_default_route(subnet: Any) -> None:
    good = a_subnet("203.0.113.0/24", gateway_ip="203.0.113.1")
    state = desired_state(a_router(gw_port=a_gateway(subnets=[good, subnet])))
    assert routes_of(state) == {"0.0.0.0/0": {(QG, "203.0.113.1")}}
    assert state.warnings[0].startswith("default route skipped: ") and len(state.warnings[0]) < 300
    assert routes_of(desired_state(a_router(gw_port=a_gateway(subnets="nonsense")))) == {}


# Extra routes


def extra(destination: str, nexthop: str) -> dict[str, str]:
    return {"destination": destination, "nexthop": nexthop}


def test_an_extra_route_leads_to_the_port_whose_subnet_has_the_next_hop() -> None:
    routes = [extra("172.30.0.0/24", "10.0.0.77"), extra("172.31.0.0/24", "203.0.113.77")]
    state = desired_state(a_router(routes=routes))
    assert routes_of(state)["172.30.0.0/24"] == {(QR, "10.0.0.77")}
    assert routes_of(state)["172.31.0.0/24"] == {(QG, "203.0.113.77")}


def test_the_longest_prefix_finds_the_device_of_a_next_hop() -> None:
    gateway = a_gateway(subnets=[a_subnet("203.0.113.0/24", gateway_ip="10.0.0.254")])
    routes = [extra("172.30.0.0/24", "10.0.0.254"), extra("172.31.0.0/24", "10.0.0.253")]
    state = desired_state(a_router(gw_port=gateway, routes=routes))
    assert routes_of(state)["172.30.0.0/24"] == {(QG, "10.0.0.254")}
    assert routes_of(state)["172.31.0.0/24"] == {(QR, "10.0.0.253")}


def test_the_same_destination_by_several_next_hops_is_one_multipath_route() -> None:
    routes = [extra("172.30.0.0/24", "10.0.0.77"), extra("172.30.0.0/24", "10.0.0.78")]
    state = desired_state(a_router(gw_port=None, routes=routes))
    hops = frozenset(NextHop(QR, ip_address(via)) for via in ("10.0.0.77", "10.0.0.78"))
    assert state.routes == {Route(ip_network("172.30.0.0/24"), hops)}


@pytest.mark.parametrize("nexthop", ["192.0.2.9", "10.0.0.1", "10.0.0.255", "2001:db8:1::9", "fe80::1"])
def test_an_extra_route_by_a_next_hop_that_nobody_reaches_is_left_out_and_named(nexthop: str) -> None:
    destination = "2001:db8:30::/64" if ":" in nexthop else "172.30.0.0/24"
    state = desired_state(a_router(routes=[extra(destination, nexthop)]))
    assert destination not in routes_of(state)
    assert destination in state.warnings[0] and nexthop in state.warnings[0]


def test_removing_the_gateway_does_not_freeze_a_router_whose_route_leads_there() -> None:
    routes = [extra("172.30.0.0/24", "203.0.113.77"), extra("172.31.0.0/24", "10.0.0.77")]
    state = desired_state(a_router(gw_port=None, routes=routes))
    assert set(routes_of(state)) == {"172.31.0.0/24"}


def test_an_extra_route_to_a_connected_network_is_left_out() -> None:
    state = desired_state(a_router(routes=[extra("10.0.0.0/24", "10.0.0.77")]))
    assert set(routes_of(state)) == {"0.0.0.0/0"}
    assert "10.0.0.0/24" in state.warnings[0]


def test_an_extra_default_route_replaces_that_of_the_gateway() -> None:
    state = desired_state(a_router(routes=[extra("0.0.0.0/0", "10.0.0.77")]))
    assert routes_of(state) == {"0.0.0.0/0": {(QR, "10.0.0.77")}}


@pytest.mark.feature("router.routes")
@pytest.mark.parametrize(
    ("destination", "nexthop"),
    [
        ("172.30.0.5/24", "10.0.0.77"),
        ("224.0.0.0/4", "10.0.0.77"),
        ("127.0.0.0/8", "10.0.0.77"),
        ("fe80::/64", "2001:db8:1::5"),
        ("2001:db8:30::/64", "10.0.0.77"),
        ("172.30.0.0/24", "224.0.0.1"),
        ("172.30.0.0/24", "0.0.0.0"),
        ("172.30.0.0/24", "::ffff:10.0.0.77"),
    ],
)
def test_a_route_that_servers_take_from_tenants_and_no_kernel_can_do_costs_that_route_alone(
    destination: str, nexthop: str
) -> None:
    """Refused as a whole, a router would keep floating IPs that its tenant has given back."""
    routes = [extra(destination, nexthop), extra("172.31.0.0/24", "10.0.0.77")]
    state = desired_state(a_router(routes=routes))
    assert set(routes_of(state)) == {"0.0.0.0/0", "172.31.0.0/24"}
    (note,) = state.warnings
    assert destination in note or nexthop in note


@pytest.mark.parametrize(
    ("route", "path"),
    [
        (extra("172.30.0.0/33", "10.0.0.77"), "destination"),
        (extra("172.30.0.0/24", "10.0.0"), "nexthop"),
        ({"destination": "172.30.0.0/24"}, "nexthop"),
        ({"nexthop": "10.0.0.77"}, "destination"),
        ({"destination": 5, "nexthop": "10.0.0.77"}, "destination"),
    ],
)
def test_a_bad_extra_route_is_skipped_and_named(route: dict[str, Any], path: str) -> None:
    state = desired_state(a_router(routes=[route, extra("172.31.0.0/24", "10.0.0.77"), None]))
    assert set(routes_of(state)) == {"0.0.0.0/0", "172.31.0.0/24"}
    assert len(state.warnings) == 2
    assert any(f" skipped: {path}: " in warning for warning in state.warnings)


# NAT


@pytest.mark.parametrize(
    ("change", "snat"),
    [
        ({}, True),
        ({"enable_snat": False}, False),
        ({"external_gateway_info": {"enable_snat": False}}, False),
        ({"enable_snat": True, "external_gateway_info": {"enable_snat": False}}, True),
        ({"gw_port": None}, False),
    ],
)
def test_snat_is_on_unless_the_server_says_otherwise(change: dict[str, Any], snat: bool) -> None:
    assert desired_state(a_router(**change)).snat is snat


@pytest.mark.parametrize("change", [{"enable_snat": "no"}, {"external_gateway_info": 5}])
def test_snat_is_on_where_the_value_is_unusable_so_that_nothing_leaves_untranslated(change: dict[str, Any]) -> None:
    state = desired_state(a_router(**change))
    assert state.snat is True
    assert state.warnings[0].startswith("enable_snat skipped: ")


def test_a_gateway_without_ipv4_address_translates_nothing() -> None:
    state = desired_state(a_router(gw_port=a_gateway(fixed_ips=[a_fixed_ip("2001:db8:ffff::10", 64)])))
    assert only_namespace(state).nat_address is None
    assert state.snat is False


def test_the_first_ipv4_address_of_the_gateway_stands_for_the_router() -> None:
    fixed_ips = [a_fixed_ip(text, 24) for text in ("203.0.113.99", "203.0.113.10")]
    assert desired_namespace(a_router(gw_port=a_gateway(fixed_ips=fixed_ips))).nat_address == IPv4Address(
        "203.0.113.99"
    )


# Address scopes


def test_networks_of_several_address_scopes_are_named_for_they_are_not_kept_apart() -> None:
    scopes = {"4": "blue", "6": None}
    one, other = a_port(address_scopes=scopes), a_gateway(address_scopes={"4": None, "6": None})
    state = desired_state(a_router(_interfaces=[one], gw_port=other))
    assert state.unserved_features == {"address_scopes"}
    assert state.warnings == (
        "address scopes are not separated: 203.0.113.0/24 in no scope, 10.0.0.0/24 in scope blue",
    )


@pytest.mark.parametrize("scopes", [{"4": "blue", "6": None}, {"4": "blue", "6": "a scope without addresses"}, "odd"])
def test_networks_of_one_address_scope_are_as_they_should_be(scopes: Any) -> None:
    one = a_port(address_scopes={"4": "blue", "6": None})
    assert desired_state(a_router(_interfaces=[one], gw_port=a_gateway(address_scopes=scopes))).warnings == ()


# Floating IPs


def test_a_floating_ip_stands_for_its_fixed_address() -> None:
    state = desired_state(a_router(_floatingips=[a_floating_ip("203.0.113.100", "10.0.0.5")]))
    assert state.floating_ips == {FloatingIP(IPv4Address("203.0.113.100"), IPv4Address("10.0.0.5"))}


def test_a_floating_ip_that_stands_for_nothing_yet_is_left_out() -> None:
    state = desired_state(a_router(_floatingips=[a_floating_ip("203.0.113.100", None)]))
    assert state.floating_ips == frozenset()
    assert state.warnings == ()


def test_floating_ips_without_a_gateway_are_left_out_and_named() -> None:
    state = desired_state(a_router(gw_port=None, _floatingips=[a_floating_ip("203.0.113.100", "10.0.0.5")]))
    assert state.floating_ips == frozenset()
    assert "203.0.113.100" in state.warnings[0]


@pytest.mark.feature("sync.skipped-parts")
@pytest.mark.parametrize(
    ("second", "why"),
    [
        (("203.0.113.100", "10.0.0.6"), "another floating IP has this address"),
        (("203.0.113.101", "10.0.0.5"), "fixed address 10.0.0.5 has floating IP 203.0.113.100"),
        (("203.0.113.10", "10.0.0.6"), "a port of the router has this address"),
        (("10.0.0.1", "10.0.0.6"), "a port of the router has this address"),
        (("2001:db8:ffff::100", "10.0.0.6"), "floating_ip_address: "),
        (("203.0.113.101", "2001:db8:1::5"), "fixed_ip_address: "),
        ((None, "10.0.0.6"), "floating_ip_address: None: missing"),
        (("203.0.113.101", "224.0.0.1"), "fixed_ip_address: "),
    ],
)
def test_a_floating_ip_that_cannot_be_served_is_skipped_and_named(second: tuple[Any, Any], why: str) -> None:
    good, bad = a_floating_ip("203.0.113.100", "10.0.0.5"), a_floating_ip(*second) | {"id": "the bad one"}
    state = both_orders(_floatingips=[good, bad])
    assert state.floating_ips == {FloatingIP(IPv4Address("203.0.113.100"), IPv4Address("10.0.0.5"))}
    assert state.unserved_floating_ips == {"the bad one"}
    (warning,) = state.warnings
    assert why in warning and warning.startswith(f"floating IP {second[0]} (the bad one) skipped: ")


@pytest.mark.parametrize("bad", [None, 7, [], {"fixed_ip_address": "10.0.0.9"}, {"id": [1], "fixed_ip_address": "x"}])
def test_what_is_no_floating_ip_at_all_is_skipped(bad: Any) -> None:
    state = both_orders(_floatingips=[bad, a_floating_ip("203.0.113.100", "10.0.0.5")])
    assert len(state.floating_ips) == len(state.warnings) == 1
    assert state.unserved_floating_ips == frozenset()
    assert desired_state(a_router(_floatingips="nonsense")).warnings[0].startswith("_floatingips skipped: 'nonsense': ")


def test_a_floating_ip_that_is_listed_twice_is_served_once() -> None:
    one = a_floating_ip("203.0.113.100", "10.0.0.5")
    state = desired_state(a_router(_floatingips=[one, dict(one)]))
    assert (len(state.floating_ips), state.unserved_floating_ips, state.warnings) == (1, frozenset(), ())


def test_the_fixture_of_two_floating_ips_for_one_fixed_address() -> None:
    payload = json.loads((PAYLOADS / "two-floating-ips-one-fixed.json").read_text())
    state = desired_state(payload)
    served = {(str(pair.floating), str(pair.fixed)) for pair in state.floating_ips}
    assert served == {("203.0.113.50", "10.0.0.5"), ("203.0.113.52", "10.0.0.7")}
    assert state.unserved_floating_ips == {"f0000000-0000-4000-8000-00000c19b517"}
    assert len(state.all_ports()) == 2 and len(state.warnings) == 1


# The whole


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"id": 7}, "id"),
        ({"ha": "no"}, "ha"),
        ({"distributed": 1}, "distributed"),
        ({"admin_state_up": "True"}, "admin_state_up"),
        ({"_interfaces": {}}, "_interfaces"),
    ],
)
def test_only_what_makes_the_whole_router_meaningless_rejects_it(change: dict[str, Any], path: str) -> None:
    assert refusal_of(a_router(**change)).path == path


@pytest.mark.parametrize("payload", [None, [], "router", 7])
def test_a_payload_that_is_no_map_is_refused(payload: Any) -> None:
    assert refusal_of(payload).path == "router"


def test_a_missing_id_is_called_missing() -> None:
    assert refusal_of(a_router(id=None)).reason == "missing"


def test_a_router_with_a_thousand_ports_is_understood_within_a_second() -> None:
    ports = [
        a_port(n, network_id=a_network(n), fixed_ips=[a_fixed_ip(f"10.{n >> 8}.{n & 255}.1", 24)]) for n in range(1000)
    ]
    # Time of the CPU: other programs may have it meanwhile.
    started = time.thread_time()
    assert len(desired_namespace(a_router(_interfaces=ports)).ports) == 1000
    assert time.thread_time() - started < 1
