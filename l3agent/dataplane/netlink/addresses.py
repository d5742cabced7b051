# SPDX-License-Identifier: Apache-2.0
"""rtnetlink: addresses of links.

Source: rtnetlink(7), linux/rtnetlink.h, linux/if_addr.h.
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
from struct import Struct

from l3agent.dataplane.netlink.message import CREATE, DUMP, REPLACE, attribute, attribute_map, message, messages
from l3agent.dataplane.netlink.rtnl import AF_INET, AF_INET6, AF_UNSPEC, SCOPE_LINK, SCOPE_UNIVERSE
from l3agent.model.states import Interface

NEWADDR, DELADDR, GETADDR = 20, 21, 22

# IFA_* (linux/if_addr.h)
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_IFA_F_NODAD = 0x02

_IFADDR = Struct("=BBBBI")


def new_address(index: int, interface: Interface) -> bytes:
    """Return a request that adds an address: IPv4 with broadcast address, IPv6 without duplicate address detection.

    Detection makes an IPv6 address unusable for seconds (RFC 4862 5.4), and the server allocates each address once. A
    network of one or two addresses has no broadcast address (RFC 3021).
    """
    body = _address_body(index, interface, _IFA_F_NODAD if interface.version == 6 else 0)
    if isinstance(interface, IPv4Interface) and interface.network.prefixlen < 31:
        body += attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    return message(NEWADDR, CREATE | REPLACE, body)


def delete_address(index: int, interface: Interface) -> bytes:
    """Return a request that removes an address from a link."""
    return message(DELADDR, 0, _address_body(index, interface, 0))


def _address_body(index: int, interface: Interface, flags: int) -> bytes:
    packed = interface.packed
    family = AF_INET if interface.version == 4 else AF_INET6
    scope = SCOPE_LINK if interface.version == 6 and interface.ip.is_link_local else SCOPE_UNIVERSE
    head = _IFADDR.pack(family, interface.network.prefixlen, flags, scope, index)
    return head + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)


def dump_addresses() -> bytes:
    """Return a request for all addresses of the namespace."""
    return message(GETADDR, DUMP, _IFADDR.pack(AF_UNSPEC, 0, 0, 0, 0))


def parse_addresses(data: bytes) -> list[tuple[int, Interface]]:
    """Return (index of the link, address) pairs in received bytes."""
    found: list[tuple[int, Interface]] = []
    for kind, _, _, start, end in messages(data):
        if kind != NEWADDR:
            continue
        family, prefix, _, _, index = _IFADDR.unpack_from(data, start)
        parts = attribute_map(data, start + _IFADDR.size, end)
        raw = parts.get(_IFA_LOCAL) or parts.get(_IFA_ADDRESS)
        if raw is None or family not in (AF_INET, AF_INET6):
            continue
        found.append((index, IPv4Interface((raw, prefix)) if family == AF_INET else IPv6Interface((raw, prefix))))
    return found
