# SPDX-License-Identifier: Apache-2.0
"""Which conntrack entries a plan has to delete, as edges for the journal. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

from l3agent.dataplane.plan.entries import (
    DeviceAddress,
    Element,
    Entry,
    Namespace,
    NeutronRules,
    PendingFlush,
)
from l3agent.model.names import GATEWAY_DEVICE, INTERNAL_DEVICE


def removed_mappings(wanted: set[Entry], present: set[Entry]) -> set[PendingFlush]:
    """Return the edges whose flows must be dropped: mappings and interfaces that go, and what was journalled before."""
    edges = {entry for entry in present if isinstance(entry, PendingFlush)}
    gone = present - wanted
    if not gone:
        return edges
    known: set[object] = {
        address
        for entry in present
        if isinstance(entry, Element) and entry.name != "gateway_addresses"
        for address in (entry.key, entry.value)
    }
    known |= {entry.interface.ip for entry in wanted if isinstance(entry, DeviceAddress)}
    for entry in gone:
        match entry:
            case Element("floating_dnat", IPv4Address() as floating, IPv4Address() as fixed):
                edges.add(PendingFlush("floating_dnat", floating, fixed))
            case Element("gateway_snat" | "hairpin_snat" as name, _, IPv4Address() as address):
                if not any(isinstance(one, Element) and (one.name, one.value) == (name, address) for one in wanted):
                    edges.add(PendingFlush(name, address))
            case DeviceAddress(device, IPv4Interface(ip=ip)) if device.startswith(GATEWAY_DEVICE) and ip not in known:
                edges.add(PendingFlush("address", ip))
            case DeviceAddress(device, IPv4Interface() as interface) if _is_removed_network(device, interface, wanted):
                edges.add(PendingFlush("interface", interface.network.network_address, interface.netmask))
            case _:
                pass
    return edges


def _is_removed_network(device: str, interface: IPv4Interface, wanted: set[Entry]) -> bool:
    """Tell whether a network of tenants is left altogether; with another prefix length its flows go on."""
    return device.startswith(INTERNAL_DEVICE) and not any(
        isinstance(one, DeviceAddress)
        and one.device == device
        and isinstance(one.interface, IPv4Interface)
        and one.interface.network.overlaps(interface.network)
        for one in wanted
    )


def added_mappings(wanted: set[Entry], present: set[Entry]) -> set[PendingFlush]:
    """Return the edges of translations that are added: of the entries that are not translated.

    As long as packets of such an entry arrive, it lives, and the new rules do not see them. There is none in a new
    namespace.
    """
    missing = wanted - present
    if not missing or not any(isinstance(entry, Namespace) for entry in present):
        return set()
    added = [entry for entry in missing if isinstance(entry, Element)]
    floating = _added_floating_ips(added, present) | _without_address(missing, wanted, present)
    return {PendingFlush("untranslated", one) for one in floating} | _added_snat(added, wanted, present)


def drop_needless_journal(edges: set[PendingFlush], wanted: set[Entry], present: set[Entry]) -> set[PendingFlush]:
    """Return the edges of a plan, marked as not journalled where the plan needs no journal.

    It needs none if all edges are those of floating addresses that come after their entries are deleted. All edges of
    a plan are treated alike, so that one dump of the entries serves them.
    """
    if not edges or any(edge.cause != "untranslated" for edge in edges) or not edges.isdisjoint(present):
        return edges
    if {edge.original for edge in edges} <= _gateway_addresses(wanted - present) - _gateway_addresses(present):
        return {replace(edge, is_journalled=False) for edge in edges}
    return edges


def _gateway_addresses(entries: Collection[Entry]) -> set[object]:
    return {
        entry.interface.ip
        for entry in entries
        if isinstance(entry, DeviceAddress) and entry.device.startswith(GATEWAY_DEVICE)
    }


def _without_address(missing: set[Entry], wanted: set[Entry], present: set[Entry]) -> set[IPv4Address]:
    """Return the floating addresses that the gateway device does not have yet, as in a plan that was interrupted."""
    if not (come := _gateway_addresses(missing)):
        return set()
    floating = {
        entry.key
        for entry in wanted
        if isinstance(entry, Element) and entry.name == "floating_dnat" and isinstance(entry.key, IPv4Address)
    }
    return (floating & come) - _gateway_addresses(present)


def _added_floating_ips(come: list[Element], present: set[Entry]) -> set[IPv4Address]:
    """Return the floating addresses that no rule translates yet.

    A rule of neutron-l3-agent translates those that it gave to the gateway device, which it does after its rules.
    """
    added = {entry.key for entry in come if entry.name == "floating_dnat" and isinstance(entry.key, IPv4Address)}
    if not added:
        return set()
    translated: set[object] = {
        entry.key for entry in present if isinstance(entry, Element) and entry.name == "floating_dnat"
    }
    if any(isinstance(entry, NeutronRules) for entry in present):
        translated |= _gateway_addresses(present)
    return added - translated


def _added_snat(come: list[Element], wanted: set[Entry], present: set[Entry]) -> set[PendingFlush]:
    """Return the edges of SNAT that is switched on: the entries of each network of tenants that leave by the gateway.

    There is none where another address or gateway was translated to before, or where neutron-l3-agent did so.
    """
    if not any(entry.name == "gateway_snat" for entry in come):
        return set()
    if any(
        isinstance(one, NeutronRules) or (isinstance(one, Element) and one.name == "gateway_snat") for one in present
    ):
        return set()
    return {
        PendingFlush("without_nat", entry.interface.network.network_address, entry.interface.netmask)
        for entry in wanted
        if isinstance(entry, DeviceAddress)
        and isinstance(entry.interface, IPv4Interface)
        and entry.device.startswith(INTERNAL_DEVICE)
    }
