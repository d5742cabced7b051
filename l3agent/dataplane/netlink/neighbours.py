# SPDX-License-Identifier: Apache-2.0
"""rtnetlink: permanent neighbours (ip-neighbour(8)). Source: linux/neighbour.h, net/core/neighbour.c."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from struct import Struct
from typing import NamedTuple

from l3agent.dataplane.netlink.message import CREATE, DUMP, REPLACE, attribute, attribute_map, message, messages, u8
from l3agent.dataplane.netlink.routes import ROUTE_PROTOCOL
from l3agent.dataplane.netlink.rtnl import AF_BRIDGE, AF_INET, AF_INET6, AF_UNSPEC, mac_bytes, mac_text
from l3agent.dataplane.netlink.socket_filter import DROP, KEEP, HasAttribute, Test
from l3agent.model.states import Address

NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
#: RTNLGRP_NEIGH (linux/rtnetlink.h).
GROUPS = (3,)

# NDA_*
_DST, _LLADDR, _PROTOCOL = 1, 2, 12
_PERMANENT = 0x80
#: struct ndmsg: family, unused bytes, index of the device, state, flags, type.
_HEADER = Struct("=BxxxiHBB")
_STATE_AT = 8

_WITH_PROTOCOL = HasAttribute(_HEADER.size, _PROTOCOL, KEEP)
#: Keeps permanent neighbours, and those of a protocol in every state: one of ours that is removed has NUD_FAILED, and
#: one of another program may have replaced ours. What the kernel learns, and what it forgets, has no protocol. A bridge
#: reports its forwarding database with permanent entries as well.
FILTER = Test(0, AF_BRIDGE, DROP, Test(_STATE_AT, _PERMANENT, KEEP, _WITH_PROTOCOL, 2, bits=True))


class NeighbourInfo(NamedTuple):
    """A neighbour in a dump or event.

    :param device: index of its device.
    :param mac: empty if it has none.
    """

    device: int
    address: Address
    mac: str
    is_permanent: bool
    is_ours: bool


def new_neighbour(index: int, address: Address, mac: str) -> bytes:
    """Return a request that adds a permanent neighbour with our protocol, or replaces the neighbour of its address."""
    return message(NEWNEIGH, CREATE | REPLACE, _neighbour(index, address, _PERMANENT, mac))


def delete_neighbour(index: int, address: Address) -> bytes:
    """Return a request that deletes the neighbour of an address."""
    return message(DELNEIGH, 0, _neighbour(index, address, 0, None))


def _neighbour(index: int, address: Address, state: int, mac: str | None) -> bytes:
    family = AF_INET if address.version == 4 else AF_INET6
    body = _HEADER.pack(family, index, state, 0, 0) + attribute(_DST, address.packed)
    return body if mac is None else body + attribute(_LLADDR, mac_bytes(mac)) + u8(_PROTOCOL, ROUTE_PROTOCOL)


def dump_neighbours() -> bytes:
    """Return a request for the neighbours of both IP versions; the kernel filters neither by state nor by protocol."""
    return message(GETNEIGH, DUMP, _HEADER.pack(AF_UNSPEC, 0, 0, 0, 0))


def parse_neighbours(data: bytes) -> Iterator[NeighbourInfo]:
    """Yield the neighbours in received bytes."""
    for kind, _, _, start, end in messages(data):
        if kind != NEWNEIGH:
            continue
        family, index, state, _, _ = _HEADER.unpack_from(data, start)
        parts = attribute_map(data, start + _HEADER.size, end)
        if family in (AF_INET, AF_INET6) and _DST in parts:
            ours = parts.get(_PROTOCOL) == bytes((ROUTE_PROTOCOL,))
            mac = mac_text(parts.get(_LLADDR, b""))
            yield NeighbourInfo(index, ip_address(parts[_DST]), mac, bool(state & _PERMANENT), ours)
