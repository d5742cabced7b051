# SPDX-License-Identifier: Apache-2.0
"""The topology file: YAML in, frozen values out, every problem with its line.

The file names things; ids and MAC addresses follow from the names (:mod:`l3agent.standalone.entities`).
A sample with comments is ``etc/l3agent/topology.yaml``.

What is read here is returned as far as it is known even where a part of it is wrong, so that what refers to it can be
checked in the same run; nothing of it leaves :func:`load` then.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from l3agent.model.states import IPV6_MTU_MIN, Address, Interface, Network, is_end
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
from l3agent.standalone.symbols import Directory
from l3agent.standalone.topology_routers import read_router
from l3agent.standalone.topology_routes import default_routes, read_routes

_T = TypeVar("_T")


def load(path: str | Path) -> Topology:
    """Read a topology file.

    :raises ConfigError: one line for each problem, ``file:line: where.in.the.file: value: what is wrong``.
    """
    root = read_document(Path(path))
    sections = root.fields(("networks", "routers", "hosts"))
    directory = Directory()
    networks = _named(sections, "network", _network, directory)
    hosts = _named(sections, "host", _host, directory)
    routers = _named(sections, "router", read_router, directory)
    root.problems.raise_any()
    return Topology(tuple(networks), tuple(routers), tuple(hosts))


def _named(
    sections: dict[str, Item], kind: str, read: Callable[[str, Item, Directory], _T | None], directory: Directory
) -> list[_T]:
    """Read a section that maps names to descriptions."""
    section = sections.get(f"{kind}s")
    found = []
    for name, item in section.entries().items() if section else ():
        entity = read(name, item, directory) if read_name(item, name) else None
        if entity is None:
            directory.refused.add(f"{kind} {name}")
        else:
            found.append(entity)
    return found


# Networks


def _network(name: str, item: Item, directory: Directory) -> VirtualNetwork:
    fields = item.fields(("external", "mtu", "subnets"), required=("subnets",))
    external, interface = _external(fields.get("external"), directory)
    subnets = _subnets(fields.get("subnets"), directory, external)
    ipv6 = any(subnet.cidr.version == 6 for subnet in subnets)
    mtu = fields["mtu"].integer(IPV6_MTU_MIN if ipv6 else MTU_MIN, MTU_MAX) if "mtu" in fields else None
    network = VirtualNetwork(stable_id("network", name), name, external, interface, mtu or DEFAULT_MTU, tuple(subnets))
    directory.networks[name] = network
    directory.subnets.update({subnet.name: (network, subnet) for subnet in subnets})
    return network


def _external(item: Item | None, directory: Directory) -> tuple[bool, str | None]:
    """Read ``external``: true, false, or the network card that leads outside."""
    if item is None:
        return False, None
    if not item.is_mapping:
        return bool(item.boolean()), None
    fields = item.fields(("interface",), required=("interface",))
    card = read_device(fields["interface"]) if "interface" in fields else None
    if card is not None:
        directory.claim_card(fields["interface"], card)
    return True, card


def _subnets(item: Item | None, directory: Directory, external: bool) -> list[Subnet]:
    subnets: list[Subnet] = []
    for name, entry in item.entries().items() if item else ():
        subnet = _subnet(name, entry, directory, subnets, external)
        if subnet is None:
            directory.refused.add(f"subnet {name}")
        else:
            subnets.append(subnet)
    return subnets


def _subnet(name: str, item: Item, directory: Directory, siblings: list[Subnet], external: bool) -> Subnet | None:
    fields = item.fields(("cidr", "gateway", "dns_nameservers"), required=("cidr",))
    cidr = read_subnet_range(fields["cidr"]) if "cidr" in fields else None
    if not read_name(item, name) or cidr is None:
        return None
    if name in directory.subnets or any(name == sibling.name for sibling in siblings):
        item.fail("another network has a subnet of this name", value=name)
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
    """Read ``gateway``: an address, or null for none; the first address of the subnet where nothing is said.

    On an external network it may be an IPv6 link-local address, or outside the subnet and reached on link: both are
    common at hosting providers. An interface of a router has the gateway of a tenant's subnet as its own address.
    """
    if item is None:
        return cidr[0] if cidr.num_addresses <= 2 else cidr[1]
    if item.is_null:
        return None
    address = read_address(item, link_local=external)
    if address is None:
        return None
    if address.version != cidr.version:
        item.fail(f"not of the family of {cidr}")
        return None
    if is_end(address, cidr) or (address not in cidr and not external):
        item.fail(f"no address of a machine in {cidr}")
        return None
    return address


# Hosts


def _host(name: str, item: Item, directory: Directory) -> Host | None:
    fields = item.fields(("network", "addresses", "routes"), required=("network", "addresses"))
    network = directory.network(fields["network"]) if "network" in fields else None
    if network is None or "addresses" not in fields:
        return None
    addresses = _host_addresses(fields["addresses"], network, directory)
    port_id = stable_id("port", "host", name)
    directory.claim_port(item, network, port_id)
    connected = [address.network for address in addresses] or None
    routes = read_routes(fields.get("routes"), connected, {address.ip for address in addresses})
    routes += default_routes(network, addresses, routes)
    host = Host(stable_id("host", name), name, port_id, network, tuple(addresses), routes)
    directory.hosts[name] = host
    directory.host_addresses.update({(network.id, address.ip): host for address in addresses})
    return host


def _host_addresses(item: Item, network: VirtualNetwork, directory: Directory) -> list[Interface]:
    elements = item.elements()
    if not elements and item.node.value == []:
        item.fail("a host needs an address")
    addresses = []
    for element in elements:
        interface = _host_address(element, network)
        if interface is not None and directory.claim_address(element, network, interface.ip):
            addresses.append(interface)
    return addresses


def _host_address(item: Item, network: VirtualNetwork) -> Interface | None:
    """Read an address in a subnet of the network; another one is allowed where its full length says it is meant."""
    parts = read_interface(item)
    if parts is None:
        return None
    address, length = parts
    subnet = network.subnet_of(address)
    if subnet is None:
        if length == address.max_prefixlen:
            return as_interface(address, length)
        item.fail(f"in no subnet of {network.name} (one that is not must end in /{address.max_prefixlen})")
        return None
    if length not in (None, subnet.cidr.prefixlen):
        item.fail(f"in {subnet.cidr}, so it cannot have /{length}")
    if is_end(address, subnet.cidr):
        item.fail(f"the network or broadcast address of {subnet.cidr}")
    return as_interface(address, subnet.cidr.prefixlen)
