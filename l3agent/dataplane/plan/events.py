# SPDX-License-Identifier: Apache-2.0
"""Kernel notifications as events: each kind decodes its own.

Source: linux/rtnetlink.h, netlink(7). The notification of a removal has the form of the notification of the addition.
"""

from __future__ import annotations

from collections.abc import Iterator

from l3agent.dataplane.netlink.message import HEADER, messages
from l3agent.dataplane.netlink.socket_filter import compile_filter
from l3agent.dataplane.plan.kinds.observation import Event
from l3agent.dataplane.plan.order import KINDS

_NOTIFICATIONS = [kind.notification for kind in KINDS if kind.notification is not None]
_DECODERS = {one.message + removed: (bool(removed), one.decode) for one in _NOTIFICATIONS for removed in (0, 1)}
#: Multicast groups of rtnetlink with the events of all kinds.
ROUTE_GROUPS = tuple(group for one in _NOTIFICATIONS for group in one.groups)


def route_events(data: bytes) -> Iterator[Event]:
    """Yield the events in received rtnetlink messages; ignore other messages."""
    for kind, flags, _, start, end in messages(data):
        if kind in _DECODERS:
            is_removal, decode = _DECODERS[kind]
            # In the form of an addition.
            header = HEADER.pack(end - start + HEADER.size, kind - is_removal, flags, 0, 0)
            yield from decode(is_removal, header + data[start:end])


def route_filter(port: int) -> bytes:
    """Return the filter program of a socket for rtnetlink events: what the kinds ask for, and no changes of our own.

    :param port: netlink port of our own sockets in every namespace.
    """
    tests = [
        (one.message + removed, one.removed if removed else one.added) for one in _NOTIFICATIONS for removed in (0, 1)
    ]
    return compile_filter(port, tests)
