# SPDX-License-Identifier: Apache-2.0
"""ctnetlink: drop the flows of one address translation and no others.

Source: linux/netfilter/nfnetlink_conntrack.h. The kernel filters by CTA_FILTER (5.8 and newer), so the global table is
walked there once instead of being dumped here.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from l3agent.dataplane.netlink.message import attribute, message, nested, u32

_SUBSYSTEM = 1 << 8
_DELETE = 2
_TUPLE_ORIG, _TUPLE_REPLY, _FILTER = 1, 2, 25
_TUPLE_IP = 1
_IP_V4_SRC, _IP_V4_DST = 1, 2
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
# Which fields of a tuple are compared (include/net/netfilter/nf_conntrack.h, CTA_FILTER_F_*).
_F_SRC, _F_DST = 1 << 0, 1 << 1
#: nfgenmsg of family IPv4, version 1: only from that version on does an address in a delete act as a filter.
_NFGENMSG_IPV4 = b"\x02\x01\x00\x00"


def flush_floating_ip(floating: IPv4Address, fixed: IPv4Address) -> list[bytes]:
    """Return requests that drop the flows of a floating IP mapping, in both directions.

    From outside the original destination is the floating address and the answers come from the fixed one; from inside
    the original source is the fixed address and the answers go to the floating one.
    """
    return [
        _delete(original=(_IP_V4_DST, floating), reply=(_IP_V4_SRC, fixed)),
        _delete(original=(_IP_V4_SRC, fixed), reply=(_IP_V4_DST, floating)),
    ]


def _delete(*, original: tuple[int, IPv4Address], reply: tuple[int, IPv4Address]) -> bytes:
    body = (
        _NFGENMSG_IPV4
        + nested(_TUPLE_ORIG, nested(_TUPLE_IP, attribute(original[0], original[1].packed)))
        + nested(_TUPLE_REPLY, nested(_TUPLE_IP, attribute(reply[0], reply[1].packed)))
        + nested(_FILTER, u32(_FILTER_ORIG_FLAGS, _flag(original)), u32(_FILTER_REPLY_FLAGS, _flag(reply)))
    )
    return message(_SUBSYSTEM | _DELETE, 0, body)


def _flag(side: tuple[int, IPv4Address]) -> int:
    return _F_SRC if side[0] == _IP_V4_SRC else _F_DST
