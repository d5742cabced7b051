# SPDX-License-Identifier: Apache-2.0
"""Dumps and notifications of a kind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from l3agent.dataplane.netlink.socket_filter import KEEP, Filter

if TYPE_CHECKING:
    from l3agent.dataplane.plan.kinds.base import Entry


@dataclass(frozen=True, eq=False)
class Dump:
    """A dump of a namespace that has entries of a kind.

    :param parse: returns the entries of ours in received bytes, from these and the names of devices by index.
    :param is_needed: returns True if a desired state has such entries; then, and as long as the namespace may have them
        from before, the dump is requested. None for a dump that every observation needs.
    """

    request: bytes
    parse: Callable[[bytes, dict[int, str]], frozenset[Any]]
    is_needed: Callable[[Collection[Entry]], bool] | None = None


class EventLocation(Protocol):
    """An applied state, for the comparison with an event."""

    @property
    def devices(self) -> Mapping[int, str]:
        """Our devices inside, by index."""

    @property
    def has_ipv6(self) -> bool:
        """True if the namespace had IPv6 when it was observed."""

    def desired(self) -> frozenset[Entry]:
        """Return what the kernel should hold."""

    def neighbours(self) -> frozenset[Hashable]:
        """Return the identities of the neighbours in it."""


class Event(Protocol):
    """A change in a namespace by another program."""

    def is_as_desired(self, location: EventLocation) -> bool:
        """Return True if the desired state has the same; else the state has to be observed."""


@dataclass(frozen=True, eq=False)
class Notification:
    """The notifications of rtnetlink about a kind.

    :param groups: multicast groups (RTNLGRP_*, linux/rtnetlink.h).
    :param message: type of the notification of an addition or change (RTM_NEW*); that of a removal is the next one.
    :param decode: yields the events in a message of this type, whether it reports an addition or a removal; the first
        argument is True for a removal.
    :param added: the notifications of additions that the kernel delivers.
    :param removed: the notifications of removals that the kernel delivers.
    """

    groups: tuple[int, ...]
    message: int
    decode: Callable[[bool, bytes], Iterable[Event]]
    added: Filter = KEEP
    removed: Filter = KEEP


@dataclass(frozen=True, slots=True)
class PinRemoved:
    """The pin of a namespace was removed."""

    name: str


@dataclass(frozen=True, slots=True)
class AllChanged:
    """Any state may have changed.

    :param are_lost: events were lost.
    """

    are_lost: bool = False


#: The nsid of a namespace (None for the node's own), and an event there.
Notice = tuple[int | None, Event | PinRemoved | AllChanged]
