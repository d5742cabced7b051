# SPDX-License-Identifier: Apache-2.0
"""ctnetlink: requests that delete the conntrack entries of a single address translation.

Source: linux/netfilter/nfnetlink_conntrack.h, conntrack(8). Since Linux 6.11 a DELETE accepts a filter (CTA_FILTER),
and the kernel walks its global table once per request. Older kernels answer EINVAL, although dumps accept a filter
since 5.8: on these the entries are dumped, matched in user space and deleted individually.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from l3agent.dataplane.netlink.message import DUMP, attribute, attribute_map, be32, message, messages, nested, u32

_SUBSYSTEM = 1 << 8
_NEW, _GET, _DELETE = 0, 1, 2
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _ID, _FILTER, _STATUS_MASK = 1, 2, 3, 12, 25, 26
_TUPLE_IP = 1
_IP_V4_SRC, _IP_V4_DST = 1, 2
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
# Compared fields of a tuple (include/net/netfilter/nf_conntrack.h, CTA_FILTER_F_*).
_F_SRC, _F_DST = 1 << 0, 1 << 1
#: Bits of the status of an entry (linux/netfilter/nf_conntrack_common.h, IPS_SRC_NAT and IPS_DST_NAT).
SOURCE_TRANSLATED, DESTINATION_TRANSLATED = 1 << 4, 1 << 5
#: nfgenmsg of family IPv4, version 1: an address in a DELETE acts as a filter since that version.
_NFGENMSG_IPV4 = b"\x02\x01\x00\x00"


@dataclass(frozen=True, slots=True)
class ConntrackEntry:
    """An IPv4 entry: the addresses of both tuples as integers, the status bits, and the request that deletes it."""

    original_source: int
    original_destination: int
    reply_source: int
    reply_destination: int
    status: int
    deletion: bytes


def delete_floating_ip(floating: IPv4Address, fixed: IPv4Address) -> list[bytes]:
    """Return requests that delete the entries of a floating IP mapping, in both directions.

    Inbound, the original destination is the floating address and the reply source is the fixed address; outbound, the
    original source is the fixed address and the reply destination is the floating address.
    """
    return [
        _delete((_TUPLE_ORIG, _IP_V4_DST, floating), (_TUPLE_REPLY, _IP_V4_SRC, fixed)),
        _delete((_TUPLE_ORIG, _IP_V4_SRC, fixed), (_TUPLE_REPLY, _IP_V4_DST, floating)),
    ]


def delete_untranslated(address: IPv4Address) -> bytes:
    """Return a request that deletes the entries towards an address whose destination is not translated."""
    return _delete((_TUPLE_ORIG, _IP_V4_DST, address), (_TUPLE_REPLY, _IP_V4_SRC, address))


def delete_address(address: IPv4Address) -> list[bytes]:
    """Return requests that delete the entries towards an address, and those whose source was translated to it."""
    return [_delete((_TUPLE_ORIG, _IP_V4_DST, address)), _delete((_TUPLE_REPLY, _IP_V4_DST, address))]


def delete_source(address: IPv4Address, *, hairpin: bool) -> bytes:
    """Return a request that deletes the entries whose source was translated to an address.

    :param hairpin: delete the entries whose destination was translated as well; otherwise only the others.
    """
    status = SOURCE_TRANSLATED | (DESTINATION_TRANSLATED if hairpin else 0)
    body = (
        _NFGENMSG_IPV4
        + nested(_TUPLE_REPLY, nested(_TUPLE_IP, attribute(_IP_V4_DST, address.packed)))
        + nested(_FILTER, u32(_FILTER_ORIG_FLAGS, 0), u32(_FILTER_REPLY_FLAGS, _F_DST))
        + be32(_STATUS, status)
        + be32(_STATUS_MASK, SOURCE_TRANSLATED | DESTINATION_TRANSLATED)
    )
    return message(_SUBSYSTEM | _DELETE, 0, body)


def dump_entries() -> bytes:
    """Return a request for the IPv4 entries of the namespace."""
    return message(_SUBSYSTEM | _GET, DUMP, _NFGENMSG_IPV4)


def parse_entries(data: bytes) -> Iterator[ConntrackEntry]:
    """Yield the entries in received bytes."""
    for kind, _, _, start, end in messages(data):
        if kind == _SUBSYSTEM | _NEW:
            parts = attribute_map(data, start + 4, end)
            status = int.from_bytes(parts.get(_STATUS, b""), "big")
            # The identifier protects a later entry with the same tuple from the request.
            body = _NFGENMSG_IPV4 + nested(_TUPLE_ORIG, parts[_TUPLE_ORIG]) + attribute(_ID, parts[_ID])
            deletion = message(_SUBSYSTEM | _DELETE, 0, body)
            yield ConntrackEntry(*_addresses(parts[_TUPLE_ORIG]), *_addresses(parts[_TUPLE_REPLY]), status, deletion)


def _addresses(side: bytes) -> tuple[int, int]:
    """Return the source and destination address of a tuple."""
    addresses = attribute_map(side, 0, len(side))[_TUPLE_IP]
    parts = attribute_map(addresses, 0, len(addresses))
    return int.from_bytes(parts[_IP_V4_SRC], "big"), int.from_bytes(parts[_IP_V4_DST], "big")


def _delete(*sides: tuple[int, int, IPv4Address]) -> bytes:
    """Return a request that deletes the entries that match all conditions: (tuple, field, address)."""
    flags = {_TUPLE_ORIG: 0, _TUPLE_REPLY: 0}
    body = _NFGENMSG_IPV4
    for side, field, address in sides:
        body += nested(side, nested(_TUPLE_IP, attribute(field, address.packed)))
        flags[side] = _F_SRC if field == _IP_V4_SRC else _F_DST
    compared = u32(_FILTER_ORIG_FLAGS, flags[_TUPLE_ORIG]), u32(_FILTER_REPLY_FLAGS, flags[_TUPLE_REPLY])
    return message(_SUBSYSTEM | _DELETE, 0, body + nested(_FILTER, *compared))
