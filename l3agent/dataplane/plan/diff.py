# SPDX-License-Identifier: Apache-2.0
"""The pure middle: what the kernel should hold, what it holds, and the operations between the two.

Kernel state is a set of entries, frozen values. :func:`diff` compares two such sets; the order of the operations
comes from one table of kinds: rules before the addresses they serve, additions before removals, so that nothing that
stays is ever missing.

Review: does a plan stopped anywhere leave tenants apart? Rules come before the addresses and links they guard, and
links that go are down before the rules that guard them go.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
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

# Whoever works with plans has what they are made of from here as well.
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

#: The one table of order, in which additions (and changes) and removals take their places. It is the order of the
#: sends: the switch namespace, then links that go are set down, then the rules in one atomic batch, then the inside of
#: the namespace (new links are born down and come up there), then what goes. A card leaves first: the mark of the
#: bridge has room for one.
_ADDED: dict[type, int] = {
    Namespace: 0, Sysctl: 1, Bridge: 2, PhysicalPort: 3, SwitchPort: 3, Link: 4, Table: 6, Element: 7, PendingFlush: 7,
    AcceptRA: 9, DeviceSettings: 9, ConnectedRoute: 9, DeviceAddress: 10, KernelRoute: 11,
}  # fmt: skip
_LINK_SHUTDOWN, _BEFORE_ADDRESSES = 5, 9
_REMOVED: dict[type, int] = {
    PhysicalPort: 2, StrayTap: 2, NeutronRoute: 4, Element: 8, NeutronRules: 8, KernelRoute: 12, AcceptRA: 13,
    DeviceAddress: 14, SwitchPort: 15, Link: 15, PendingFlush: 16, Table: 17, Sysctl: 17, Namespace: 18, Bridge: 20,
}  # fmt: skip

#: What the kernel makes by itself, and changes only if another program has it do so.
_KernelMade = (ConnectedRoute, DeviceSettings)


@dataclass(frozen=True, slots=True)
class Operation:
    """One step: add ``entry``, change ``previous`` into ``entry``, or remove ``entry``."""

    verb: Literal["add", "change", "remove"]
    entry: Entry
    previous: Entry | None = None


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
        return [operation for operation in self.operations if isinstance(operation.entry, kinds)]

    def adds(self, kind: type) -> bool:
        """Tell whether an entry of a kind comes or changes."""
        return any(one.verb != "remove" for one in self.of(kind))

    def without_kind(self, kind: type) -> list[Operation]:
        """Return the operations on all other kinds of entries, in order."""
        return [one for one in self.operations if not isinstance(one.entry, kind)]

    def without_devices(self, missing: Collection[str]) -> Plan:
        """Return the plan without what comes to devices that are not there."""
        return Plan(tuple(one for one in self.operations if one.verb == "remove" or not _needs(one.entry, missing)))

    def without_ipv6(self) -> Plan:
        """Return the plan without the additions that a namespace without IPv6 refuses."""
        return Plan(tuple(one for one in self.operations if one.verb == "remove" or not needs_ipv6(one.entry)))

    def without(self, existing: Collection[Entry]) -> Plan:
        """Return the plan without the additions of what is there already."""
        if not existing:
            return self
        return Plan(tuple(one for one in self.operations if one.verb != "add" or one.entry not in existing))

    def replacements(self) -> list[Operation]:
        """Return the removals of devices in whose place the plan puts new ones."""
        new = {one.entry.device for one in self.of(Link) if isinstance(one.entry, Link) and one.verb == "add"}
        return [
            one
            for one in self.of(Link)
            if isinstance(one.entry, Link) and one.verb == "remove" and one.entry.device in new
        ]

    def link_shutdowns(self) -> list[Operation]:
        """Return the operations that set links down, which go later."""
        return [one for one in self.of(Link) if _is_link_shutdown(one)]

    def needs_reobserve(self) -> bool:
        """Tell whether carrying it out may take along something that should stay, so that a second look is due.

        The kernel drops routes with the address or the link that they lean on. A host address carries none.
        """
        return any(
            operation.verb != "add"
            and not (isinstance(entry := operation.entry, DeviceAddress) and _is_host(entry.interface))
            for operation in self.of(SwitchPort, Link, DeviceAddress)
        )


def diff(desired: Iterable[Entry], observed: Iterable[Entry]) -> Plan:
    """Return the plan that turns ``observed`` into ``desired``.

    A namespace that should go takes along everything inside it, so then only it and what lies outside is named. A
    table whose rules are not ours to the letter is written anew, with all of its elements; a link that hangs on
    another tap is, with its addresses and routes. The device of a port of Open vSwitch goes with the port. A link that
    goes while its namespace stays is set down before the rules, and takes its addresses and routes along. Flows are
    dropped last, and that they must be is journalled in the batch of the rules, before what they went through goes;
    where only floating IPs come, they are dropped before the addresses come, which stand for the journal.
    Connected routes and settings of devices come and go with addresses and devices: they are named only where the
    kernel has lost them.
    """
    wanted, present = set(desired), set(observed)
    if not present:
        operations = [Operation("add", entry) for entry in wanted if not isinstance(entry, _KernelMade)]
        return Plan(tuple(sorted(operations, key=lambda operation: _order(operation, set()))))
    stays = any(isinstance(entry, Namespace) for entry in wanted)
    flush = removed_mappings(wanted, present) if stays else set()
    removed_links = _removed_links(wanted, present) if stays else {}
    present = _without_broken_table(wanted, present)
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
    """Leave out what the kernel makes by itself with a device or an address that is still to come."""
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


def _without_broken_table(wanted: set[Entry], present: set[Entry]) -> set[Entry]:
    if any(isinstance(entry, Table) for entry in wanted - present):
        return {entry for entry in present if not isinstance(entry, Element | PendingFlush)}
    return present


def _without_devices_of_ports(wanted: set[Entry], present: set[Entry]) -> set[Entry]:
    names = {entry.name for entry in wanted if isinstance(entry, SwitchPort)}
    removed = {entry.name for entry in present if isinstance(entry, SwitchPort)} - names
    return {one for one in present if not (isinstance(one, Link) and one.is_ovs_internal and one.device in removed)}


def _without_replaced_routes(wanted: set[Entry], present: set[Entry]) -> set[Entry]:
    """Leave out routes of Neutron whose place one of ours takes in one step."""
    found = {entry for entry in present if isinstance(entry, NeutronRoute)}
    ours = {entry.destination for entry in wanted if isinstance(entry, KernelRoute)} if found else set()
    return present - {entry for entry in found if entry.destination in ours}


def _removed_links(wanted: set[Entry], present: set[Entry]) -> dict[str, Link]:
    """Return the links that go for good, by device."""
    found = {entry.device: entry for entry in present - wanted if isinstance(entry, Link)}
    stay = {entry.device for entry in wanted if isinstance(entry, Link)} if found else set()
    return {device: link for device, link in found.items() if device not in stay}


def _is_removed_with(entry: Entry, devices: Collection[str]) -> bool:
    """Tell whether something goes with devices by itself; what leads over another one too does not."""
    if isinstance(entry, KernelRoute):
        return all(hop.device in devices for hop in entry.hops)
    return isinstance(entry, (AcceptRA, DeviceAddress, *_KernelMade)) and entry.device in devices


def _replaced_devices(wanted: set[Entry], present: set[Entry]) -> set[str]:
    """Return the devices that are there and hang on another tap than they should, or on none."""
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
    """Keep what does not vanish with the namespace by itself; links are named, for they reach outside."""
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
    """Order inside a kind: an on-link route comes before the ones that lean on it."""
    match entry:
        case DeviceAddress(device, interface):
            return device, interface.version, int(interface)
        case KernelRoute(destination, hops):
            leans = all(hop.via is not None for hop in hops)
            return leans, destination.version, int(destination.network_address), destination.prefixlen
        case Element(name, left):
            return name, left if isinstance(left, str) else int(left)
        case PendingFlush(what, left, right):
            # Before elements, with which it shares a place.
            return "", what, int(left), int(right)
        case NeutronRoute(destination):
            return ("neutron", destination.version, int(destination.network_address), destination.prefixlen)
        case NeutronRules(family, table):
            # What asks for a mark goes before what sets it, where they do not go together.
            return "neutron", ("filter", "nat").index(table) if table in ("filter", "nat") else 2, family, table
        case _:
            return (str(entry.identity()),)


def _is_host(interface: Interface) -> bool:
    return interface.network.prefixlen == interface.max_prefixlen
