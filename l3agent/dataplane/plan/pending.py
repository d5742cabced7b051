# SPDX-License-Identifier: Apache-2.0
"""Computes the conntrack entries that a plan must delete, as edges of the journal. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

from l3agent.dataplane.netlink import tables
from l3agent.dataplane.plan.kinds.address import DeviceAddress
from l3agent.dataplane.plan.kinds.base import Entry, select
from l3agent.dataplane.plan.kinds.element import Element
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.neutron import NeutronRules
from l3agent.dataplane.plan.kinds.pending_flush import PendingFlush
from l3agent.model.names import EXTERNAL_DEVICES, INTERNAL_DEVICES


def removed_mappings(wanted: set[Entry], present: set[Entry]) -> set[PendingFlush]:
    """Return the edges of removed mappings and interfaces, and the edges that the journal already contains."""
    edges = set(select(present, PendingFlush))
    removed = present - wanted
    if not removed:
        return edges
    for element in select(removed, Element):
        match element:
            case Element(tables.FLOATING_DNAT, floating, bytes() as fixed):
                edges.add(PendingFlush("floating_dnat", IPv4Address(floating), IPv4Address(fixed)))
            case Element(tables.GATEWAY_SNAT | tables.HAIRPIN_SNAT as place, _, bytes() as address):
                if not any((one.set, one.value) == (place, address) for one in select(wanted, Element)):
                    edges.add(PendingFlush(place.name, IPv4Address(address)))
            case _:
                pass
    addresses = select(removed, DeviceAddress)
    known = _translated_addresses(wanted, present) if addresses else set()
    for one in addresses:
        interface = one.interface
        if not isinstance(interface, IPv4Interface):
            continue
        if one.device.startswith(EXTERNAL_DEVICES):
            if interface.packed not in known:
                edges.add(PendingFlush("address", interface.ip))
        elif one.device.startswith(INTERNAL_DEVICES) and _is_removed_network(one.device, interface, wanted):
            edges.add(PendingFlush("interface", interface.network.network_address, interface.netmask))
    return edges


def _translated_addresses(wanted: set[Entry], present: set[Entry]) -> set[bytes | None]:
    """Return the addresses that our rules translate, and the addresses that stay."""
    known = {
        address
        for element in select(present, Element)
        if element.set is not tables.GATEWAY_ADDRESSES
        for address in (element.key, element.value)
    }
    return known.union(one.interface.packed for one in select(wanted, DeviceAddress))


def _is_removed_network(device: str, interface: IPv4Interface, wanted: set[Entry]) -> bool:
    """Return True if no address in a tenant network remains; another prefix length preserves its flows."""
    return not any(
        one.device == device
        and isinstance(one.interface, IPv4Interface)
        and one.interface.network.overlaps(interface.network)
        for one in select(wanted, DeviceAddress)
    )


def added_mappings(wanted: set[Entry], present: set[Entry]) -> set[PendingFlush]:
    """Return the edges of added translations, whose conntrack entries are not translated.

    NAT rules do not see packets of an existing conntrack entry, which lives as long as packets arrive. A new namespace
    has no entries.
    """
    missing = wanted - present
    if not missing or not select(present, Namespace):
        return set()
    added = select(missing, Element)
    floating = _added_floating_ips(added, present) | _without_address(missing, wanted, present)
    return {PendingFlush("untranslated", one) for one in floating} | _added_snat(added, wanted, present)


def drop_needless_journal(edges: set[PendingFlush], wanted: set[Entry], present: set[Entry]) -> set[PendingFlush]:
    """Return the edges of a plan, with ``is_journalled`` False if the plan needs no journal.

    It needs none if every edge belongs to a floating address that the plan adds after the deletion. All edges of a
    plan have the same value, so that one dump of the conntrack entries serves them all.
    """
    if not edges or any(edge.cause != "untranslated" for edge in edges) or not edges.isdisjoint(present):
        return edges
    if {edge.original.packed for edge in edges} <= _gateway_addresses(wanted - present) - _gateway_addresses(present):
        return {replace(edge, is_journalled=False) for edge in edges}
    return edges


def _gateway_addresses(entries: Collection[Entry]) -> set[bytes]:
    return {one.interface.packed for one in select(entries, DeviceAddress) if one.device.startswith(EXTERNAL_DEVICES)}


def _without_address(missing: set[Entry], wanted: set[Entry], present: set[Entry]) -> set[IPv4Address]:
    """Return the floating addresses that the gateway device still lacks, for example after an interrupted plan."""
    if not (missing_addresses := _gateway_addresses(missing)):
        return set()
    floating = _floating_ips(select(wanted, Element)) & missing_addresses
    return {IPv4Address(one) for one in floating - _gateway_addresses(present)}


def _added_floating_ips(additions: list[Element], present: set[Entry]) -> set[IPv4Address]:
    """Return the added floating addresses that no rule translates yet.

    neutron-l3-agent adds floating addresses to the gateway device after its rules, so its rules translate them.
    """
    added = _floating_ips(additions)
    if not added:
        return set()
    translated = _floating_ips(select(present, Element))
    if select(present, NeutronRules):
        translated |= _gateway_addresses(present)
    return {IPv4Address(one) for one in added - translated}


def _floating_ips(elements: Iterable[Element]) -> set[bytes]:
    return {one.key for one in elements if one.set is tables.FLOATING_DNAT}


def _added_snat(additions: list[Element], wanted: set[Entry], present: set[Entry]) -> set[PendingFlush]:
    """Return the edges of enabled SNAT: the entries of each tenant network that leave through the gateway.

    There are none if SNAT was enabled before, with any address or gateway, or by neutron-l3-agent.
    """
    if not any(entry.set is tables.GATEWAY_SNAT for entry in additions):
        return set()
    if select(present, NeutronRules) or any(one.set is tables.GATEWAY_SNAT for one in select(present, Element)):
        return set()
    return {
        PendingFlush("without_nat", one.interface.network.network_address, one.interface.netmask)
        for one in select(wanted, DeviceAddress)
        if isinstance(one.interface, IPv4Interface) and one.device.startswith(INTERNAL_DEVICES)
    }
