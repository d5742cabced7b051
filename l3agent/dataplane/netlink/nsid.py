# SPDX-License-Identifier: Apache-2.0
"""Ids of network namespaces (nsid), which identify the namespace of a received event.

Source: linux/net_namespace.h, linux/rtnetlink.h. An id is local to the namespace of the requesting socket.
"""

from __future__ import annotations

from struct import pack, unpack_from

from l3agent.dataplane.netlink.message import ACK, attribute_map, message, messages, u32

_NEWNSID, _GETNSID = 88, 90
_NSID, _FD = 1, 3
#: NETNSA_NSID_NOT_ASSIGNED; in a request: any free number.
_NONE = -1


def new_nsid(fd: int) -> bytes:
    """Return a request that assigns an id to a namespace without one; namespaces without an id report no events."""
    return message(_NEWNSID, ACK, _head() + pack("=HHi", 8, _NSID, _NONE) + u32(_FD, fd))


def get_nsid(fd: int) -> bytes:
    """Return a request for the id of the namespace of a descriptor."""
    return message(_GETNSID, 0, _head() + u32(_FD, fd))


def parse_nsid(data: bytes) -> int | None:
    """Return the id in an answer, or None."""
    for kind, _, _, start, end in messages(data):
        raw = attribute_map(data, start + 4, end).get(_NSID) if kind == _NEWNSID else None
        if raw is not None and (number := int(unpack_from("=i", raw)[0])) != _NONE:
            return number
    return None


def _head() -> bytes:
    """Return struct rtgenmsg, padded."""
    return bytes(4)
