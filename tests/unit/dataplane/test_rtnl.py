# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from struct import pack, pack_into
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3agent.dataplane.netlink import addresses, routes, rtnl
from l3agent.dataplane.netlink.message import CREATE, EXCLUSIVE, REPLACE, attribute_map, messages
from l3agent.model.states import Address, Interface, Network, NextHop
from tests.support.strategies import interfaces4, interfaces6, ipv4, macs

interfaces = interfaces4 | interfaces6
names = {1: "lo", 2: "qr-a", 3: "qr-b", 4: "qg-c"}
ipv6 = interfaces6.map(lambda one: one.ip)


def as_answer(data: bytes, kind: int) -> bytes:
    """Return requests as the kernel would send them back: the same form, another type."""
    turned = bytearray(data)
    for _, _, _, start, _ in messages(data):
        pack_into("=H", turned, start - 12, kind)
    return bytes(turned)


# ---- addresses ----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 2**31 - 1), interfaces), max_size=5))
def test_addresses_are_read_back(listed: list[tuple[int, Interface]]) -> None:
    assert addresses.parse_addresses(b"".join(addresses.new_address(*one) for one in listed)) == listed


@given(st.integers(1, 100), interfaces)
def test_a_deleted_address_is_named_by_the_same_index_address_and_length(index: int, interface: Interface) -> None:
    assert addresses.parse_addresses(as_answer(addresses.delete_address(index, interface), addresses.NEWADDR)) == [
        (index, interface)
    ]


@pytest.mark.parametrize(
    ("address", "broadcast"),
    [("10.0.0.1/24", "10.0.0.255"), ("10.0.7.1/25", "10.0.7.127"), ("10.0.0.0/31", None), ("203.0.113.5/32", None)],
)
def test_only_networks_with_a_broadcast_address_get_one(address: str, broadcast: str | None) -> None:
    data = addresses.new_address(7, ip_interface(address))
    found = attribute_map(data, 16 + 8, len(data)).get(4)
    assert found == (broadcast and IPv4Address(broadcast).packed)


@pytest.mark.parametrize(("address", "flags", "scope"), [("fe80::1/64", 2, 253), ("2001:db8::1/64", 2, 0)])
def test_ipv6_addresses_skip_duplicate_detection_and_have_their_scope(address: str, flags: int, scope: int) -> None:
    (_, _, found_flags, found_scope) = addresses.new_address(7, ip_interface(address))[16:20]
    assert (found_flags, found_scope) == (flags, scope)


def test_addresses_of_other_families_are_left_out() -> None:
    data = bytearray(addresses.new_address(2, ip_interface("10.0.0.1/24")))
    data[16] = 45
    good = addresses.new_address(3, ip_interface("10.0.0.2/24"))
    assert addresses.parse_addresses(bytes(data) + good) == [(3, ip_interface("10.0.0.2/24"))]


# ---- routes -------------------------------------------------------------------------------------------------------

networks: st.SearchStrategy[Network] = interfaces.map(lambda one: ip_network(one.network))


@st.composite
def kernel_routes(draw: st.DrawFn) -> tuple[Network, frozenset[tuple[int, Address | None]]]:
    destination = draw(networks)
    vias: st.SearchStrategy[Any] = ipv4 if destination.version == 4 else ipv6
    hops = st.tuples(st.sampled_from([2, 3, 4]), st.none() | vias)
    return destination, draw(st.frozensets(hops, min_size=1, max_size=4))


@given(kernel_routes())
def test_a_route_is_read_back(drawn: tuple[Network, frozenset[tuple[int, Address | None]]]) -> None:
    destination, hops = drawn
    expected = frozenset(NextHop(names[index], via) for index, via in hops)
    assert routes.parse_routes(routes.new_route(destination, hops), names) == {destination: expected}


@pytest.mark.parametrize("destination", ["0.0.0.0/0", "::/0"])
def test_the_default_route_has_no_destination_attribute_and_is_read_back(destination: str) -> None:
    via = ip_address("10.0.0.1" if "." in destination else "2001:db8::1")
    data = routes.new_route(ip_network(destination), [(2, via)])
    assert 1 not in attribute_map(data, 28, len(data))
    assert routes.parse_routes(data, names) == {ip_network(destination): frozenset({NextHop("qr-a", via)})}


def test_a_route_of_another_table_is_encoded_as_by_iproute2() -> None:
    """The bodies are those of ``ip route replace|delete ... dev d0 table 2852018310 protocol 201`` (iproute2 6.1)."""
    destination, table = ip_network("198.51.100.0/24"), 2852018310
    recorded = bytes.fromhex("0218000000c9fd010000000008000100c633640008000f008658fea90800040003000000")
    made = routes.new_route(destination, [(3, None)], table=table)
    assert made[16:28] == recorded[:12]
    assert attribute_map(made, 28, len(made)) == attribute_map(recorded, 12, len(recorded))
    recorded = bytes.fromhex("0218000000c9ff000000000008000100c633640008000f008658fea9")
    deleted = routes.delete_route(destination, table)
    # iproute2 leaves the type (rtm_type) open.
    assert (deleted[16:23], deleted[24:28]) == (recorded[:7], recorded[8:12])
    assert attribute_map(deleted, 28, len(deleted)) == attribute_map(recorded, 12, len(recorded))


@pytest.mark.parametrize("table", [16, 2852018310])
def test_routes_are_read_by_table(table: int) -> None:
    destination, names = ip_network("198.51.100.0/24"), {3: "qr-a"}
    data = routes.new_route(destination, [(3, None)], table=table) + routes.new_route(destination, [(3, None)])
    hops = frozenset({NextHop("qr-a", None)})
    assert routes.parse_tables(data, names) == {(table, destination): hops}
    assert routes.parse_routes(data, names) == {destination: hops}
    assert [one[0] for one in routes.parse_destinations(data)] == [table, routes.MAIN_TABLE]


@pytest.mark.parametrize(("offset", "value"), [(5, 3), (4, 255), (7, 6)], ids=["protocol", "table", "type"])
def test_routes_of_others_are_left_out(offset: int, value: int) -> None:
    data = bytearray(routes.new_route(ip_network("10.0.0.0/8"), [(2, None)]))
    data[16 + offset] = value
    assert routes.parse_routes(bytes(data), names) == {}


def test_a_next_hop_through_an_unknown_device_differs_from_all_that_are_known() -> None:
    found = routes.parse_routes(routes.new_route(ip_network("10.0.0.0/8"), [(77, None)]), names)
    assert {hop.device for hop in found[ip_network("10.0.0.0/8")]} == {"index 77"}


def test_next_hops_sent_as_routes_of_their_own_are_joined() -> None:
    destination, first, second = ip_network("2001:db8::/48"), IPv6Address("2001:db8:1::7"), IPv6Address("2001:db8:1::8")
    data = routes.new_route(destination, [(2, first)]) + routes.new_route(destination, [(2, second)])
    assert routes.parse_routes(data, names) == {
        destination: frozenset({NextHop("qr-a", first), NextHop("qr-a", second)})
    }


# ---- links --------------------------------------------------------------------------------------------------------


@given(macs, st.integers(68, 65535), st.integers(1, 1000), st.booleans())
def test_a_link_is_read_back(mac: str, mtu: int, master: int, up: bool) -> None:
    data = rtnl.set_link(index=7, name="qr-a", up=up, master=master, mac=mac, mtu=mtu, alias="l3agent:network:x")
    (link,) = rtnl.parse_links(data)
    assert (link.index, link.name, link.mac, link.mtu) == (7, "qr-a", mac, mtu)
    assert (link.master, link.up, link.alias) == (master, up, "l3agent:network:x")


@given(macs, st.none() | st.integers(68, 65535))
def test_both_ends_of_a_pair_have_their_mtu_and_one_queue(mac: str, mtu: int | None) -> None:
    data = rtnl.new_veth("tapx", "qr-x", mac=mac, mtu=mtu, namespace_fd=9)
    ((kind, flags, _, start, end),) = messages(data)
    assert kind == rtnl.NEWLINK and flags & CREATE and flags & EXCLUSIVE
    outer = attribute_map(data, start + 16, end)
    info = attribute_map(outer[18], 0, len(outer[18]))
    assert info[1] == b"veth\0"
    (peer,) = attribute_map(info[2], 0, len(info[2])).values()
    inner = attribute_map(peer, 16, len(peer))
    assert (outer[3], inner[3]) == (b"tapx\0", b"qr-x\0")
    assert inner[1].hex(":") == mac
    assert inner[28] == pack("=I", 9)
    for end_of_pair in (outer, inner):
        assert end_of_pair[31] == end_of_pair[32] == pack("=I", 1)
        assert end_of_pair.get(4) == (None if mtu is None else pack("=I", mtu))


def test_a_foreign_name_that_is_no_text_is_read() -> None:
    data = rtnl.set_link(index=7, name="xxxx").replace(b"xxxx\0", b"x\xff\xfex\0")
    (link,) = rtnl.parse_links(data)
    assert link.name.startswith("x")


def test_a_route_and_an_address_are_replaced_not_doubled() -> None:
    for data in (
        routes.new_route(ip_network("10.0.0.0/8"), [(2, None)]),
        addresses.new_address(2, ip_interface("10.0.0.1/8")),
    ):
        ((_, flags, _, _, _),) = messages(data)
        assert flags & CREATE and flags & REPLACE


# ---- malformed ----------------------------------------------------------------------------------------------------


@given(st.data())
def test_a_cut_dump_is_read_up_to_the_cut(data: st.DataObject) -> None:
    whole = b"".join(
        [
            rtnl.set_link(index=7, name="qr-a", mtu=1500),
            addresses.new_address(2, ip_interface("10.0.0.1/24")),
            routes.new_route(ip_network("10.0.0.0/8"), [(2, IPv4Address("10.0.0.7")), (3, IPv4Address("10.0.0.8"))]),
            addresses.new_address(2, ip_interface("2001:db8::1/64")),
        ]
    )
    part = whole[: data.draw(st.integers(0, len(whole)))]
    assert rtnl.parse_links(part) in ([], rtnl.parse_links(whole))
    assert addresses.parse_addresses(whole)[: len(addresses.parse_addresses(part))] == addresses.parse_addresses(part)
    assert routes.parse_routes(part, names) in ({}, routes.parse_routes(whole, names))
