# SPDX-License-Identifier: Apache-2.0
"""Routes of a router: default routes, on-link routes beside the connected subnets, and extra routes of the tenant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address, ip_network

from l3agent.exceptions import InvalidRouter
from l3agent.model.payload import Node, skip_warning
from l3agent.model.states import Address, Network, NextHop, Port, Route, is_host_address

_EVERYTHING: Mapping[int, Network] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def routes(
    router: Node,
    ports: Iterable[Port],
    gateway: Port | None,
    own: frozenset[Address],
    ipv6_gateway: IPv6Address | None,
    warnings: list[str],
) -> frozenset[Route]:
    """Return all routes except connected routes, which the kernel creates.

    :param ports: all ports of the router, including the gateway.
    :param own: all addresses of the router, including floating addresses.
    :param ipv6_gateway: IPv6 next hop if no subnet of the external network has a gateway.
    :param warnings: receives one line per skipped route.
    """
    direct = {interface.network: port.device for port in ports for interface in port.addresses}
    defaults: dict[Network, frozenset[NextHop]] = {}
    on_link: dict[Network, str] = {}
    if gateway is not None:
        defaults = _default_routes(router["gw_port"], gateway, own, warnings)
        if ipv6_gateway is not None and gateway.has_ipv6 and ipv6_gateway not in own:
            defaults.setdefault(_EVERYTHING[6], frozenset({NextHop(gateway.device, ipv6_gateway)}))
        on_link = _gateways_off_link(defaults, gateway) | _extra_subnets(router["gw_port"], gateway, direct, warnings)
    extra = _extra_routes(router, own, direct | on_link, warnings)
    hops = defaults | {network: frozenset({NextHop(device, None)}) for network, device in on_link.items()} | extra
    return frozenset(Route(destination, via) for destination, via in hops.items())


def _default_routes(
    gw_port: Node, gateway: Port, own: frozenset[Address], warnings: list[str]
) -> dict[Network, frozenset[NextHop]]:
    """Return the default route of each address family of the gateway port."""
    families = {interface.version for interface in gateway.addresses}
    found: dict[Network, frozenset[NextHop]] = {}
    for subnet in gw_port["subnets"].elements_or_warn(warnings):
        try:
            if not subnet["gateway_ip"].is_set():
                continue
            via = subnet["gateway_ip"].address()
        except InvalidRouter as error:
            warnings.append(skip_warning("default route", subnet, error))
            continue
        if via in own:
            warnings.append(f"default route via {via} skipped: the next hop is an address of the router itself")
        elif via.version in families:
            found[_EVERYTHING[via.version]] = frozenset({NextHop(gateway.device, via)})
    return found


def _gateways_off_link(defaults: Mapping[Network, frozenset[NextHop]], gateway: Port) -> dict[Network, str]:
    """Return on-link host routes to the gateways that lie outside the subnets of the port."""
    hops = (hop.via for via in defaults.values() for hop in via if hop.via is not None)
    return {
        ip_network(via): gateway.device
        for via in hops
        if not (via.version == 6 and via.is_link_local)
        and not any(via in interface.network for interface in gateway.addresses)
    }


def _extra_subnets(
    gw_port: Node, gateway: Port, connected: Mapping[Network, str], warnings: list[str]
) -> dict[Network, str]:
    """Return the other subnets of the external network, which are on link although the port has no address in them."""
    found: dict[Network, str] = {}
    for node in gw_port["extra_subnets"].elements_or_warn(warnings):
        try:
            network = node["cidr"].network()
            if network.prefixlen == 0:
                raise node["cidr"].error("a subnet cannot be the whole of a family")
        except InvalidRouter as error:
            warnings.append(skip_warning("on-link route", node, error))
            continue
        rivals = [other for other, device in connected.items() if device != gateway.device and other.overlaps(network)]
        if rivals:
            warnings.append(f"on-link route to {network} skipped: it overlaps the internal subnet {rivals[0]}")
        elif network not in connected:
            found[network] = gateway.device
    return found


def _extra_routes(
    router: Node, own: frozenset[Address], direct: Mapping[Network, str], warnings: list[str]
) -> dict[Network, frozenset[NextHop]]:
    """Return the extra routes of the tenant; equal destinations become one multipath route.

    The server accepts routes that no kernel can install; each of them is skipped, and the others are served.
    """
    hops: dict[Network, set[NextHop]] = {}
    for node in router["routes"].elements_or_warn(warnings):
        try:
            destination, via = node["destination"].network(), node["nexthop"].address()
        except InvalidRouter as error:
            warnings.append(skip_warning(_label(node), node, error))
            continue
        device = _device_towards(via, direct)
        if destination.version != via.version:
            warnings.append(f"{_label(node)} skipped: destination and next hop are not of one address family")
        elif destination in direct:
            warnings.append(f"{_label(node)} skipped: the destination is a connected network of the router")
        elif via in own or device is None:
            warnings.append(f"{_label(node)} skipped: no port of the router reaches the next hop")
        else:
            hops.setdefault(destination, set()).add(NextHop(device, via))
    return {destination: frozenset(members) for destination, members in hops.items()}


def _label(node: Node) -> str:
    return f"route to {node.format_member('destination')} via {node.format_member('nexthop')}"


def _device_towards(via: Address, direct: Mapping[Network, str]) -> str | None:
    """Return the device with the longest prefix that contains a neighbour."""
    spans = [network for network in direct if is_host_address(via, network)]
    return direct[max(spans, key=lambda network: network.prefixlen)] if spans else None
