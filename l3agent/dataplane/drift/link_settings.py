# SPDX-License-Identifier: Apache-2.0
"""Finds the links of a dump whose settings differ from those read last.

Source: linux/if_link.h (IFLA_AF_SPEC). A dump also has packet counters, and the settings have timers that the kernel
changes every few minutes, so a link is compared twice: by the bytes of its settings where they were last time, and, if
those differ, by what they mean. The first comparison costs about 1 us per link, the second one 40 us.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from struct import unpack_from
from typing import NamedTuple

from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.netlink.message import attributes, messages

#: IFLA_AF_SPEC, and the bytes of struct ifinfomsg before the attributes of a link.
_AF_SPEC, _IFINFO_BYTES = 26, 16
#: Bytes of struct nlmsghdr.
_HEADER_BYTES = 16


class _Known(NamedTuple):
    """One link as it was read last.

    :param first: where its settings begin, counted from the begin of the message; ``last`` is where they end.
    :param raw: hash of these bytes.
    :param meaning: hash of the parsed link.
    """

    first: int
    last: int
    raw: int
    meaning: int


class LinkSettings:
    """The settings of the links of one namespace."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def changed(self, data: bytes, among: Container[int] | None = None) -> Iterator[tuple[rtnl.LinkInfo, bytes]]:
        """Yield each new or changed link of a dump, parsed and as its message, and record it.

        :param among: indexes of the links to compare, None for all.
        """
        for kind, _, _, start, end in messages(data):
            if kind != rtnl.NEWLINK:
                continue
            (index,) = unpack_from("=i", data, start + 4)
            if among is not None and index not in among:
                continue
            known = self._known.get(index)
            if known is not None and hash(data[start + known.first : start + known.last]) == known.raw:
                continue
            message = data[start - _HEADER_BYTES : end]
            (info,) = rtnl.parse_links(message)
            first, last = _place(data, start, end)
            new = _Known(first - start, last - start, hash(data[first:last]), hash(info))
            self._known[index] = new
            if known is None or known.meaning != new.meaning:
                yield info, message

    def forget(self, index: int) -> None:
        """Have a link count as new when it is read next."""
        self._known.pop(index, None)

    def retain(self, indexes: Container[int]) -> None:
        """Forget all other links."""
        self._known = {index: known for index, known in self._known.items() if index in indexes}


def _place(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Return where the settings of a link are; an empty place if it has none."""
    for kind, first, last in attributes(data, start + _IFINFO_BYTES, end):
        if kind == _AF_SPEC:
            return first, last
    return start, start
