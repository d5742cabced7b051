# SPDX-License-Identifier: Apache-2.0
"""Computes plans: the ordered operations that turn observed kernel state into desired kernel state. Pure.

Kernel state is a set of entries (immutable values). :func:`diff` compares two sets. One table of entry types gives the
order of the operations: rules precede the addresses that they serve, and additions precede removals, so that an entry
in both sets is never missing in between.

Review: does a plan that stops after any operation keep tenants separated? Rules are added before the addresses and
links that they guard; links to be removed are shut down before the rules that guard them are removed.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from itertools import compress
from operator import attrgetter
from typing import Any, Literal

from l3agent.dataplane.plan.entries import (
    AcceptRA,
    Bridge,
    ConnectedRoute,
    DeviceAddress,
    DeviceSettings,
    Element,
    Entry,
    KernelRoute,
    Link,
    Namespace,
    NeutronRoute,
    NeutronRules,
    PendingFlush,
    PhysicalPort,
    StrayTap,
    SwitchPort,
    Sysctl,
    Table,
    needs_ipv6,
)
from l3agent.dataplane.plan.pending import added_mappings, drop_needless_journal, removed_mappings
from l3agent.model.states import Interface

# Modules that use plans import the entries from here as well.
__all__ = [
    "AcceptRA",
    "Bridge",
    "ConnectedRoute",
    "DeviceAddress",
    "DeviceSettings",
    "Element",
    "Entry",
    "KernelRoute",
    "Link",
    "Namespace",
    "NeutronRoute",
    "NeutronRules",
    "Operation",
    "PendingFlush",
    "PhysicalPort",
    "Plan",
    "StrayTap",
    "SwitchPort",
    "Sysctl",
    "Table",
    "diff",
    "removed_mappings",
]

#: Order of additions (with changes) and of removals, by entry type. It equals the order of the messages: the host
#: namespace, the shutdown of links to be removed, the rules in one atomic batch, the inside of the namespace (new links
#: are created down and set up there), the removals. A physical port is removed early: the alias of the bridge can name
#: one only.
_ADDED: dict[type, int] = {
    Namespace: 0, Sysctl: 1, Bridge: 2, PhysicalPort: 3, SwitchPort: 3, Link: 4, Table: 6, Element: 7, PendingFlush: 7,
    AcceptRA: 9, DeviceSettings: 9, ConnectedRoute: 9, DeviceAddress: 10, KernelRoute: 11,
}  # fmt: skip
_LINK_SHUTDOWN, _BEFORE_ADDRESSES = 5, 9
_REMOVED: dict[type, int] = {
    PhysicalPort: 2, StrayTap: 2, NeutronRoute: 4, Element: 8, NeutronRules: 8, KernelRoute: 12, AcceptRA: 13,
    DeviceAddress: 14, SwitchPort: 15, Link: 15, PendingFlush: 16, Table: 17, Sysctl: 17, Namespace: 18, Bridge: 20,
}  # fmt: skip

#: Entries that the kernel creates by itself; they change only on request of another program.
_KernelMade = (ConnectedRoute, DeviceSettings)


@dataclass(frozen=True, slots=True)
class Operation:
    """One step: add ``entry``, change ``previous`` into ``entry``, or remove ``entry``."""

    verb: Literal["add", "change", "remove"]
    entry: Entry
    previous: Entry | None = None


_ENTRY = attrgetter("entry")


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered operations for one state."""

    operations: tuple[Operation, ...] = ()
    _by_kind: dict[type, list[Operation]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_kind: dict[type, list[Operation]] = {}
        for operation in self.operations:
            by_kind.setdefault(type(operation.entry), []).append(operation)
        object.__setattr__(self, "_by_kind", by_kind)

    def __bool__(self) -> bool:
        return bool(self.operations)

    def of(self, *kinds: type) -> Sequence[Operation]:
        """Return the operations on entries of these kinds, in order."""
        if len(kinds) == 1:
            return self._by_kind.get(kinds[0], ())
        found = [self._by_kind[kind] for kind in kinds if kind in self._by_kind]
        if len(found) < 2:
            return found[0] if found else ()
        # Without bytecode per operation: a plan may have 100,000, and all threads wait for the caller.
        types = map(type, map(_ENTRY, self.operations))
        return list(compress(self.operations, map(frozenset(kinds).__contains__, types)))

    def adds(self, kind: type) -> bool:
        """Return True if the plan adds or changes an entry of a type."""
        return any(one.verb != "remove" for one in self.of(kind))

    def without_kind(self, kind: type) -> list[Operation]:
        """Return the operations on entries of all other types, in order."""
        return [one for one in self.operations if not isinstance(one.entry, kind)]

    def without_devices(self, missing: Collection[str]) -> Plan:
        """Return the plan without additions and changes on missing devices."""
        return Plan(tuple(one for one in self.operations if one.verb == "remove" or not _needs(one.entry, missing)))

    def without_ipv6(self) -> Plan:
        """Return the plan without the additions that a namespace without IPv6 refuses."""
        return Plan(tuple(one for one in self.operations if one.verb == "remove" or not needs_ipv6(one.entry)))

    def without_additions(self, existing: Collection[Entry]) -> Plan:
        """Return the plan without the additions of existing entries."""
        if not existing:
            return self
        return Plan(tuple(one for one in self.operations if one.verb != "add" or one.entry not in existing))

    def replacements(self) -> list[Operation]:
        """Return the removals of devices that the plan replaces."""
        new = {one.entry.device for one in self.of(Link) if isinstance(one.entry, Link) and one.verb == "add"}
        return [
            one
            for one in self.of(Link)
            if isinstance(one.entry, Link) and one.verb == "remove" and one.entry.device in new
        ]

    def link_shutdowns(self) -> list[Operation]:
        """Return the operations that shut links down before their removal."""
        return [one for one in self.of(Link) if _is_link_shutdown(one)]

    def needs_reobserve(self) -> bool:
        """Return True if the plan may remove more than its entries, so that the state must be observed again.

        The kernel removes routes with the address or link that they depend on. No route depends on a host address.
        """
        return any(
            operation.verb != "add"
            and not (isinstance(entry := operation.entry, DeviceAddress) and _is_host(entry.interface))
            for kind in (SwitchPort, Link, DeviceAddress)
            for operation in self.of(kind)
        )


def diff(desired: Iterable[Entry], observed: Iterable[Entry]) -> Plan:
    """Return the plan that turns ``observed`` into ``desired``.

    * The removal of a namespace removes everything in it; the plan names only the namespace and outer entries.
    * A table with different rules is rewritten with all its elements; a link with another tap is replaced with its
      addresses and routes. The device of a port of Open vSwitch is removed with the port.
    * A link that is removed from a remaining namespace is shut down before the rules change, and its removal removes
      its addresses and routes.
    * Conntrack entries are deleted last. The batch of the rules journals the deletions before the removals; if the
      plan only adds floating IPs, the deletions precede the addresses, and missing addresses take the place of the
      journal.
    * The kernel adds and removes connected routes and device settings with addresses and devices; the plan adds them
      only if the kernel has lost them.
    """
    wanted, present = set(desired), set(observed)
    if not present:
        operations = [Operation("add", entry) for entry in wanted if not isinstance(entry, _KernelMade)]
        return Plan(tuple(sorted(operations, key=lambda operation: _order(operation, set()))))
    stays = any(isinstance(entry, Namespace) for entry in wanted)
    flush = removed_mappings(wanted, present) if stays else set()
    removed_links = _removed_links(wanted, present) if stays else {}
    present = _without_broken_tables(wanted, present, stays)
    if stays:
        flush = drop_needless_journal(flush | added_mappings(wanted, present), wanted, present)
    present = _without_devices_of_ports(wanted, present)
    present = _without_replaced_routes(wanted, present)
    replaced = _replaced_devices(wanted, present)
    present = {entry for entry in present if not _depends_on(entry, replaced)} if replaced else present
    if not stays:
        present = _outermost(present)
    before = {_identity(entry): entry for entry in (present | flush) - wanted}
    after = {_identity(entry): entry for entry in _without_kernel_made(wanted - present, wanted, present)}
    additions = [
        Operation("add" if identity not in before else "change", entry, before.get(identity))
        for identity, entry in after.items()
    ]
    additions += [Operation("add", edge) for edge in flush - present if edge.is_journalled]
    additions += [Operation("change", replace(link, up=False), link) for link in removed_links.values() if link.up]
    removals = [
        Operation("remove", entry)
        for identity, entry in before.items()
        if identity not in after and not isinstance(entry, _KernelMade) and not _is_removed_with(entry, removed_links)
    ]
    return Plan(tuple(sorted((*additions, *removals), key=lambda operation: _order(operation, replaced))))


def _identity(entry: Entry) -> tuple[type, Hashable]:
    return type(entry), entry.identity()


def _without_kernel_made(missing: set[Entry], wanted: set[Entry], present: set[Entry]) -> Iterable[Entry]:
    """Return the missing entries, except entries that the kernel creates with a device or address of the plan."""
    if not any(isinstance(entry, _KernelMade) for entry in missing):
        return missing
    stable = wanted & present
    devices = {entry.device for entry in stable if isinstance(entry, Link)}
    networks = {(one.device, one.interface.network) for one in stable if isinstance(one, DeviceAddress)}
    return [
        entry
        for entry in missing
        if not isinstance(entry, _KernelMade)
        or (entry.device in devices and (isinstance(entry, DeviceSettings) or entry.identity() in networks))
    ]


def _without_broken_tables(wanted: set[Entry], present: set[Entry], stays: bool) -> set[Entry]:
    """Leave out the elements of tables that are written anew or, if the namespace stays, removed."""
    changed = {entry.name for entry in wanted - present if isinstance(entry, Table)}
    if stays:
        changed |= {entry.name for entry in present - wanted if isinstance(entry, Table)}
    if not changed:
        return present
    return {one for one in present if not (isinstance(one, Element | PendingFlush) and one.table.name in changed)}


def _without_devices_of_ports(wanted: set[Entry], present: set[Entry]) -> set[Entry]:
    names = {entry.name for entry in wanted if isinstance(entry, SwitchPort)}
    removed = {entry.name for entry in present if isinstance(entry, SwitchPort)} - names
    return {one for one in present if not (isinstance(one, Link) and one.is_ovs_internal and one.device in removed)}


def _without_replaced_routes(wanted: set[Entry], present: set[Entry]) -> set[Entry]:
    """Return the entries without routes of Neutron that one of our routes replaces in a single step."""
    found = {entry for entry in present if isinstance(entry, NeutronRoute)}
    ours = {entry.destination for entry in wanted if isinstance(entry, KernelRoute)} if found else set()
    return present - {entry for entry in found if entry.destination in ours}


def _removed_links(wanted: set[Entry], present: set[Entry]) -> dict[str, Link]:
    """Return the links to remove without replacement, by device."""
    found = {entry.device: entry for entry in present - wanted if isinstance(entry, Link)}
    stay = {entry.device for entry in wanted if isinstance(entry, Link)} if found else set()
    return {device: link for device, link in found.items() if device not in stay}


def _is_removed_with(entry: Entry, devices: Collection[str]) -> bool:
    """Return True if the kernel removes an entry with devices; a route with a next hop on another device remains."""
    if isinstance(entry, KernelRoute):
        return all(hop.device in devices for hop in entry.hops)
    return isinstance(entry, (AcceptRA, DeviceAddress, *_KernelMade)) and entry.device in devices


def _replaced_devices(wanted: set[Entry], present: set[Entry]) -> set[str]:
    """Return the existing devices whose tap differs from the wanted tap."""
    old = {entry.device: entry.tap for entry in present if isinstance(entry, Link)}
    return {
        entry.device for entry in wanted if isinstance(entry, Link) and old.get(entry.device, entry.tap) != entry.tap
    }


def _needs(entry: Entry, devices: Collection[str]) -> bool:
    return (isinstance(entry, Link) and entry.device in devices) or _depends_on(entry, devices)


def _depends_on(entry: Entry, devices: Collection[str]) -> bool:
    if isinstance(entry, KernelRoute):
        return any(hop.device in devices for hop in entry.hops)
    return isinstance(entry, (AcceptRA, DeviceAddress, *_KernelMade)) and entry.device in devices


def _outermost(present: set[Entry]) -> set[Entry]:
    """Return the entries that do not disappear with the namespace, and links, whose taps are outside of it."""
    if any(isinstance(entry, Namespace) for entry in present):
        return {entry for entry in present if isinstance(entry, Namespace | Link | SwitchPort)}
    return present


def _order(operation: Operation, replaced: set[str]) -> tuple[Any, ...]:
    entry = operation.entry
    if _is_link_shutdown(operation):
        return _LINK_SHUTDOWN, True, *_order_in_kind(entry)
    if operation.verb != "remove":
        return _ADDED[type(entry)], True, *_order_in_kind(entry)
    if isinstance(entry, Link) and entry.device in replaced:
        return _ADDED[Link], False, *_order_in_kind(entry)
    if isinstance(entry, PendingFlush) and not entry.is_journalled:
        return _BEFORE_ADDRESSES, True, *_order_in_kind(entry)
    return _REMOVED[type(entry)], True, *_order_in_kind(entry)


def _is_link_shutdown(operation: Operation) -> bool:
    return operation.verb == "change" and isinstance(operation.entry, Link) and not operation.entry.up


def _order_in_kind(entry: Entry) -> tuple[Any, ...]:
    """Return the sort key of an entry among entries of its type; an on-link route precedes dependent routes."""
    match entry:
        case DeviceAddress(device, interface):
            return device, interface.version, int(interface)
        case KernelRoute(destination, hops):
            leans = all(hop.via is not None for hop in hops)
            return leans, destination.version, int(destination.network_address), destination.prefixlen
        case Element(name, left):
            return name, int(left) if isinstance(left, IPv4Address) else left
        case PendingFlush(what, left, right):
            # Before elements, with which it shares a place.
            return "", what, int(left), int(right)
        case NeutronRoute(destination):
            return ("neutron", destination.version, int(destination.network_address), destination.prefixlen)
        case NeutronRules(family, table):
            # Rules that match a mark are removed before rules that set it, if they are in different tables.
            return "neutron", ("filter", "nat").index(table) if table in ("filter", "nat") else 2, family, table
        case _:
            return (str(entry.identity()),)


def _is_host(interface: Interface) -> bool:
    return interface.network.prefixlen == interface.max_prefixlen
