# SPDX-License-Identifier: Apache-2.0
"""Reads a topology file: YAML to immutable values, or all problems with their lines.

Ids and MAC addresses are derived from the names in the file (:mod:`l3agent.standalone.entities`).
``etc/l3agent/topology.yaml`` is a sample with comments.

The functions also return entities with invalid parts, so that references to them are checked in the same run; in this
case :func:`load` raises.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from l3agent.model.states import IPV6_MTU_MIN, Address, Interface, Network, is_network_or_broadcast
from l3agent.model.validators import MTU_MAX, MTU_MIN
from l3agent.standalone.addresses import (
    as_interface,
    read_address,
    read_device,
    read_interface,
    read_name,
    read_subnet_range,
)
from l3agent.standalone.document import Item, read_document
from l3agent.standalone.entities import DEFAULT_MTU, Host, Subnet, Topology, VirtualNetwork, stable_id
from l3agent.standalone.symbols import SymbolTable
from l3agent.standalone.topology_routers import read_router
from l3agent.standalone.topology_routes import default_routes, read_routes

_T = TypeVar("_T")


def load(path: str | Path) -> Topology:
    """Return the contents of a topology file.

    :raises ConfigError: the file is invalid; one line per problem, ``file:line: path.in.the.file: value: reason``.
    """
    root = read_document(Path(path))
    sections = root.fields(("networks", "routers", "hosts"))
    symbols = SymbolTable()
    networks = _named(sections, "network", _network, symbols)
    hosts = _named(sections, "host", _host, symbols)
    routers = _named(sections, "router", read_router, symbols)
    root.problems.raise_any()
    return Topology(tuple(networks), tuple(routers), tuple(hosts))


def _named(
    sections: dict[str, Item], kind: str, read: Callable[[str, Item, SymbolTable], _T | None], symbols: SymbolTable
) -> list[_T]:
    """Return the valid entities of a section that maps names to descriptions."""
    section = sections.get(f"{kind}s")
    found = []
    for name, item in section.entries().items() if section else ():
        entity = read(name, item, symbols) if read_name(item, name) else None
        if entity is None:
            symbols.invalid.add(f"{kind} {name}")
        else:
            found.append(entity)
    return found


# Networks


def _network(name: str, item: Item, symbols: SymbolTable) -> VirtualNetwork:
    fields = item.fields(("external", "mtu", "subnets"), required=("subnets",))
    external, interface = _external(fields.get("external"), symbols)
    subnets = _subnets(fields.get("subnets"), symbols, external)
    ipv6 = any(subnet.cidr.version == 6 for subnet in subnets)
    mtu = fields["mtu"].integer(IPV6_MTU_MIN if ipv6 else MTU_MIN, MTU_MAX) if "mtu" in fields else None
    network = VirtualNetwork(stable_id("network", name), name, external, interface, mtu or DEFAULT_MTU, tuple(subnets))
    symbols.networks[name] = network
    symbols.subnets.update({subnet.name: (network, subnet) for subnet in subnets})
    return network


def _external(item: Item | None, symbols: SymbolTable) -> tuple[bool, str | None]:
    """Return whether a network is external, and its physical interface.

    :param item: the value of ``external``: true, false, or a mapping with the interface.
    """
    if item is None:
        return False, None
    if not item.is_mapping:
        return bool(item.boolean()), None
    fields = item.fields(("interface",), required=("interface",))
    interface = read_device(fields["interface"]) if "interface" in fields else None
    if interface is not None:
        symbols.claim_interface(fields["interface"], interface)
    return True, interface


def _subnets(item: Item | None, symbols: SymbolTable, external: bool) -> list[Subnet]:
    subnets: list[Subnet] = []
    for name, entry in item.entries().items() if item else ():
        subnet = _subnet(name, entry, symbols, subnets, external)
        if subnet is None:
            symbols.invalid.add(f"subnet {name}")
        else:
            subnets.append(subnet)
    return subnets


def _subnet(name: str, item: Item, symbols: SymbolTable, siblings: list[Subnet], external: bool) -> Subnet | None:
    fields = item.fields(("cidr", "gateway", "dns_nameservers"), required=("cidr",))
    cidr = read_subnet_range(fields["cidr"]) if "cidr" in fields else None
    if not read_name(item, name) or cidr is None:
        return None
    if name in symbols.subnets or any(name == sibling.name for sibling in siblings):
        item.fail("another network has a subnet with this name", value=name)
        return None
    for sibling in siblings:
        if sibling.cidr.overlaps(cidr):
            fields["cidr"].fail(f"overlaps {sibling.cidr} of {sibling.name} on the same network")
    nameservers = fields["dns_nameservers"].elements() if "dns_nameservers" in fields else []
    return Subnet(
        stable_id("subnet", name),
        name,
        cidr,
        _subnet_gateway(fields.get("gateway"), cidr, external),
        tuple(filter(None, map(read_address, nameservers))),
    )


def _subnet_gateway(item: Item | None, cidr: Network, external: bool) -> Address | None:
    """Return the gateway of a subnet: an address, None for ``null``, by default the first address of the subnet.

    On an external network the gateway may be an IPv6 link-local address, or an on-link address outside the subnet: both
    are common at hosting providers. On a tenant network it is the address of the router interface.
    """
    if item is None:
        return cidr[0] if cidr.num_addresses <= 2 else cidr[1]
    if item.is_null:
        return None
    address = read_address(item, link_local=external)
    if address is None:
        return None
    if address.version != cidr.version:
        item.fail(f"the address family differs from {cidr}")
        return None
    if is_network_or_broadcast(address, cidr) or (address not in cidr and not external):
        item.fail(f"not an address of a host in {cidr}")
        return None
    return address


# Hosts


def _host(name: str, item: Item, symbols: SymbolTable) -> Host | None:
    fields = item.fields(("network", "addresses", "routes"), required=("network", "addresses"))
    network = symbols.network(fields["network"]) if "network" in fields else None
    if network is None or "addresses" not in fields:
        return None
    addresses = _host_addresses(fields["addresses"], network, symbols)
    port_id = stable_id("port", "host", name)
    symbols.claim_port(item, network, port_id)
    connected = [address.network for address in addresses] or None
    routes = read_routes(fields.get("routes"), connected, {address.ip for address in addresses})
    routes += default_routes(network, addresses, routes)
    host = Host(stable_id("host", name), name, port_id, network, tuple(addresses), routes)
    symbols.hosts[name] = host
    symbols.host_addresses.update({(network.id, address.ip): host for address in addresses})
    return host


def _host_addresses(item: Item, network: VirtualNetwork, symbols: SymbolTable) -> list[Interface]:
    elements = item.elements()
    if not elements and item.node.value == []:
        item.fail("a host needs an address")
    addresses = []
    for element in elements:
        interface = _host_address(element, network)
        if interface is not None and symbols.claim_address(element, network, interface.ip):
            addresses.append(interface)
    return addresses


def _host_address(item: Item, network: VirtualNetwork) -> Interface | None:
    """Return an address in a subnet of the network; any other address must have the full prefix length."""
    parts = read_interface(item)
    if parts is None:
        return None
    address, length = parts
    subnet = network.subnet_of(address)
    if subnet is None:
        if length == address.max_prefixlen:
            return as_interface(address, length)
        item.fail(f"in no subnet of {network.name} (such an address must end in /{address.max_prefixlen})")
        return None
    if length not in (None, subnet.cidr.prefixlen):
        item.fail(f"the prefix length of {subnet.cidr} is not /{length}")
    if is_network_or_broadcast(address, subnet.cidr):
        item.fail(f"the network or broadcast address of {subnet.cidr}")
    return as_interface(address, subnet.cidr.prefixlen)
