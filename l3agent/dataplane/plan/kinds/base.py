# SPDX-License-Identifier: Apache-2.0
"""The common part of all kinds: entries, operations on them, and the hooks that a kind may implement.

An entry is an immutable value for one object of kernel state. A kind is a class of entries. Code that works on all
kinds (diff, encoding, observation, events, text, JSON) calls the hooks below for each kind of the order table
(:mod:`l3agent.dataplane.plan.order`); their defaults do nothing. Hooks that run for a plan get all operations on their
kind at once, since a plan may have 100,000.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from itertools import compress, repeat
from operator import is_
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar

from l3agent.dataplane.netlink.rtnl import LinkInfo
from l3agent.dataplane.plan.kinds.observation import Dump, Notification
from l3agent.model.states import NextHop

if TYPE_CHECKING:
    from l3agent.dataplane.plan.kinds.sysctl import Sysctl

E = TypeVar("E", bound="Entry")
E_co = TypeVar("E_co", bound="Entry", covariant=True)
Verb = Literal["add", "change", "remove"]
_FEW = 30

_TEXT = IPv4Address | IPv4Interface | IPv4Network | IPv6Address | IPv6Interface | IPv6Network


class Phase(IntEnum):
    """When the operations on a kind happen: the order of a plan, which equals the order of the messages.

    First the host namespace, then the shutdown of links to be removed, the rules in one atomic batch, the inside of the
    namespace (new links are created down and set up there), and the removals. A physical port is removed early, because
    the alias of the bridge can name one only.
    """

    NAMESPACE = 0
    SYSCTLS = 1
    BRIDGES = 2
    PORTS = 3
    LINKS = 4
    LINK_SHUTDOWNS = 5
    TABLES = 6
    ELEMENTS = 7
    OLD_RULES = 8
    BEFORE_ADDRESSES = 9
    ADDRESSES = 10
    ROUTES = 11
    OLD_ROUTES = 12
    OLD_SETTINGS = 13
    OLD_ADDRESSES = 14
    OLD_LINKS = 15
    FLUSHES = 16
    OLD_TABLES = 17
    OLD_NAMESPACE = 18
    OLD_BRIDGES = 20


@dataclass(frozen=True, slots=True)
class Operation(Generic[E_co]):
    """One step: add ``entry``, change ``previous`` into ``entry``, or remove ``entry``."""

    verb: Verb
    entry: E_co
    previous: E_co | None = None


#: Messages, each with its operation, so that an error can name the operation.
Batch = list[tuple[bytes, Operation[Any]]]


@dataclass(slots=True)
class Batches:
    """Messages for one socket.

    :param early_removals: removals that precede all additions; a missing object is not an error.
    :param creations: creation of devices of the host namespace. A device whose creation is refused exists already and
        may be foreign: no other message names it.
    :param isolation: settings by which the host stack ignores created or corrected devices while they are down; the
        sender disables their IPv6 in /proc before it sends the additions.
    :param shutdowns: links that are set down before the rules that guard them are removed.
    :param connected_routes: restored connected routes, on which other routes may depend; EEXIST is not an error.
    :param additions: additions and changes.
    :param removals: removals; a missing object is not an error.
    """

    early_removals: Batch = field(default_factory=list)
    creations: Batch = field(default_factory=list)
    isolation: Batch = field(default_factory=list)
    shutdowns: Batch = field(default_factory=list)
    connected_routes: Batch = field(default_factory=list)
    additions: Batch = field(default_factory=list)
    removals: Batch = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outside:
    """Targets of messages for the host namespace.

    :param namespace_fd: the namespace in which the kernel creates the inner ends.
    :param bridge_index: index of each bridge.
    """

    namespace_fd: int | None
    bridge_index: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Inside:
    """Targets of messages for the namespace of a state.

    :param index: index of each existing device.
    :param new_devices: devices that the plan creates; they are still down.
    :param advertised: next hops of IPv6 default routes from router advertisements.
    """

    index: Mapping[str, int]
    new_devices: Collection[str] = ()
    advertised: Collection[NextHop] = ()


class Entry(ABC):
    """Base of all kinds."""

    __slots__ = ()

    #: Name of the kind in JSON.
    kind: ClassVar[str]
    #: The kernel creates such entries with a device or an address, and removes them with it. They change only on
    #: request of another program, and no plan removes them.
    is_kernel_made: ClassVar[bool] = False
    #: The dumps that have entries of the kind, and the notifications about it.
    dumps: ClassVar[tuple[Dump, ...]] = ()
    notification: ClassVar[Notification | None] = None

    # ---- values ----------------------------------------------------------------------------------------------

    @abstractmethod
    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""

    def sort_key(self) -> tuple[Any, ...]:
        """Return the sort key among entries of the same phase."""
        return (str(self.identity()),)

    def devices(self) -> Collection[str]:
        """Return the devices in the namespace that the entry is on.

        It cannot be added while one of them is missing, and the kernel removes it with the last of them.
        """
        return ()

    def needs_ipv6(self) -> bool:
        """Return True if the kernel refuses the entry in a namespace without IPv6."""
        return False

    def is_implied(self) -> bool:
        """Return True if a state without any IPv6 address or route has the entry as well, where it needs IPv6."""
        return False

    # ---- forms -----------------------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def commands(cls, operation: Operation[Self], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON.

        Fields that are not compared are left out, because an observation does not contain them.
        """
        return {one.name: to_json(getattr(self, one.name)) for one in fields(self) if one.compare}  # type: ignore[arg-type]

    # ---- messages --------------------------------------------------------------------------------------------

    @classmethod
    def needs_reobserve(cls, operations: Sequence[Operation[Self]]) -> bool:
        """Return True if operations may remove more than their entries, so that the state must be observed again."""
        return False

    @classmethod
    def encode_outside(cls, operations: Sequence[Operation[Self]], made: Batches, target: Outside) -> None:
        """Add the messages for the host namespace."""

    @classmethod
    def encode_early(cls, operations: Sequence[Operation[Self]], made: Batches, target: Inside) -> None:
        """Add the messages for the namespace that precede the rules: early removals and shutdowns."""

    @classmethod
    def encode_rules(cls, operations: Sequence[Operation[Self]], made: Batch) -> None:
        """Add the messages to the atomic nf_tables batch."""

    @classmethod
    def settings(cls, operations: Sequence[Operation[Self]]) -> Iterator[Sysctl]:
        """Yield the settings of devices to write before the devices come up."""
        yield from ()

    @classmethod
    def encode_additions(cls, operations: Sequence[Operation[Self]], made: Batches, target: Inside) -> None:
        """Add the messages of additions and changes in the namespace."""

    @classmethod
    def encode_removals(cls, operations: Sequence[Operation[Self]], made: Batches, target: Inside) -> None:
        """Add the messages of removals in the namespace."""

    # ---- observation -----------------------------------------------------------------------------------------

    @classmethod
    def read_links(cls, infos: Iterable[LinkInfo], desired: Collection[Entry], *, has_ipv6: bool) -> Iterator[Entry]:
        """Yield the entries that the dump of the links of ours has beside the links.

        :param has_ipv6: the namespace has IPv6.
        """
        yield from ()

    @classmethod
    def select_observed(cls, found: frozenset[Self], desired: frozenset[Entry]) -> Collection[Self]:
        """Return the entries of a dump that count in the comparison with the desired entries."""
        return found


class NodeEntry(Entry):
    """Base of the kinds that are devices of the host namespace, which all states share."""

    __slots__ = ()

    @property
    def is_ovs_internal(self) -> bool:
        """True for an internal port of Open vSwitch, whose device ovs-vswitchd creates."""
        return False

    @abstractmethod
    def node_device(self) -> str:
        """Return the name of the device in the host namespace."""

    @abstractmethod
    def object_id(self, ports: Mapping[str, str]) -> str | None:
        """Return the id of the port or network whose device this is.

        :param ports: ids of the ports of the state by device.
        """

    @abstractmethod
    def is_as_desired(self, info: LinkInfo, indexes: Mapping[str, int]) -> bool:
        """Return True if the device is as desired.

        :param indexes: those of the devices of the host namespace by name, where they are known.
        """


def select(entries: Collection[Entry], kind: type[E]) -> list[E]:
    """Return the entries of a kind.

    It runs no bytecode per entry where they are many: a state may have 100,000 of them, and other states wait for the
    kernel thread. For few, which most plans have, a comprehension takes a third of the time.
    """
    if len(entries) <= _FEW:
        return [one for one in entries if type(one) is kind]
    return list(compress(entries, map(is_, map(type, entries), repeat(kind))))  # type: ignore[arg-type]


def to_json(value: Any) -> Any:
    """Return the value of a field as JSON, addresses as text."""
    if isinstance(value, _TEXT):
        return str(value)
    if isinstance(value, NextHop):
        return {"device": value.device, "via": None if value.via is None else str(value.via)}
    if isinstance(value, frozenset):
        return sorted(map(to_json, value), key=str)
    return value
