# SPDX-License-Identifier: Apache-2.0
"""From the payload of a router, as the server sends it, to the state that should exist. Pure; all validation is here.

What is wrong is refused with its path (:class:`InvalidRouter`). What is right but cannot be had at the moment (an
extra route whose next hop nobody reaches, a floating IP without a gateway) is left out and named in the notes, so that
a tenant who removes a gateway does not freeze the rest of the router.

Where Neutron's agent leaves a choice to the order of its commands, the outcome here is the same by rule:

* several subnets of one family on the gateway port: the last one with a gateway has the default route, because each
  default route replaces the one before;
* an extra route to everything (``0.0.0.0/0``, ``::/0``) replaces the default route of the gateway;
* the admin state of the gateway port is ignored, that of an internal port counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_interface
from typing import Any

from l3agent.exceptions import RouterNotCompatible, RouterNotWanted
from l3agent.model.desired_routes import routes
from l3agent.model.forms import MTU_MAX, MTU_MIN
from l3agent.model.names import GATEWAY_DEVICE, INTERNAL_DEVICE, device_name
from l3agent.model.payload import Node
from l3agent.model.states import IPV6_MTU_MIN, Address, FloatingIP, Interface, Network, Port, RouterState, is_end

_OWNER = {INTERNAL_DEVICE: "network:router_interface", GATEWAY_DEVICE: "network:router_gateway"}


def desired_state(
    payload: Mapping[str, Any],
    *,
    handle_internal_only_routers: bool = True,
    ipv6_gateway: IPv6Address | None = None,
) -> RouterState:
    """Return the state that a router should have.

    :param payload: one element of the server's answer to ``sync_routers``; unknown keys are ignored.
    :param handle_internal_only_routers: serve routers without a gateway too.
    :param ipv6_gateway: IPv6 next hop where no subnet of the external network names one; often link-local.
    :raises InvalidRouter: a value breaks the contract; the error names its path.
    :raises RouterNotCompatible: the router is of a kind that this agent does not serve.
    :raises RouterNotWanted: the router is administratively down, or internal only where those are left out.
    """
    router = Node("", payload)
    _refuse_what_is_not_served(router, handle_internal_only_routers)
    nodes = {node: _port(node, INTERNAL_DEVICE) for node in _plugged(router["_interfaces"])}
    ports = frozenset(nodes.values())
    gateway = _port(router["gw_port"], GATEWAY_DEVICE) if router["gw_port"].given() else None
    if gateway is not None:
        nodes[router["gw_port"]] = gateway
    _refuse_clashes(nodes)
    notes = _scopes_apart(nodes)
    own = frozenset(interface.ip for port in nodes.values() for interface in port.addresses)
    floating_ips = _floating_ips(router, gateway, own, notes)
    floating = {pair.floating for pair in floating_ips}
    nat_address = _nat_address(router["gw_port"])
    return RouterState(
        id=router["id"].identifier(),
        ports=ports,
        gateway=gateway,
        routes=routes(router, nodes.values(), gateway, own | floating, ipv6_gateway, notes),
        floating_ips=floating_ips,
        nat_address=nat_address,
        snat=_snat_enabled(router) and nat_address is not None,
        notes=tuple(notes),
    )


def named_floating_ips(payload: Mapping[str, Any]) -> dict[str, FloatingIP]:
    """Return by id the floating IPs that a payload names, whatever else of it may be wrong.

    :raises InvalidRouter: of these a value breaks the contract.
    """
    nodes = [node for node in Node("", payload)["_floatingips"].elements() if node["fixed_ip_address"].given()]
    return {node["id"].text(): _floating_ip(node) for node in nodes}


def _refuse_what_is_not_served(router: Node, handle_internal_only_routers: bool) -> None:
    for kind in ("ha", "distributed"):
        if router[kind].flag(False):
            raise RouterNotCompatible(f"{kind}: true: this agent serves neither HA nor distributed routers")
    if not router["admin_state_up"].flag(True):
        raise RouterNotWanted("admin_state_up: false: the router is administratively down")
    if not router["gw_port"].given() and not handle_internal_only_routers:
        raise RouterNotWanted("gw_port: none, and handle_internal_only_routers is off")


def _scopes_apart(nodes: Mapping[Node, Port]) -> list[str]:
    """Name the families in which Neutron's own agent would keep networks of several address scopes apart."""
    found: dict[int, set[str]] = {4: set(), 6: set()}
    for node, port in nodes.items():
        scopes = node["address_scopes"].value
        # A network without addresses of a family has no scope there, and no traffic.
        for version in {interface.version for interface in port.addresses} if isinstance(scopes, Mapping) else ():
            found[version].add(str(scopes.get(str(version)) or "no scope"))
    return [
        f"address scopes are not kept apart: IPv{version} goes between the networks of {', '.join(sorted(several))}"
        for version, several in found.items()
        if len(several) > 1
    ]


def _plugged(interfaces: Node) -> list[Node]:
    """Keep the ports that are up and have an address."""
    return [
        node for node in interfaces.elements() if node["admin_state_up"].flag(True) and node["fixed_ips"].elements()
    ]


# Ports


def _port(node: Node, prefix: str) -> Port:
    owner = node["device_owner"]
    if owner.given() and owner.text() != _OWNER[prefix]:
        raise owner.refusal(f"expected {_OWNER[prefix]}")
    port_id = node["id"].identifier()
    addresses = frozenset(_fixed_ips(node))
    return Port(
        id=port_id,
        network_id=node["network_id"].identifier(),
        device=device_name(prefix, port_id),
        mac=node["mac_address"].mac(),
        mtu=_mtu(node["mtu"], any(address.version == 6 for address in addresses)),
        addresses=addresses,
    )


def _mtu(node: Node, ipv6: bool) -> int | None:
    if not node.given() or node.value == 0:
        return None
    return node.integer(IPV6_MTU_MIN if ipv6 else MTU_MIN, MTU_MAX)


def _fixed_ips(port: Node) -> list[Interface]:
    """Return the addresses of a port in the order of the payload."""
    lengths = {subnet["id"].value: subnet["cidr"] for subnet in port["subnets"].elements() if subnet["id"].text()}
    return [_fixed_ip(node, lengths) for node in port["fixed_ips"].elements()]


def _fixed_ip(node: Node, cidrs: Mapping[str, Node]) -> Interface:
    address = node["ip_address"].address()
    interface = ip_interface((address, _prefix_length(node, address, cidrs)))
    network = interface.network
    if address.version == 6 and address.is_link_local:
        raise node["ip_address"].refusal("the link-local address follows from the MAC address")
    if isinstance(network, IPv4Network) and is_end(address, network):
        raise node["ip_address"].refusal(f"the network or broadcast address of {network}")
    return interface


def _prefix_length(node: Node, address: Address, cidrs: Mapping[str, Node]) -> int:
    if node["prefixlen"].given():
        return node["prefixlen"].integer(1, address.max_prefixlen)
    subnet_id = node["subnet_id"]
    if subnet_id.text() not in cidrs:
        raise subnet_id.refusal("neither a prefixlen nor a subnet with this id")
    network = cidrs[subnet_id.text()].network()
    if address not in network or network.prefixlen == 0:
        raise node["ip_address"].refusal(f"not in its subnet {network}")
    return network.prefixlen


# What two ports must not share


def _refuse_clashes(nodes: Mapping[Node, Port]) -> None:
    _refuse_equal_names(nodes)
    _refuse_equal_addresses(nodes)
    _refuse_overlaps(nodes)


def _refuse_equal_names(nodes: Mapping[Node, Port]) -> None:
    """Devices and bridges carry 11 characters of an id: two ids that begin alike would share one."""
    devices: set[str] = set()
    bridges: dict[str, str] = {}
    for node, port in nodes.items():
        name = device_name("", port.id)
        if name in devices:
            raise node["id"].refusal("another port of this router begins with the same 11 characters")
        devices.add(name)
        if bridges.setdefault(device_name("", port.network_id), port.network_id) != port.network_id:
            raise node["network_id"].refusal("another network of this router begins with the same 11 characters")


def _refuse_equal_addresses(nodes: Mapping[Node, Port]) -> None:
    seen: set[Address] = set()
    for node in nodes:
        for fixed, interface in zip(node["fixed_ips"].elements(), _fixed_ips(node), strict=True):
            if interface.ip in seen:
                raise fixed["ip_address"].refusal("this router has the address already")
            seen.add(interface.ip)


def _refuse_overlaps(nodes: Mapping[Node, Port]) -> None:
    """Networks nest or are apart, so in sorted order an overlap shows between one and the last that still spans it."""
    spans = [(interface.network, node) for node, port in nodes.items() for interface in port.addresses]
    spans.sort(key=lambda span: (span[0].version, int(span[0].network_address), span[0].prefixlen))
    open_spans: list[tuple[Network, Node]] = []
    for network, node in spans:
        while open_spans and network.network_address not in open_spans[-1][0]:
            open_spans.pop()
        if open_spans and open_spans[-1][1] is not node:
            outer, other = open_spans[-1]
            raise node["fixed_ips"].refusal(f"{network} overlaps {outer} of {other.path}")
        open_spans.append((network, node))


# Addresses that stand for others


def _nat_address(gw_port: Node) -> IPv4Address | None:
    """Return the first IPv4 address of the gateway port, as Neutron chooses it."""
    addresses = (interface.ip for interface in _fixed_ips(gw_port)) if gw_port.given() else ()
    return next((address for address in addresses if isinstance(address, IPv4Address)), None)


def _snat_enabled(router: Node) -> bool:
    info = router["external_gateway_info"]
    return router["enable_snat"].flag(info["enable_snat"].flag(True) if info.given() else True)


def _floating_ips(
    router: Node, gateway: Port | None, own: frozenset[Address], notes: list[str]
) -> frozenset[FloatingIP]:
    """Pair floating with fixed addresses; those that stand for nothing yet have no fixed address and are left out."""
    floating: dict[Address, FloatingIP] = {}
    fixed: set[Address] = set()
    for node in router["_floatingips"].elements():
        if not node["fixed_ip_address"].given():
            continue
        pair = _floating_ip(node)
        if pair.floating in own or pair.floating in floating:
            raise node["floating_ip_address"].refusal("this router has the address already")
        if pair.fixed in fixed:
            raise node["fixed_ip_address"].refusal("another floating IP stands for this address already")
        floating[pair.floating] = pair
        fixed.add(pair.fixed)
    if gateway is None:
        notes.extend(f"floating IP {address} left out: the router has no gateway" for address in floating)
        return frozenset()
    return frozenset(floating.values())


def _floating_ip(node: Node) -> FloatingIP:
    return FloatingIP(_ipv4(node["floating_ip_address"]), _ipv4(node["fixed_ip_address"]))


def _ipv4(node: Node) -> IPv4Address:
    address = node.address()
    if not isinstance(address, IPv4Address):
        raise node.refusal("expected an IPv4 address")
    return address
