# SPDX-License-Identifier: Apache-2.0
"""Limits of a host and their use, with a warning before they are hit: bridge ports, descriptors, neighbour tables.

All namespaces of a host share one neighbour table (``gc_thresh3``, arp(7)); it is visible in the host namespace only,
so inside a container it is left out.
"""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

LOG = logging.getLogger(__name__)

#: BR_MAX_PORTS of net/bridge/br_private.h is 1024, and port 0 is none.
BRIDGE_PORTS = 1023
#: Fraction of a limit from which on a warning is logged.
_NEAR = 0.8
#: Seconds between two checks.
_INTERVAL_S = 10.0
#: Descriptors reserved for other uses than namespaces.
_RESERVED = 64

#: By name of the limit: statistics of a neighbour table, and where its limit is.
_NEIGHBOUR_TABLES = {
    "neighbour table": ("/proc/net/stat/arp_cache", "/proc/sys/net/ipv4/neigh/default/gc_thresh3"),
    "neighbour table ipv6": ("/proc/net/stat/ndisc_cache", "/proc/sys/net/ipv6/neigh/default/gc_thresh3"),
}
#: Columns of the statistics (net/core/neighbour.c), hexadecimal, one line per CPU: ``entries`` is the size of the whole
#: table and the same in each line, ``table_fulls`` is counted per CPU.
_ENTRIES, _TABLE_FULLS = "entries", "table_fulls"


@dataclass(frozen=True, slots=True)
class Limit:
    """Use of a limited resource, its limit, and advice for the operator.

    :param overflows: number of times the limit was hit since the node started, None where the kernel does not count it.
    """

    name: str
    used: int
    maximum: int
    advice: str
    overflows: int | None = None

    def is_near(self) -> bool:
        """Return True if the use is close to the limit."""
        return self.used >= _NEAR * self.maximum


class Limits:
    """Checks the limits at an interval, and warns once when one is almost reached."""

    def __init__(self) -> None:
        self._next = 0.0
        self._warned: set[str] = set()

    def check(self, ports: Callable[[], int]) -> None:
        """Log limits that are almost reached, unless the last check was a short time ago.

        :param ports: returns the number of ports of the fullest bridge.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL_S
        near = {one.name: one for one in limits(ports()) if one.is_near()}
        for name in near.keys() - self._warned:
            LOG.warning("%s: %d of at most %d; %s", name, near[name].used, near[name].maximum, near[name].advice)
        self._warned = set(near)


def limits(ports: int) -> list[Limit]:
    """Return all limits that this namespace can read."""
    found = [
        Limit("ports of a bridge", ports, BRIDGE_PORTS, "spread the routers over more nodes or external networks"),
        Limit("descriptors", _descriptors(), descriptor_limit(), "raise LimitNOFILE of l3-dataplane"),
    ]
    for name, (statistics, most) in _NEIGHBOUR_TABLES.items():
        try:
            with open(statistics) as rows, open(most) as value:
                used, overflows = neighbour_statistics(rows.read())
                found.append(Limit(name, used, int(value.read()), f"raise {most}", overflows))
        except (OSError, ValueError, IndexError, KeyError):
            pass
    return found


def neighbour_statistics(text: str) -> tuple[int, int]:
    """Return the number of entries of a neighbour table and of its overflows, from a file in /proc/net/stat.

    :raises ValueError, IndexError, KeyError: the file has another form.
    """
    header, *rows = (line.split() for line in text.splitlines())
    by_cpu = [dict(zip(header, (int(value, 16) for value in row), strict=False)) for row in rows]
    return by_cpu[0][_ENTRIES], sum(row.get(_TABLE_FULLS, 0) for row in by_cpu)


def descriptor_limit() -> int:
    """Return the maximum number of open descriptors of this process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def leaves_room(descriptor: int) -> bool:
    """Return True if a namespace may keep a descriptor: the kernel assigns the lowest free number."""
    return descriptor < descriptor_limit() - _RESERVED


def are_plenty(descriptor: int) -> bool:
    """Return True if more than half of the descriptor numbers are free, so that a cached descriptor may be kept."""
    return descriptor < descriptor_limit() // 2


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
