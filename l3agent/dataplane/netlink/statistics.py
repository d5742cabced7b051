# SPDX-License-Identifier: Apache-2.0
"""rtnetlink: counters of links. Source: linux/if_link.h (struct if_stats_msg, struct rtnl_link_stats64); Linux 4.7."""

from __future__ import annotations

from struct import pack, unpack_from

from l3agent.dataplane.netlink.message import DUMP, attribute_map, message, messages
from l3agent.dataplane.netlink.rtnl import AF_UNSPEC

NEWSTATS, GETSTATS = 92, 94
#: IFLA_STATS_LINK_64, and the bytes of if_stats_msg.
_STATS_LINK_64, _IF_STATS_MSG = 1, 12


def dump_statistics() -> bytes:
    """Return a request for the counters of all links (linux/if_link.h: if_stats_msg, IFLA_STATS_LINK_64; Linux 4.7)."""
    return message(GETSTATS, DUMP, pack("=BBHII", AF_UNSPEC, 0, 0, 0, 1 << (_STATS_LINK_64 - 1)))


def parse_statistics(data: bytes) -> dict[int, tuple[tuple[int, int], tuple[int, int]]]:
    """Return ((received packets, bytes), (sent packets, bytes)) by index of the link (rtnl_link_stats64)."""
    found = {}
    for kind, _, _, start, end in messages(data):
        if kind == NEWSTATS:
            (index,) = unpack_from("=I", data, start + 4)
            counters = attribute_map(data, start + _IF_STATS_MSG, end).get(_STATS_LINK_64)
            if counters is not None:
                rx_packets, tx_packets, rx_bytes, tx_bytes = unpack_from("=4Q", counters)
                found[index] = (rx_packets, rx_bytes), (tx_packets, tx_bytes)
    return found
