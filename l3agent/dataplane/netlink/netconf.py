# SPDX-License-Identifier: Apache-2.0
"""rtnetlink: whether a namespace forwards.

Source: linux/netconf.h (RTM_GETNETCONF, Linux 3.8), of the settings in ``conf/all`` it has only these.
"""

from __future__ import annotations

from functools import lru_cache
from struct import pack, unpack_from

from l3agent.dataplane.netlink.message import attribute, attribute_map, message, messages

_NEWNETCONF, _GETNETCONF = 80, 82
# NETCONFA_*, and the index that stands for ``conf/all``.
_IFINDEX, _FORWARDING = 1, 2
_ALL = -1
#: struct netconfmsg with its padding.
_HEADER_BYTES = 4


def get_all(family: int) -> bytes:
    """Ask for the settings of ``conf/all`` of an address family (AF_*)."""
    return message(_GETNETCONF, 0, pack("=Bxxx", family) + attribute(_IFINDEX, pack("=i", _ALL)))


def parse_forwarding(data: bytes) -> bool | None:
    """Return whether the family is forwarded; None where the kernel does not say, as without IPv6."""
    for kind, _, _, start, end in messages(data):
        return _forwarding(data[start:end]) if kind == _NEWNETCONF else None
    return None


@lru_cache(maxsize=64)
def _forwarding(body: bytes) -> bool | None:
    """Parse the body of an answer; most namespaces give the same one."""
    value = attribute_map(body, _HEADER_BYTES, len(body)).get(_FORWARDING)
    return None if value is None else bool(unpack_from("=i", value)[0])
