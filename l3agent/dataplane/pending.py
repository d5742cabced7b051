# SPDX-License-Identifier: Apache-2.0
"""Which conntrack entries a plan has to delete, as edges for the journal. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

from l3agent.dataplane.entries import DeviceAddress, Element, Entry, Namespace, NeutronRules, PendingFlush
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
        for address in (entry.left, entry.right)
    }
    known |= {entry.interface.ip for entry in wanted if isinstance(entry, DeviceAddress)}
    for entry in gone:
        match entry:
            case Element("floating_dnat", IPv4Address() as floating, IPv4Address() as fixed):
                edges.add(PendingFlush("floating_dnat", floating, fixed))
            case Element("gateway_snat" | "hairpin_snat" as name, _, IPv4Address() as address):
                if not any(isinstance(one, Element) and (one.name, one.right) == (name, address) for one in wanted):
                    edges.add(PendingFlush(name, address))
            case DeviceAddress(device, IPv4Interface(ip=ip)) if device.startswith(GATEWAY_DEVICE) and ip not in known:
                edges.add(PendingFlush("address", ip))
            case DeviceAddress(device, IPv4Interface() as interface) if _is_left(device, interface, wanted):
                edges.add(PendingFlush("interface", interface.network.network_address, interface.netmask))
            case _:
                pass
    return edges


def _is_left(device: str, interface: IPv4Interface, wanted: set[Entry]) -> bool:
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
    added = [entry for entry in wanted - present if isinstance(entry, Element)]
    if not added or not any(isinstance(entry, Namespace) for entry in present):
        return set()
    return _added_floating_ips(added, present) | _added_snat(added, wanted, present)


def _added_floating_ips(come: list[Element], present: set[Entry]) -> set[PendingFlush]:
    """Return the edges of floating IPs: the entries towards them.

    There is none towards an address that a rule translates already, ours or one of neutron-l3-agent, which gives the
    address to the gateway device after its rules.
    """
    added = {entry.left for entry in come if entry.name == "floating_dnat"}
    if not added:
        return set()
    translated: set[object] = {
        entry.left for entry in present if isinstance(entry, Element) and entry.name == "floating_dnat"
    }
    if any(isinstance(entry, NeutronRules) for entry in present):
        translated |= {
            entry.interface.ip
            for entry in present
            if isinstance(entry, DeviceAddress) and entry.device.startswith(GATEWAY_DEVICE)
        }
    return {PendingFlush("untranslated", address) for address in added - translated if isinstance(address, IPv4Address)}


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
