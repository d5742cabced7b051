# SPDX-License-Identifier: Apache-2.0
"""Ports of a router: validation, and conflicts between ports.

A port or address that cannot be served is skipped and named in a warning. If two ports or addresses exclude each
other, their values decide which one is served, not their position in a list: the gateway precedes the internal ports,
which are ordered by id; within a port, the lower address and then the shorter prefix length comes first.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_interface

from l3agent.exceptions import InvalidRouter
from l3agent.model.names import GATEWAY_DEVICE, INTERNAL_DEVICE, device_name
from l3agent.model.payload import Node, skip_warning
from l3agent.model.states import Address, Interface, Network, Port, ipv6_obstacle, is_network_or_broadcast
from l3agent.model.validators import MTU_MAX, MTU_MIN

_OWNER = {INTERNAL_DEVICE: "network:router_interface", GATEWAY_DEVICE: "network:router_gateway"}


@dataclass(frozen=True, slots=True)
class UsablePort:
    """A port that is served, with its payload.

    :param label: name of the port in warnings.
    :param nat_address: the first IPv4 address in the order of the payload, which Neutron chooses for SNAT.
    """

    node: Node
    label: str
    port: Port
    nat_address: IPv4Address | None


def usable_ports(router: Node, warnings: list[str]) -> tuple[UsablePort | None, list[UsablePort]]:
    """Return the gateway port (None if there is no usable one) and the internal ports.

    :param warnings: receives one line per skipped port or address.
    :raises InvalidRouter: ``_interfaces`` is not a list.
    """
    internal = [_read_port(node, INTERNAL_DEVICE, warnings) for node in router["_interfaces"].elements()]
    drafts = sorted((draft for draft in internal if draft is not None), key=_order)
    claims = _Claims()
    gw_port = _read_port(router["gw_port"], GATEWAY_DEVICE, warnings) if router["gw_port"].is_set() else None
    gateway = _claim(gw_port, claims, warnings) if gw_port is not None else None
    return gateway, [port for draft in drafts if (port := _claim(draft, claims, warnings)) is not None]


# Validation of a single port


@dataclass(frozen=True, slots=True)
class _Draft:
    """A port whose own values are valid; ``addresses`` keep the order of the payload."""

    node: Node
    label: str
    prefix: str
    id: str
    network_id: str
    mac: str
    mtu: int | None
    addresses: list[Interface]


def _order(draft: _Draft) -> tuple[object, ...]:
    return draft.id, draft.network_id, draft.mac, draft.mtu or 0, sorted(map(_address_order, draft.addresses))


def _address_order(interface: Interface) -> tuple[int, int, int]:
    return interface.version, int(interface), interface.network.prefixlen


def _read_port(node: Node, prefix: str, warnings: list[str]) -> _Draft | None:
    """Return a port; None if it is skipped, or if an internal port is down or has no address."""
    label = node.label("port")
    try:
        if prefix == INTERNAL_DEVICE and not (node["admin_state_up"].flag(True) and node["fixed_ips"].elements()):
            return None
        owner = node["device_owner"]
        if owner.is_set() and owner.text() != _OWNER[prefix]:
            raise owner.error(f"expected {_OWNER[prefix]}")
        port_id, network_id, mac = node["id"].identifier(), node["network_id"].identifier(), node["mac_address"].mac()
        addresses = _addresses(node, label, warnings)
        if node["fixed_ips"].elements() and not addresses:
            raise node["fixed_ips"].error("none of the addresses can be served")
    except InvalidRouter as error:
        warnings.append(skip_warning(label, node, error))
        return None
    mtu = _mtu(node, label, warnings)
    if (obstacle := ipv6_obstacle(mtu)) is not None:
        addresses = _without_ipv6(addresses, label, obstacle, warnings)
    return _Draft(node, label, prefix, port_id, network_id, mac, mtu, addresses)


def _mtu(port: Node, label: str, warnings: list[str]) -> int | None:
    node = port["mtu"]
    if not node.is_set() or node.value == 0:
        return None
    try:
        return node.integer(MTU_MIN, MTU_MAX)
    except InvalidRouter as error:
        warnings.append(skip_warning(f"MTU of {label}", node, error))
        return None


def _without_ipv6(addresses: list[Interface], label: str, obstacle: str, warnings: list[str]) -> list[Interface]:
    warnings.extend(
        f"address {interface} of {label} skipped: {obstacle}" for interface in addresses if interface.version == 6
    )
    return [interface for interface in addresses if interface.version == 4]


def _addresses(port: Node, label: str, warnings: list[str]) -> list[Interface]:
    """Return the valid addresses of a port, in the order of the payload."""
    found: list[Interface] = []
    for node in port["fixed_ips"].elements():
        try:
            found.append(_address(node, port))
        except InvalidRouter as error:
            warnings.append(skip_warning(f"address of {label}", node, error))
    return found


def _address(node: Node, port: Node) -> Interface:
    address = node["ip_address"].address()
    interface = ip_interface((address, _prefix_length(node, address, port)))
    network = interface.network
    if address.version == 6 and address.is_link_local:
        raise node["ip_address"].error("the link-local address follows from the MAC address")
    if isinstance(network, IPv4Network) and is_network_or_broadcast(address, network):
        raise node["ip_address"].error(f"the network or broadcast address of {network}")
    return interface


def _prefix_length(node: Node, address: Address, port: Node) -> int:
    if node["prefixlen"].is_set():
        return node["prefixlen"].integer(1, address.max_prefixlen)
    subnet_id = node["subnet_id"].text()
    subnet = next((one for one in port["subnets"].elements() if one.member("id") == subnet_id), None)
    if subnet is None:
        raise node["subnet_id"].error("neither a prefixlen nor a subnet with this id")
    network = subnet["cidr"].network()
    if address not in network or network.prefixlen == 0:
        raise node["ip_address"].error(f"not in its subnet {network}")
    return network.prefixlen


# Conflicts between ports


class _Claims:
    """Names and networks of the ports accepted so far."""

    def __init__(self) -> None:
        #: Names of devices, taps and bridges hold 11 characters of an id: ids with the same 11 characters collide.
        self.names: dict[str, str] = {}
        self.bridges: dict[str, str] = {}
        #: Disjoint address ranges by IP version, in order: first and last address, label of the port, network.
        self._spans: dict[int, list[tuple[int, int, str, Network]]] = {4: [], 6: []}

    def claim_network(self, network: Network, label: str) -> str | None:
        """Return the network of another port that overlaps; claim the network for ``label`` if there is none.

        Two networks are nested or disjoint, so overlapping networks are adjacent in the ordered list.
        """
        spans = self._spans[network.version]
        first, last = int(network.network_address), int(network.broadcast_address)
        low, high = bisect_left(spans, first, key=lambda span: span[1]), bisect_right(spans, last, key=lambda s: s[0])
        for span in spans[low:high]:
            if span[2] != label:
                return f"{span[3]} of {span[2]}"
        if low == high or (spans[low][0] >= first and spans[low][1] <= last):
            spans[low:high] = [(first, last, label, network)]
        return None


def _claim(draft: _Draft, claims: _Claims, warnings: list[str]) -> UsablePort | None:
    """Return a port with the addresses that no earlier port excludes; None if it is skipped."""
    name, bridge = device_name("", draft.id), device_name("", draft.network_id)
    label = draft.label
    if name in claims.names:
        warnings.append(f"{label} skipped: its id begins with the same 11 characters as {claims.names[name]}")
        return None
    if claims.bridges.get(bridge, draft.network_id) != draft.network_id:
        other = claims.bridges[bridge]
        warnings.append(f"{label} skipped: network {draft.network_id} begins with the same 11 characters as {other}")
        return None
    addresses = _claim_addresses(draft, claims, warnings)
    if not addresses and not (draft.prefix == GATEWAY_DEVICE and not draft.node["fixed_ips"].elements()):
        warnings.append(f"{label} skipped: none of the addresses can be served")
        return None
    claims.names[name], claims.bridges[bridge] = label, draft.network_id
    device = device_name(draft.prefix, draft.id)
    port = Port(draft.id, draft.network_id, device, draft.mac, draft.mtu, frozenset(addresses))
    return UsablePort(draft.node, label, port, _first_ipv4(draft.addresses, addresses))


def _claim_addresses(draft: _Draft, claims: _Claims, warnings: list[str]) -> set[Interface]:
    accepted: dict[Address, Interface] = {}
    for interface in sorted(draft.addresses, key=_address_order):
        if interface.ip in accepted:
            warnings.append(f"address {interface} of {draft.label} skipped: the port has {accepted[interface.ip]}")
        elif other := claims.claim_network(interface.network, draft.label):
            network = interface.network
            warnings.append(f"address {interface} of {draft.label} skipped: {network} overlaps {other}")
        else:
            accepted[interface.ip] = interface
    return set(accepted.values())


def _first_ipv4(ordered: Iterable[Interface], accepted: Collection[Interface]) -> IPv4Address | None:
    addresses = (interface.ip for interface in ordered if interface in accepted)
    return next((address for address in addresses if isinstance(address, IPv4Address)), None)
