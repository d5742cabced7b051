# SPDX-License-Identifier: Apache-2.0
"""Reads the routers of a topology file, after the networks and hosts to which they refer."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address

from l3agent.model.states import Address, Network, is_host_address
from l3agent.standalone.addresses import read_address
from l3agent.standalone.document import Item
from l3agent.standalone.entities import (
    Association,
    FixedIP,
    Host,
    Router,
    RouterPort,
    Subnet,
    VirtualNetwork,
    stable_id,
)
from l3agent.standalone.symbols import SymbolTable
from l3agent.standalone.topology_routes import read_routes


def read_router(name: str, item: Item, symbols: SymbolTable) -> Router:
    """Return the router of one description, and record its problems."""
    fields = item.fields(("admin_state_up", "agent", "gateway", "interfaces", "routes", "floating_ips"))
    before = len(item.problems.found)
    gateway, snat = _gateway(name, fields["gateway"], symbols) if "gateway" in fields else (None, True)
    interfaces = _interfaces(name, fields["interfaces"], symbols) if "interfaces" in fields else {}
    ports = (*interfaces.values(), *((gateway,) if gateway else ()))
    connected = [(fixed.subnet.cidr, place) for place, port in interfaces.items() for fixed in port.fixed_ips]
    if gateway is not None:
        connected += [(subnet.cidr, fields["gateway"]) for subnet in gateway.network.subnets]
    _reject_overlaps(connected)
    # Routes and floating IPs depend on the ports; after an invalid port they would add only consequential problems.
    is_valid = len(item.problems.found) == before
    own = {fixed.address for port in ports for fixed in port.fixed_ips}
    return Router(
        id=stable_id("router", name),
        name=name,
        admin_state_up="admin_state_up" not in fields or fields["admin_state_up"].boolean() is True,
        agent=fields["agent"].text() if "agent" in fields else None,
        gateway=gateway,
        snat=snat,
        interfaces=tuple(interfaces.values()),
        routes=read_routes(fields.get("routes"), [cidr for cidr, _ in connected] if is_valid else None, own),
        floating_ips=_floating_ips(fields.get("floating_ips"), gateway, tuple(interfaces.values()), symbols)
        if is_valid
        else (),
    )


# Ports


def _gateway(name: str, item: Item, symbols: SymbolTable) -> tuple[RouterPort | None, bool]:
    """Return the gateway and whether the router does SNAT."""
    fields = item.fields(("network", "addresses", "snat"), required=("network", "addresses"))
    snat = fields["snat"].boolean() is not False if "snat" in fields else True
    network = symbols.network(fields["network"]) if "network" in fields else None
    if network is None:
        return None, snat
    if not network.external:
        fields["network"].fail("not external: a gateway needs an external network")
    fixed_ips = _gateway_addresses(fields["addresses"], network, symbols) if "addresses" in fields else ()
    port = RouterPort(stable_id("port", "gateway", name, network.name), network, fixed_ips)
    symbols.claim_port(item, network, port.id)
    return port, snat


def _gateway_addresses(item: Item, network: VirtualNetwork, symbols: SymbolTable) -> tuple[FixedIP, ...]:
    elements = item.elements()
    if not elements and not item.is_scalar:
        item.fail("a gateway needs an address")
    found = []
    for element in elements:
        address = read_address(element)
        if address is None:
            continue
        subnet = network.subnet_of(address)
        if subnet is None:
            element.fail(f"in no subnet of {network.name}")
        elif address == subnet.gateway:
            element.fail(f"the address is the gateway of {subnet.name}")
        elif _claim(element, network, subnet, address, symbols):
            found.append(FixedIP(subnet, address))
    return tuple(found)


def _interfaces(name: str, item: Item, symbols: SymbolTable) -> dict[Item, RouterPort]:
    """Return the interfaces: names of subnets, or ``{subnet, address}`` for an address other than the gateway."""
    ports = {element: _interface(name, element, symbols) for element in item.elements()}
    return {element: port for element, port in ports.items() if port is not None}


def _interface(name: str, item: Item, symbols: SymbolTable) -> RouterPort | None:
    fields = item.fields(("subnet", "address"), required=("subnet",)) if item.is_mapping else {"subnet": item}
    found = symbols.subnet(fields["subnet"]) if "subnet" in fields else None
    if found is None:
        return None
    network, subnet = found
    if network.external:
        fields["subnet"].fail(f"subnet of the external network {network.name}: use gateway")
        return None
    address = read_address(fields["address"]) if "address" in fields else subnet.gateway
    if address is None:
        if "address" not in fields:
            item.fail("the subnet has no gateway: use {subnet: ..., address: ...}", value=subnet.name)
        return None
    place = fields.get("address", item)
    if not _claim(place, network, subnet, address, symbols):
        return None
    port = RouterPort(stable_id("port", "interface", name, subnet.name), network, (FixedIP(subnet, address),))
    symbols.claim_port(item, network, port.id)
    return port


def _claim(item: Item, network: VirtualNetwork, subnet: Subnet, address: Address, symbols: SymbolTable) -> bool:
    """Claim an address of a router; return False and record a problem if it is invalid or has another owner."""
    if not is_host_address(address, subnet.cidr):
        item.fail(f"not an address of a host in {subnet.cidr} ({subnet.name})", value=address)
        return False
    return symbols.claim_address(item, network, address)


def _reject_overlaps(connected: Iterable[tuple[Network, Item]]) -> None:
    """Record a problem for each range that overlaps one of another port.

    Two ranges are disjoint or nested, so in sorted order only the last enclosing range has to be compared.
    """
    spans = sorted(connected, key=lambda span: (span[0].version, int(span[0].network_address), span[0].prefixlen))
    outer: tuple[Network, Item] | None = None
    for cidr, item in spans:
        if outer is None or cidr.version != outer[0].version or cidr.network_address not in outer[0]:
            outer = (cidr, item)
        elif item is not outer[1]:
            item.fail(f"overlaps {outer[0]} of {outer[1].where} on the same router", value=cidr)


# Floating IPs


def _floating_ips(
    item: Item | None, gateway: RouterPort | None, interfaces: tuple[RouterPort, ...], symbols: SymbolTable
) -> tuple[Association, ...]:
    entries = item.entries() if item else {}
    if entries and item is not None and gateway is None:
        item.fail("floating IPs need a gateway")
        return ()
    found: dict[IPv4Address, Association] = {}
    for text, entry in entries.items():
        floating = _floating(text, entry, gateway, symbols) if gateway else None
        target = _target(entry, interfaces, symbols)
        if floating is None or target is None or gateway is None:
            continue
        fixed, network, host = target
        if fixed in found:
            entry.fail(f"{found[fixed].floating} of this router is already associated with it", value=fixed)
        found[fixed] = _association(floating, fixed, gateway.network, network, host)
    return tuple(found.values())


def _association(
    floating: IPv4Address, fixed: IPv4Address, external: VirtualNetwork, inside: VirtualNetwork, host: Host | None
) -> Association:
    port_id = host.port_id if host else stable_id("port", "elsewhere", inside.name, str(fixed))
    return Association(
        id=stable_id("floatingip", external.name, str(floating)),
        floating=floating,
        fixed=fixed,
        network=inside,
        port_id=port_id,
        host=host.name if host else None,
    )


def _floating(text: str, item: Item, gateway: RouterPort, symbols: SymbolTable) -> IPv4Address | None:
    """Return the floating address: unused, and in an IPv4 subnet of the gateway's network."""
    try:
        address = IPv4Address(text)
    except ValueError:
        item.fail("not an IPv4 address", value=text)
        return None
    subnet = gateway.network.subnet_of(address)
    if subnet is None:
        item.fail(f"in no subnet of {gateway.network.name}", value=address)
        return None
    if address == subnet.gateway:
        item.fail(f"the address is the gateway of {subnet.name}", value=address)
        return None
    return address if _claim(item, gateway.network, subnet, address, symbols) else None


def _target(
    item: Item, interfaces: tuple[RouterPort, ...], symbols: SymbolTable
) -> tuple[IPv4Address, VirtualNetwork, Host | None] | None:
    """Return the target of a floating IP: fixed address, its network, and the host if the file describes it."""
    text = item.text()
    if text is None:
        return None
    if symbols.has_host(text):
        host = symbols.hosts.get(text)
        return _address_of_host(item, host, interfaces) if host else None
    try:
        address = ip_address(text)
    except ValueError:
        item.fail("neither a host of this file nor an IPv4 address")
        return None
    network = _network_of(address, interfaces)
    if network is None or not isinstance(address, IPv4Address):
        item.fail("in no IPv4 subnet of this router")
        return None
    return address, network, symbols.host_addresses.get((network.id, address))


def _address_of_host(
    item: Item, host: Host, interfaces: tuple[RouterPort, ...]
) -> tuple[IPv4Address, VirtualNetwork, Host] | None:
    for interface in host.addresses:
        if isinstance(interface.ip, IPv4Address) and _network_of(interface.ip, interfaces) == host.network:
            return interface.ip, host.network, host
    item.fail("the host has no IPv4 address in a subnet of this router")
    return None


def _network_of(address: Address, interfaces: tuple[RouterPort, ...]) -> VirtualNetwork | None:
    for port in interfaces:
        for fixed in port.fixed_ips:
            if is_host_address(address, fixed.subnet.cidr):
                return port.network
    return None
