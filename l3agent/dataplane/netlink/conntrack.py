# SPDX-License-Identifier: Apache-2.0
"""ctnetlink: drop the flows of one address translation and no others.

Source: linux/netfilter/nfnetlink_conntrack.h. The kernel filters by CTA_FILTER (5.8 and newer), so the global table is
walked there once instead of being dumped here.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from l3agent.dataplane.netlink.message import DUMP, attribute, attribute_map, be32, message, messages, nested, u32

_SUBSYSTEM = 1 << 8
_NEW, _GET, _DELETE = 0, 1, 2
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _ID, _FILTER, _STATUS_MASK = 1, 2, 3, 12, 25, 26
_TUPLE_IP = 1
_IP_V4_SRC, _IP_V4_DST = 1, 2
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
# Which fields of a tuple are compared (include/net/netfilter/nf_conntrack.h, CTA_FILTER_F_*).
_F_SRC, _F_DST = 1 << 0, 1 << 1
# Bits of the status of a flow (linux/netfilter/nf_conntrack_common.h, IPS_SRC_NAT and IPS_DST_NAT).
_SOURCE_TRANSLATED, _DESTINATION_TRANSLATED = 1 << 4, 1 << 5
#: nfgenmsg of family IPv4, version 1: only from that version on does an address in a delete act as a filter.
_NFGENMSG_IPV4 = b"\x02\x01\x00\x00"


def flush_floating_ip(floating: IPv4Address, fixed: IPv4Address) -> list[bytes]:
    """Return requests that drop the flows of a floating IP mapping, in both directions.

    From outside the original destination is the floating address and the answers come from the fixed one; from inside
    the original source is the fixed address and the answers go to the floating one.
    """
    return [
        _delete((_TUPLE_ORIG, _IP_V4_DST, floating), (_TUPLE_REPLY, _IP_V4_SRC, fixed)),
        _delete((_TUPLE_ORIG, _IP_V4_SRC, fixed), (_TUPLE_REPLY, _IP_V4_DST, floating)),
    ]


def flush_address(address: IPv4Address) -> list[bytes]:
    """Return requests that drop the flows to an address from outside, and those that it is the source of there."""
    return [_delete((_TUPLE_ORIG, _IP_V4_DST, address)), _delete((_TUPLE_REPLY, _IP_V4_DST, address))]


def flush_source(address: IPv4Address, *, turned: bool) -> bytes:
    """Return a request that drops the flows whose source was translated to an address.

    :param turned: those whose destination was translated as well, which turned back inside; else those that went out.
        Linux before 5.15 knows no filter by status and drops both.
    """
    status = _SOURCE_TRANSLATED | (_DESTINATION_TRANSLATED if turned else 0)
    body = (
        _NFGENMSG_IPV4
        + nested(_TUPLE_REPLY, nested(_TUPLE_IP, attribute(_IP_V4_DST, address.packed)))
        + nested(_FILTER, u32(_FILTER_ORIG_FLAGS, 0), u32(_FILTER_REPLY_FLAGS, _F_DST))
        + be32(_STATUS, status)
        + be32(_STATUS_MASK, _SOURCE_TRANSLATED | _DESTINATION_TRANSLATED)
    )
    return message(_SUBSYSTEM | _DELETE, 0, body)


def dump_flows() -> bytes:
    """Ask for the IPv4 flows of the namespace."""
    return message(_SUBSYSTEM | _GET, DUMP, _NFGENMSG_IPV4)


def flush_network(flows: bytes, network: IPv4Network) -> list[bytes]:
    """Return a request for each of the dumped flows that began in a network or was to go there; it drops only that."""
    first, mask = int(network.network_address), int(network.netmask)
    found = []
    for kind, _, _, start, end in messages(flows):
        parts = attribute_map(flows, start + 4, end)
        if kind == _SUBSYSTEM | _NEW and any(one & mask == first for one in _ends(parts[_TUPLE_ORIG])):
            body = _NFGENMSG_IPV4 + nested(_TUPLE_ORIG, parts[_TUPLE_ORIG]) + attribute(_ID, parts[_ID])
            found.append(message(_SUBSYSTEM | _DELETE, 0, body))
    return found


def _ends(side: bytes) -> list[int]:
    """Return source and destination in a tuple of a flow."""
    addresses = attribute_map(side, 0, len(side))[_TUPLE_IP]
    parts = attribute_map(addresses, 0, len(addresses))
    return [int.from_bytes(parts[end], "big") for end in (_IP_V4_SRC, _IP_V4_DST)]


def _delete(*sides: tuple[int, int, IPv4Address]) -> bytes:
    """Return a request that drops the flows with all of these: a tuple, a field of it, and the address there."""
    flags = {_TUPLE_ORIG: 0, _TUPLE_REPLY: 0}
    body = _NFGENMSG_IPV4
    for side, field, address in sides:
        body += nested(side, nested(_TUPLE_IP, attribute(field, address.packed)))
        flags[side] = _F_SRC if field == _IP_V4_SRC else _F_DST
    compared = u32(_FILTER_ORIG_FLAGS, flags[_TUPLE_ORIG]), u32(_FILTER_REPLY_FLAGS, flags[_TUPLE_REPLY])
    return message(_SUBSYSTEM | _DELETE, 0, body + nested(_FILTER, *compared))
