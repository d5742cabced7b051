# SPDX-License-Identifier: Apache-2.0
"""rtnetlink: whether a namespace forwards, and the settings of links as they are.

Source: linux/netconf.h (RTM_GETNETCONF, Linux 3.8), of the settings in ``conf/all`` it has only these;
linux/if_link.h.
"""

from __future__ import annotations

from struct import pack, unpack_from

from l3agent.dataplane.netlink.message import attribute, attribute_map, message, messages

_NEWNETCONF, _GETNETCONF = 80, 82
# NETCONFA_*, and the index that stands for ``conf/all``.
_IFINDEX, _FORWARDING = 1, 2
_ALL = -1
#: IFLA_AF_SPEC, and the bytes of struct ifinfomsg before the attributes of a link.
_AF_SPEC, _IFINFO_BYTES = 26, 16
#: struct netconfmsg with its padding.
_HEADER_BYTES = 4


def get_all(family: int) -> bytes:
    """Ask for the settings of ``conf/all`` of an address family (AF_*)."""
    return message(_GETNETCONF, 0, pack("=Bxxx", family) + attribute(_IFINDEX, pack("=i", _ALL)))


def parse_forwarding(data: bytes) -> bool | None:
    """Return whether the family is forwarded; None where the kernel does not say, as without IPv6."""
    for kind, _, _, start, end in messages(data):
        value = attribute_map(data, start + _HEADER_BYTES, end).get(_FORWARDING) if kind == _NEWNETCONF else None
        if value is not None:
            return bool(unpack_from("=i", value)[0])
    return None


def link_settings(data: bytes) -> bytes:
    """Return the settings of the links in received bytes (IFLA_AF_SPEC), unparsed: all else has events, or counts."""
    parts = []
    for _, _, _, start, end in messages(data):
        at = start + _IFINFO_BYTES
        while at + 4 <= end:
            length, kind = unpack_from("=HH", data, at)
            if kind == _AF_SPEC:
                parts.append(data[at : at + length])
                break
            at += (length + 3) & ~3 if length >= 4 else end
    return b"".join(parts)
