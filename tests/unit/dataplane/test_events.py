# SPDX-License-Identifier: Apache-2.0
"""Events as bytes: what is read from them, and what the filters in the kernel let through."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from struct import iter_unpack, pack, pack_into

import pytest

from l3agent.dataplane.netlink import addresses, nft_elements, nsid, routes, rtnl, ruleset, tables
from l3agent.dataplane.netlink.message import attributes, message
from l3agent.dataplane.netlink.nft_types import device_key
from l3agent.dataplane.netlink.socket_filter import compile_own_filter as rules_filter
from l3agent.dataplane.plan.events import route_events, route_filter
from l3agent.dataplane.plan.kinds.address import AddressEvent
from l3agent.dataplane.plan.kinds.link import LinkEvent
from l3agent.dataplane.plan.kinds.route import RouteEvent
from l3agent.dataplane.plan.kinds.table import RulesEvent, rules_events

OURS, THEIRS = 0x7AAA, 0x7AAB


def keeps(program: bytes, data: bytes) -> bool:
    """Run a classic BPF program as the kernel does (linux/filter.h)."""
    instructions, at, value, index = list(iter_unpack("=HBBI", program)), 0, 0, 0
    while True:
        code, if_so, if_not, number = instructions[at]
        at += 1
        match code:
            case 0x20 if number == 0xFFFFF00C:  # SKF_AD_OFF + SKF_AD_NLATTR
                found = [first - 4 for kind, first, _ in attributes(data, value, len(data)) if kind == index]
                value = found[0] if found else 0
            case 0x20 | 0x28 | 0x30:
                value = int.from_bytes(data[number : number + {0x20: 4, 0x28: 2, 0x30: 1}[code]], "big")
            case 0x00:
                value = number
            case 0x01:
                index = number
            case 0x15:
                at += if_so if value == number else if_not
            case 0x45:
                at += if_so if value & number else if_not
            case 0x06:
                return bool(number)


def told(data: bytes, port: int = THEIRS) -> bytes:
    """Return a message as an event that somebody caused."""
    event = bytearray(data)
    pack_into("=I", event, 12, port)
    return bytes(event)


def a_route(protocol: int, *, data: bytes = b"") -> bytes:
    made = bytearray(data or routes.new_route(ip_network("10.0.0.0/24"), [(2, None)]))
    made[16 + 5] = protocol
    return bytes(made)


BY_HAND = a_route(3)
BRIDGE_PORT = bytearray(rtnl.set_link(index=2, name="tap0"))
BRIDGE_PORT[16] = rtnl.AF_BRIDGE
KEPT = {
    "link": rtnl.set_link(index=2, name="qr-1", up=True),
    "link gone": rtnl.delete_link(index=2, name="qr-1"),
    "address": addresses.new_address(2, ip_interface("10.0.0.1/24")),
    "address gone": addresses.delete_address(2, ip_interface("2001:db8::1/64")),
    "route": routes.new_route(ip_network("0.0.0.0/0"), [(2, ip_address("10.0.0.7"))]),
    "route gone": routes.delete_route(ip_network("::/0")),
}
DROPPED = {
    "route of the kernel": a_route(2),
    "route of an advertisement": a_route(9),
    "route of a routing daemon": a_route(186),
    "route by hand that goes": a_route(3, data=routes.delete_route(ip_network("10.0.0.0/24"))),
    "what a bridge says of its port": bytes(BRIDGE_PORT),
    "neighbour": message(28, 0, bytes(12)),
}


@pytest.mark.parametrize("what", KEPT)
def test_what_others_do_is_heard_and_what_we_do_is_not(what: str) -> None:
    assert keeps(route_filter(OURS), told(KEPT[what]))
    assert keeps(route_filter(OURS), told(KEPT[what], 0))
    assert not keeps(route_filter(OURS), told(KEPT[what], OURS))


@pytest.mark.parametrize("what", DROPPED)
def test_what_concerns_nobody_is_not_heard(what: str) -> None:
    assert not keeps(route_filter(OURS), told(DROPPED[what]))


def test_rules_are_heard_unless_we_changed_them() -> None:
    event = ruleset.delete_table(tables.ROUTER)
    assert keeps(rules_filter(OURS), told(event))
    assert not keeps(rules_filter(OURS), told(event, OURS))


def test_links_addresses_and_routes_are_read() -> None:
    link, link_gone, address, address_gone, route, route_gone = list(route_events(b"".join(KEPT.values())))
    assert isinstance(link, LinkEvent) and isinstance(link_gone, LinkEvent)
    assert (link.is_removal, link.index, link.name, link.info.up) == (False, 2, "qr-1", True)
    assert (link_gone.is_removal, link_gone.index, link_gone.name) == (True, 2, "qr-1")
    assert address == AddressEvent(False, 2, ip_interface("10.0.0.1/24"))
    assert address_gone == AddressEvent(True, 2, ip_interface("2001:db8::1/64"))
    assert route == RouteEvent(False, ip_network("0.0.0.0/0"))
    assert route_gone == RouteEvent(True, ip_network("::/0"))


def test_a_route_by_hand_is_heard_and_told_from_ours() -> None:
    assert keeps(route_filter(OURS), told(BY_HAND)) and not keeps(route_filter(OURS), told(BY_HAND, OURS))
    assert keeps(route_filter(OURS), told(a_route(4)))  # by neutron-l3-agent
    assert list(route_events(BY_HAND)) == [RouteEvent(False, ip_network("10.0.0.0/24"), is_ours=False)]
    to_nowhere, elsewhere = bytearray(KEPT["route"]), bytearray(KEPT["route"])
    to_nowhere[16 + 7], elsewhere[16 + 4] = 6, 255
    assert list(route_events(bytes(to_nowhere))) == [RouteEvent(False, ip_network("0.0.0.0/0"), is_ours=False)]
    assert list(route_events(bytes(elsewhere))) == []


def test_only_messages_about_our_table_tell_of_rules() -> None:
    element = nft_elements.new_elements(tables.EXTERNAL, [(device_key("qg-1"), None)])
    assert list(rules_events(element)) == [RulesEvent()]
    assert list(rules_events(element.replace(b"l3agent\0", b"another\0"))) == []
    other_family = bytearray(element)
    other_family[16] = 10
    assert list(rules_events(bytes(other_family))) == []
    generation = message(10 << 8 | 15, 0, b"\x02\0\0\0" + pack(">HHI", 8, 1, 7))
    assert list(rules_events(generation)) == []


@pytest.mark.parametrize("cut", range(0, 60, 3))
def test_what_is_cut_off_is_left_out(cut: int) -> None:
    for data in KEPT.values():
        list(route_events(data[:cut]))
    list(rules_events(ruleset.delete_table(tables.ROUTER)[:cut]))


def test_the_number_of_a_namespace_is_read() -> None:
    answer = message(88, 0, bytes(4) + pack("=HHi", 8, 1, 7))
    assert nsid.parse_nsid(answer) == 7
    assert nsid.parse_nsid(message(88, 0, bytes(4) + pack("=HHi", 8, 1, -1))) is None
    assert nsid.parse_nsid(b"") is None
