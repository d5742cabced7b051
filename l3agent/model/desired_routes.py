# SPDX-License-Identifier: Apache-2.0
"""The routes that a payload asks for: default ones, what is on link beside the connected subnets, the tenant's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address, ip_network

from l3agent.exceptions import Unroutable
from l3agent.model.payload import Node
from l3agent.model.states import Address, Network, NextHop, Port, Route, is_end

_EVERYTHING: Mapping[int, Network] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def routes(
    router: Node,
    ports: Iterable[Port],
    gateway: Port | None,
    own: frozenset[Address],
    ipv6_gateway: IPv6Address | None,
    notes: list[str],
) -> frozenset[Route]:
    """Return all routes but the connected ones, which the kernel makes.

    :param ports: all of the router, the gateway among them.
    :param own: all addresses of the router, floating ones too.
    :param ipv6_gateway: IPv6 next hop where no subnet of the external network names one.
    :param notes: takes what is left out, and why.
    :raises InvalidRouter: a value breaks the contract; the error names its path.
    """
    direct = {interface.network: port.device for port in ports for interface in port.addresses}
    defaults: dict[Network, frozenset[NextHop]] = {}
    on_link: dict[Network, str] = {}
    if gateway is not None:
        defaults = _default_routes(router["gw_port"], gateway, own, notes)
        if ipv6_gateway is not None and gateway.speaks_ipv6 and ipv6_gateway not in own:
            defaults.setdefault(_EVERYTHING[6], frozenset({NextHop(gateway.device, ipv6_gateway)}))
        on_link = _gateways_off_link(defaults, gateway) | _extra_subnets(router["gw_port"], gateway, direct, notes)
    extra = _extra_routes(router, own, direct | on_link, notes)
    hops = defaults | {network: frozenset({NextHop(device, None)}) for network, device in on_link.items()} | extra
    return frozenset(Route(destination, via) for destination, via in hops.items())


def _default_routes(
    gw_port: Node, gateway: Port, own: frozenset[Address], notes: list[str]
) -> dict[Network, frozenset[NextHop]]:
    """Return the default route of each family that the gateway port has an address of."""
    families = {interface.version for interface in gateway.addresses}
    found: dict[Network, frozenset[NextHop]] = {}
    for subnet in gw_port["subnets"].elements():
        if not subnet["gateway_ip"].given():
            continue
        via = subnet["gateway_ip"].address()
        if via in own:
            notes.append(f"default route via {via} left out: that is an address of the router itself")
        elif via.version in families:
            found[_EVERYTHING[via.version]] = frozenset({NextHop(gateway.device, via)})
    return found


def _gateways_off_link(defaults: Mapping[Network, frozenset[NextHop]], gateway: Port) -> dict[Network, str]:
    """Return what makes a gateway outside its subnet reachable: the host itself, on link."""
    hops = (hop.via for via in defaults.values() for hop in via if hop.via is not None)
    return {
        ip_network(via): gateway.device
        for via in hops
        if not (via.version == 6 and via.is_link_local)
        and not any(via in interface.network for interface in gateway.addresses)
    }


def _extra_subnets(
    gw_port: Node, gateway: Port, connected: Mapping[Network, str], notes: list[str]
) -> dict[Network, str]:
    """Return the other subnets of the external network, which are on link although the port has no address there."""
    found: dict[Network, str] = {}
    for node in gw_port["extra_subnets"].elements():
        network = node["cidr"].network()
        if network.prefixlen == 0:
            raise node["cidr"].refusal("a subnet cannot be the whole of a family")
        rivals = [other for other, device in connected.items() if device != gateway.device and other.overlaps(network)]
        if rivals:
            notes.append(f"on-link route to {network} left out: it overlaps the internal subnet {rivals[0]}")
        elif network not in connected:
            found[network] = gateway.device
    return found


def _extra_routes(
    router: Node, own: frozenset[Address], direct: Mapping[Network, str], notes: list[str]
) -> dict[Network, frozenset[NextHop]]:
    """Return the routes of the tenant; equal destinations share the traffic.

    What a server takes from a tenant and no kernel can do costs that route alone, not the rest of the router.
    """
    hops: dict[Network, set[NextHop]] = {}
    for node in router["routes"].elements():
        try:
            destination, via = node["destination"].network(), node["nexthop"].address()
        except Unroutable as exc:
            notes.append(f"route left out: {exc}")
            continue
        device = _device_towards(via, direct)
        if destination.version != via.version:
            notes.append(f"route to {destination} via {via} left out: they are not of one family")
        elif destination in direct:
            notes.append(f"route to {destination} via {via} left out: the router is in that network itself")
        elif via in own or device is None:
            notes.append(f"route to {destination} via {via} left out: no port of the router reaches the next hop")
        else:
            hops.setdefault(destination, set()).add(NextHop(device, via))
    return {destination: frozenset(members) for destination, members in hops.items()}


def _device_towards(via: Address, direct: Mapping[Network, str]) -> str | None:
    """Return the device that reaches a neighbour: the longest prefix wins."""
    spans = [network for network in direct if via in network and not is_end(via, network)]
    return direct[max(spans, key=lambda network: network.prefixlen)] if spans else None
