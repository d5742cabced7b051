# SPDX-License-Identifier: Apache-2.0
"""Kernel notifications: added, changed and removed links, addresses, routes and rules.

Source: linux/rtnetlink.h, linux/netfilter/nf_tables.h, linux/filter.h, netlink(7). The notification of a removal has
the form of the notification of the addition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import pack, unpack_from

from l3agent.dataplane.netlink import rtnl, tables
from l3agent.dataplane.netlink.message import HEADER, attributes, messages
from l3agent.dataplane.netlink.routes import (
    DELROUTE,
    MAIN_TABLE,
    NEWROUTE,
    PROTOCOL_BOOT,
    PROTOCOL_KERNEL,
    PROTOCOL_RA,
    PROTOCOL_STATIC,
    ROUTE_PROTOCOL,
    parse_destinations,
)
from l3agent.model.states import Interface, Network

#: RTNLGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE (linux/rtnetlink.h).
ROUTE_GROUPS = (1, 5, 7, 9, 11)
#: NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h).
NETFILTER_GROUPS = (7,)

_IFINFO_SIZE, _IFNAME = 16, 3
_NFT_SUBSYSTEM, _NFT_NEW_GENERATION = 10, 15

# Classic BPF (linux/bpf_common.h): load from an offset of the message, compare, return the length to keep.
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _EQUAL, _RETURN = 0x20, 0x28, 0x30, 0x15, 0x06
_TYPE_AT, _PORT_AT, _FAMILY_AT, _PREFIX_LENGTH_AT, _TABLE_AT, _ROUTE_PROTOCOL_AT = 4, 12, 16, 17, 20, 21
_ALL = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A link was added, changed or removed; ``raw`` is decoded only if more than name and index is needed."""

    is_removal: bool
    index: int
    name: str
    raw: bytes

    @property
    def info(self) -> rtnl.LinkInfo:
        """The decoded link."""
        return rtnl.parse_links(self.raw)[0]


@dataclass(frozen=True, slots=True)
class AddressEvent:
    """An address was added or removed."""

    is_removal: bool
    index: int
    interface: Interface


@dataclass(frozen=True, slots=True)
class RouteEvent:
    """A route in the main table was added, changed or removed.

    :param is_ours: the route has our protocol. The replacement of a route is reported as an addition only.
    """

    is_removal: bool
    destination: Network
    is_ours: bool = True


@dataclass(frozen=True, slots=True)
class RulesEvent:
    """Our table, or an object in it, was added, changed or removed."""


Event = LinkEvent | AddressEvent | RouteEvent | RulesEvent


def route_events(data: bytes) -> Iterator[Event]:
    """Yield the events in received rtnetlink messages; ignore other messages."""
    for kind, flags, _, start, end in messages(data):
        # Types form groups of four (RTM_FAM): new, delete, get, set.
        is_removal = kind & 3 == 1
        raw = HEADER.pack(end - start + 16, kind & ~3, flags, 0, 0) + data[start:end]
        if kind in (rtnl.NEWLINK, rtnl.DELLINK) and data[start] != rtnl.AF_BRIDGE:
            yield LinkEvent(is_removal, unpack_from("=i", data, start + 4)[0], _link_name(data, start, end), raw)
        elif kind in (rtnl.NEWADDR, rtnl.DELADDR):
            for index, interface in rtnl.parse_addresses(raw):
                yield AddressEvent(is_removal, index, interface)
        elif kind in (NEWROUTE, DELROUTE):
            for destination, ours in parse_destinations(raw):
                yield RouteEvent(is_removal, destination, ours)


def rules_events(data: bytes) -> Iterator[Event]:
    """Yield an event for each message about one of our tables."""
    for kind, _, _, start, end in messages(data):
        if kind >> 8 != _NFT_SUBSYSTEM or kind & 0xFF == _NFT_NEW_GENERATION:
            continue
        # Attribute 1 is the name of the table in every message but that of the generation.
        names = [data[first:last] for what, first, last in attributes(data, start + 4, end) if what == 1]
        if names and (data[start], names[0]) in tables.IDENTITIES:
            yield RulesEvent()


def _link_name(data: bytes, start: int, end: int) -> str:
    for what, first, last in attributes(data, start + _IFINFO_SIZE, end):
        if what == _IFNAME:
            return data[first : last - 1].decode(errors="replace")
    return ""


# ---- socket filters --------------------------------------------------------------------------------------------


def route_filter(port: int) -> bytes:
    """Return the filter program of a socket for rtnetlink events.

    It drops the changes of our own sockets, whose netlink port is ``port`` in every namespace; messages of bridges
    about their ports; and routes of other programs, which may be a million routes of a routing daemon. It keeps new
    routes with the protocols of ip-route(8) and of neutron-l3-agent, which may have replaced one of ours, removed
    connected routes, and all default routes except those from router advertisements.
    """
    links, removed, added, drop, default, keep = 10, 12, 19, 25, 26, 28
    return _program(
        (_LOAD_WORD, 0, 0, _PORT_AT),
        (_EQUAL, drop - 2, 0, _in_network_order("=I", port)),
        (_LOAD_HALF, 0, 0, _TYPE_AT),
        (_EQUAL, links - 4, 0, _in_network_order("=H", rtnl.NEWLINK)),
        (_EQUAL, links - 5, 0, _in_network_order("=H", rtnl.DELLINK)),
        (_EQUAL, added - 6, 0, _in_network_order("=H", NEWROUTE)),
        (_EQUAL, removed - 7, 0, _in_network_order("=H", DELROUTE)),
        (_EQUAL, keep - 8, 0, _in_network_order("=H", rtnl.NEWADDR)),
        (_EQUAL, keep - 9, 0, _in_network_order("=H", rtnl.DELADDR)),
        (_RETURN, 0, 0, 0),
        (_LOAD_BYTE, 0, 0, _FAMILY_AT),
        (_EQUAL, drop - 12, keep - 12, rtnl.AF_BRIDGE),
        (_LOAD_BYTE, 0, 0, _PREFIX_LENGTH_AT),
        (_EQUAL, default - 14, 0, 0),
        (_LOAD_BYTE, 0, 0, _ROUTE_PROTOCOL_AT),
        (_EQUAL, keep - 16, 0, ROUTE_PROTOCOL),
        (_EQUAL, 0, drop - 17, PROTOCOL_KERNEL),
        (_LOAD_BYTE, 0, 0, _TABLE_AT),
        (_EQUAL, keep - 19, drop - 19, MAIN_TABLE),
        (_LOAD_BYTE, 0, 0, _PREFIX_LENGTH_AT),
        (_EQUAL, default - 21, 0, 0),
        (_LOAD_BYTE, 0, 0, _ROUTE_PROTOCOL_AT),
        (_EQUAL, keep - 23, 0, ROUTE_PROTOCOL),
        (_EQUAL, keep - 24, 0, PROTOCOL_BOOT),
        (_EQUAL, keep - 25, 0, PROTOCOL_STATIC),
        (_RETURN, 0, 0, 0),
        (_LOAD_BYTE, 0, 0, _ROUTE_PROTOCOL_AT),
        (_EQUAL, 1, 0, PROTOCOL_RA),
        (_RETURN, 0, 0, _ALL),
        (_RETURN, 0, 0, 0),
    )


def rules_filter(port: int) -> bytes:
    """Return the filter program of a socket for nf_tables events, which drops the changes of our own sockets."""
    return _program(
        (_LOAD_WORD, 0, 0, _PORT_AT),
        (_EQUAL, 0, 1, _in_network_order("=I", port)),
        (_RETURN, 0, 0, 0),
        (_RETURN, 0, 0, _ALL),
    )


def _program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(pack("=HBBI", *one) for one in instructions)


def _in_network_order(form: str, value: int) -> int:
    """Return the result of a filter load of a value in host order: loads assume network order."""
    return int.from_bytes(pack(form, value), "big")
