# SPDX-License-Identifier: Apache-2.0
"""Numbers of network namespaces: what an event of another namespace is marked with.

Source: linux/net_namespace.h, linux/rtnetlink.h. Such a number counts in the namespace of whoever asks.
"""

from __future__ import annotations

from struct import pack, unpack_from

from l3agent.dataplane.netlink.message import ACK, attribute_map, message, messages, u32

_NEWNSID, _GETNSID = 88, 90
_NSID, _FD = 1, 3
#: NETNSA_NSID_NOT_ASSIGNED; in a request: any free number.
_NONE = -1


def new_nsid(fd: int) -> bytes:
    """Give the namespace of a descriptor a number, if it has none; events of namespaces without one are not told."""
    return message(_NEWNSID, ACK, _head() + pack("=HHi", 8, _NSID, _NONE) + u32(_FD, fd))


def get_nsid(fd: int) -> bytes:
    """Ask for the number of the namespace of a descriptor."""
    return message(_GETNSID, 0, _head() + u32(_FD, fd))


def parse_nsid(data: bytes) -> int | None:
    """Return the number in an answer; None when there is none."""
    for kind, _, _, start, end in messages(data):
        raw = attribute_map(data, start + 4, end).get(_NSID) if kind == _NEWNSID else None
        if raw is not None and (number := int(unpack_from("=i", raw)[0])) != _NONE:
            return number
    return None


def _head() -> bytes:
    """Return struct rtgenmsg, padded."""
    return bytes(4)
