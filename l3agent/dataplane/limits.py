# SPDX-License-Identifier: Apache-2.0
"""What a host runs out of, named before it happens: ports of a bridge, descriptors, the neighbour table.

The neighbour table is one for all namespaces of a host (``gc_thresh3``, arp(7)); it is seen from the namespace of the
host only, so inside a container it is left out.
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
#: From this part of a limit on there is a warning.
_NEAR = 0.8
#: Seconds between two looks.
_EVERY_S = 10.0
#: Descriptors that namespaces leave for all else.
_SPARE = 64

_NEIGHBOURS = "/proc/net/stat/arp_cache"
_NEIGHBOURS_MOST = "/proc/sys/net/ipv4/neigh/default/gc_thresh3"


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of something is used, how much there is, and what an operator can do."""

    name: str
    used: int
    most: int
    advice: str

    def near(self) -> bool:
        """Tell whether it is about to be hit."""
        return self.used >= _NEAR * self.most


class Limits:
    """Looks now and then, and says each limit once when it comes near."""

    def __init__(self) -> None:
        self._next = 0.0
        self._said: set[str] = set()

    def look(self, ports: Callable[[], int]) -> None:
        """Warn of what is about to be hit, unless that was looked at a short time ago.

        :param ports: tells how many the fullest bridge has.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY_S
        near = {one.name: one for one in limits(ports()) if one.near()}
        for name in near.keys() - self._said:
            LOG.warning("%s: %d of at most %d; %s", name, near[name].used, near[name].most, near[name].advice)
        self._said = set(near)


def limits(ports: int) -> list[Limit]:
    """Return all limits that can be seen from here."""
    found = [
        Limit("ports of a bridge", ports, BRIDGE_PORTS, "spread the routers over more nodes or external networks"),
        Limit("descriptors", _descriptors(), descriptor_limit(), "raise LimitNOFILE of l3-dataplane"),
    ]
    try:
        with open(_NEIGHBOURS) as entries, open(_NEIGHBOURS_MOST) as most:
            # The first column of the second line, hexadecimal, is the size of the whole table.
            used = int(entries.read().splitlines()[1].split()[0], 16)
            found.append(Limit("neighbour table", used, int(most.read()), f"raise {_NEIGHBOURS_MOST}"))
    except (OSError, ValueError, IndexError):
        pass
    return found


def descriptor_limit() -> int:
    """Return how many descriptors this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def leaves_room(descriptor: int) -> bool:
    """Tell whether a namespace may keep a descriptor: the kernel gives the lowest number that is free."""
    return descriptor < descriptor_limit() - _SPARE


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
