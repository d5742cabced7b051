# SPDX-License-Identifier: Apache-2.0
"""Reads the devices of the node's own namespace in rotation: their settings (``disable_ipv6``, ``arp_ignore``,
``rp_filter``) change without an event of the kernel.

One dump per round has all links. It is received in parts of at most 32 KB, as many at a time as the round allows, so
that no request waits for the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from l3agent.dataplane.drift.drift import Drift
from l3agent.dataplane.drift.link_settings import LinkSettings
from l3agent.dataplane.kernel.sockets import NETLINK_ROUTE, NetlinkSocket
from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.plan.events import route_events
from l3agent.exceptions import ApplyError

#: A part of a dump has about 20 links, with their statistics and settings.
_LINKS_PER_PART = 16


class NodeDevices:
    """Takes the devices in turn; used by the kernel thread."""

    def __init__(self, drift: Drift) -> None:
        self._drift = drift
        self._settings = LinkSettings()
        self._socket = NetlinkSocket(NETLINK_ROUTE)
        self._parts: Iterator[bytes] = iter(())
        self._count = self._received = 0

    def run(self, share: float) -> None:
        """Read a share of the devices, and mark the states whose device differs from the desired one.

        :param share: between 0 and 1; 1 is a whole round.
        """
        ours = self._drift.applied.node.names
        if not ours:
            return
        count = max(self._count, self._received, len(ours) // _LINKS_PER_PART)
        try:
            for _ in range(max(1, math.ceil(count * share))):
                part = next(self._parts, None)
                if part is None:
                    self._begin()
                    part = next(self._parts)
                self._received += 1
                for info, message in self._settings.changed(part, ours):
                    if not self._is_as_desired(message):
                        # It counts as new in the next round, where the repair has not come yet or failed.
                        self._settings.forget(info.index)
        except ApplyError:
            # A socket whose dump did not come to its end begins no other one.
            self._socket.close()
            self._socket, self._parts = NetlinkSocket(NETLINK_ROUTE), iter(())

    def _is_as_desired(self, message: bytes) -> bool:
        """Return True if the device of an RTM_NEWLINK message is as desired; else mark the states that use it."""
        users = self._drift.applied.find_affected((None, event) for event in route_events(message))
        for key in users:
            self._drift.mark(key)
        return not users

    def _begin(self) -> None:
        self._settings.retain(self._drift.applied.node.names)
        self._count, self._received = self._received, 0
        self._parts = self._socket.dump_parts(rtnl.dump_links())
