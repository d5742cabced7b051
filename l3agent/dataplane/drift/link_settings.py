# SPDX-License-Identifier: Apache-2.0
"""Finds the links of a dump whose settings differ from those read last.

Source: linux/if_link.h (IFLA_AF_SPEC). A dump also has packet counters, and between the settings are timers that the
kernel changes every few minutes, so a link is compared twice: by the bytes of its settings where they were last time,
and, if those differ, by what they mean. The first comparison costs about 1 us per link, the second one 40 us.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from functools import lru_cache
from operator import itemgetter
from struct import unpack_from
from typing import NamedTuple

from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.netlink.message import attributes, messages

#: IFLA_AF_SPEC, in it AF_INET6, and in that the timers (IFLA_INET6_CACHEINFO).
_AF_SPEC, _CACHEINFO = 26, 5
#: Bytes of struct ifinfomsg before the attributes of a link.
_IFINFO_BYTES = 16
#: Bytes of struct nlmsghdr.
_HEADER_BYTES = 16


#: Where the settings of a link begin, where the timers in them begin and end, and where the settings end.
_Places = tuple[int, int, int, int]


class _Known(NamedTuple):
    """One link at the last read.

    :param places: counted from the begin of the message.
    :param raw: hash of the bytes there.
    :param meaning: hash of the parsed link.
    """

    places: _Places
    raw: int
    meaning: int


class LinkSettings:
    """The settings of the links of one namespace."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        #: Length of the last dump, what takes headers and settings out of it, and the hash of these.
        self._last: tuple[int, Callable[[bytes], object], int] | None = None

    def read(self, dump: bytes) -> list[rtnl.LinkInfo]:
        """Return each new or changed link of a dump of all links, and record it."""
        if self._last is not None:
            size, cut, raw = self._last
            if len(dump) == size and hash(cut(dump)) == raw:
                return []
        infos = [info for info, _ in self.changed(dump)]
        places: list[tuple[int, int]] = []
        for kind, _, _, start, _ in messages(dump):
            places.append((start - _HEADER_BYTES, start + _IFINFO_BYTES))
            if kind == rtnl.NEWLINK:
                first, pause, again, last = self._known[unpack_from("=i", dump, start + 4)[0]].places
                places += [(start + first, start + pause), (start + again, start + last)]
        cut = _cutter(tuple(places))
        self._last = len(dump), cut, hash(cut(dump))
        return infos

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
            if known is not None and _raw(data, start, known.places) == known.raw:
                continue
            message = data[start - _HEADER_BYTES : end]
            (info,) = rtnl.parse_links(message)
            places = _places(data, start, end)
            new = self._known[index] = _Known(places, _raw(data, start, places), hash(info))
            if known is None or known.meaning != new.meaning:
                yield info, message

    def forget(self, index: int) -> None:
        """Drop a link, so that the next read yields it as new."""
        self._known.pop(index, None)

    def retain(self, indexes: Container[int]) -> None:
        """Discard the settings of all links except these."""
        self._known = {index: known for index, known in self._known.items() if index in indexes}


@lru_cache(maxsize=1024)
def _cutter(places: tuple[tuple[int, int], ...]) -> Callable[[bytes], object]:
    """Return what takes these places out of a dump; most namespaces have the same ones."""
    return itemgetter(*(slice(*place) for place in places))


def _raw(data: bytes, start: int, places: _Places) -> int:
    first, pause, again, last = places
    return hash((data[start + first : start + pause], data[start + again : start + last]))


def _places(data: bytes, start: int, end: int) -> _Places:
    """Return where the settings of a link are, counted from ``start``; an empty place if it has none."""
    for kind, first, last in attributes(data, start + _IFINFO_BYTES, end):
        if kind == _AF_SPEC:
            pause, again = _timers(data, first, last)
            return first - start, pause - start, again - start, last - start
    return 0, 0, 0, 0


def _timers(data: bytes, start: int, end: int) -> tuple[int, int]:
    for family, first, last in attributes(data, start, end):
        if family == rtnl.AF_INET6:
            for kind, begin, after in attributes(data, first, last):
                if kind == _CACHEINFO:
                    return begin, after
    return end, end
