# SPDX-License-Identifier: Apache-2.0
"""Computes plans: the ordered operations that turn observed kernel state into desired kernel state. Pure.

Kernel state is a set of entries (immutable values). :func:`diff` compares two sets. One table of kinds gives the order
of the operations (:mod:`l3agent.dataplane.plan.order`): rules precede the addresses that they serve, and additions
precede removals, so that an entry in both sets is never missing in between.

Review: does a plan that stops after any operation keep tenants separated? Rules are added before the addresses and
links that they guard; links to be removed are shut down before the rules that guard them are removed.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from dataclasses import replace
from functools import partial

from l3agent.dataplane.netlink import tables
from l3agent.dataplane.plan.kinds.address import DeviceAddress
from l3agent.dataplane.plan.kinds.base import Entry, Operation, select
from l3agent.dataplane.plan.kinds.device_settings import DeviceSettings
from l3agent.dataplane.plan.kinds.element import Element
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.neutron import NeutronRoute
from l3agent.dataplane.plan.kinds.pending_flush import PendingFlush
from l3agent.dataplane.plan.kinds.route import KernelRoute
from l3agent.dataplane.plan.kinds.switch_port import SwitchPort
from l3agent.dataplane.plan.kinds.table import Table
from l3agent.dataplane.plan.order import KERNEL_MADE, position
from l3agent.dataplane.plan.pending import added_mappings, drop_needless_journal, removed_mappings
from l3agent.dataplane.plan.plan import Plan
from l3agent.model.states import MAIN_TABLE


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
    kinds = {*map(type, wanted), *map(type, present)}
    if not present:
        operations = [Operation("add", entry) for entry in wanted if type(entry) not in KERNEL_MADE]
        return Plan(tuple(sorted(operations, key=partial(position, replaced=()))))
    stays = bool(select(wanted, Namespace))
    flush = removed_mappings(wanted, present) if stays else set()
    removed_links = _removed_links(wanted, present) if stays and Link in kinds else {}
    if Table in kinds:
        present = _without_broken_tables(wanted, present, stays)
    if stays:
        flush = drop_needless_journal(flush | added_mappings(wanted, present), wanted, present)
    if SwitchPort in kinds:
        present = _without_devices_of_ports(wanted, present)
    if NeutronRoute in kinds:
        present = _without_replaced_routes(wanted, present)
    replaced = _replaced_devices(wanted, present) if Link in kinds else set()
    if replaced:
        present = {entry for entry in present if not any(map(replaced.__contains__, entry.devices()))}
    if not stays:
        present = _outermost(present)
    before = {_identity(entry): entry for entry in (present | flush) - wanted}
    after = {_identity(entry): entry for entry in _without_kernel_made(wanted - present, wanted, present)}
    additions: list[Operation[Entry]] = [
        Operation("add" if identity not in before else "change", entry, before.get(identity))
        for identity, entry in after.items()
    ]
    additions += [Operation("add", edge) for edge in flush - present if edge.is_journalled]
    additions += [Operation("change", replace(link, up=False), link) for link in removed_links.values() if link.up]
    removals = [
        Operation("remove", entry)
        for identity, entry in before.items()
        if identity not in after
        and type(entry) not in KERNEL_MADE
        and not (removed_links and _is_removed_with(entry, removed_links))
    ]
    return Plan(tuple(sorted((*additions, *removals), key=partial(position, replaced=replaced))))


def _identity(entry: Entry) -> tuple[type, Hashable]:
    return type(entry), entry.identity()


def _without_kernel_made(missing: set[Entry], wanted: set[Entry], present: set[Entry]) -> Iterable[Entry]:
    """Return the missing entries, except entries that the kernel creates with a device or address of the plan."""
    if KERNEL_MADE.isdisjoint(map(type, missing)):
        return missing
    stable = wanted & present
    devices = {link.device for link in select(stable, Link)}
    networks = {(one.device, one.interface.network) for one in select(stable, DeviceAddress)}
    return [
        entry
        for entry in missing
        if type(entry) not in KERNEL_MADE
        or (devices.issuperset(entry.devices()) and (type(entry) is DeviceSettings or entry.identity() in networks))
    ]


def _without_broken_tables(wanted: set[Entry], present: set[Entry], stays: bool) -> set[Entry]:
    """Leave out the elements of tables that are written anew or, if the namespace stays, removed."""
    changed = {table.declared.id for table in select(wanted - present, Table)}
    if stays:
        changed |= {table.declared.id for table in select(present - wanted, Table)}
    if not changed:
        return present
    elements = (one for one in select(present, Element) if one.set.table in changed)
    edges = select(present, PendingFlush) if tables.PENDING_FLUSH.table in changed else ()
    return present.difference(elements, edges)


def _without_devices_of_ports(wanted: set[Entry], present: set[Entry]) -> set[Entry]:
    removed = {port.name for port in select(present, SwitchPort)} - {port.name for port in select(wanted, SwitchPort)}
    if not removed:
        return present
    return present.difference(one for one in select(present, Link) if one.is_ovs_internal and one.device in removed)


def _without_replaced_routes(wanted: set[Entry], present: set[Entry]) -> set[Entry]:
    """Return the entries without routes of Neutron that one of our routes replaces in a single step."""
    found = select(present, NeutronRoute)
    if not found:
        return present
    ours = {route.destination for route in select(wanted, KernelRoute) if route.table == MAIN_TABLE}
    return present.difference(one for one in found if one.destination in ours)


def _removed_links(wanted: set[Entry], present: set[Entry]) -> dict[str, Link]:
    """Return the links to remove without replacement, by device."""
    found = {link.device: link for link in select(present - wanted, Link)}
    stay = {link.device for link in select(wanted, Link)} if found else set()
    return {device: link for device, link in found.items() if device not in stay}


def _is_removed_with(entry: Entry, removed: Collection[str]) -> bool:
    """Return True if the kernel removes an entry with devices; a route with a next hop on another device remains."""
    devices = entry.devices()
    return bool(devices) and all(map(removed.__contains__, devices))


def _replaced_devices(wanted: set[Entry], present: set[Entry]) -> set[str]:
    """Return the existing devices whose tap differs from the wanted tap."""
    old = {link.device: link.tap for link in select(present, Link)}
    return {link.device for link in select(wanted, Link) if old.get(link.device, link.tap) != link.tap}


def _outermost(present: set[Entry]) -> set[Entry]:
    """Return the entries that do not disappear with the namespace, and links, whose taps are outside of it."""
    namespaces = select(present, Namespace)
    if namespaces:
        return {*namespaces, *select(present, Link), *select(present, SwitchPort)}
    return present
