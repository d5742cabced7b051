# SPDX-License-Identifier: Apache-2.0
"""The ports of a router that can be served, and what two of them must not share.

A port or an address that cannot be served is skipped and named in a warning. Which of two that exclude each other
stays follows from their values, never from their place in a list: the gateway comes before the internal ports, and
these in the order of their ids; in a port, the lower address and the shorter prefix come first.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_interface

from l3agent.exceptions import InvalidRouter
from l3agent.model.names import GATEWAY_DEVICE, INTERNAL_DEVICE, device_name
from l3agent.model.payload import Node, skipped
from l3agent.model.states import IPV6_MTU_MIN, Address, Interface, Network, Port, is_end
from l3agent.model.validators import MTU_MAX, MTU_MIN

_OWNER = {INTERNAL_DEVICE: "network:router_interface", GATEWAY_DEVICE: "network:router_gateway"}


@dataclass(frozen=True, slots=True)
class UsablePort:
    """A port that is served, and the payload that it comes from.

    :param label: names the port in a warning.
    :param nat_address: the first IPv4 address in the order of the payload, which Neutron chooses for SNAT.
    """

    node: Node
    label: str
    port: Port
    nat_address: IPv4Address | None


def usable_ports(router: Node, warnings: list[str]) -> tuple[UsablePort | None, list[UsablePort]]:
    """Return the gateway port, None without a usable one, and the internal ports.

    :param warnings: gains one line for each port or address that is skipped.
    :raises InvalidRouter: ``_interfaces`` is not a list.
    """
    internal = [_read_port(node, INTERNAL_DEVICE, warnings) for node in router["_interfaces"].elements()]
    drafts = sorted((draft for draft in internal if draft is not None), key=_rank)
    claims = _Claims()
    gw_port = _read_port(router["gw_port"], GATEWAY_DEVICE, warnings) if router["gw_port"].given() else None
    gateway = _claim(gw_port, claims, warnings) if gw_port is not None else None
    return gateway, [port for draft in drafts if (port := _claim(draft, claims, warnings)) is not None]


# One port


@dataclass(frozen=True, slots=True)
class _Draft:
    """A port whose own values are right; ``addresses`` are in the order of the payload."""

    node: Node
    label: str
    prefix: str
    id: str
    network_id: str
    mac: str
    mtu: int | None
    addresses: list[Interface]


def _rank(draft: _Draft) -> tuple[object, ...]:
    return draft.id, draft.network_id, draft.mac, draft.mtu or 0, sorted(map(_address_rank, draft.addresses))


def _address_rank(interface: Interface) -> tuple[int, int, int]:
    return interface.version, int(interface), interface.network.prefixlen


def _read_port(node: Node, prefix: str, warnings: list[str]) -> _Draft | None:
    """Return a port; None if it is skipped, or is an internal one that is down or has no address."""
    label = node.label("port")
    try:
        if prefix == INTERNAL_DEVICE and not (node["admin_state_up"].flag(True) and node["fixed_ips"].elements()):
            return None
        owner = node["device_owner"]
        if owner.given() and owner.text() != _OWNER[prefix]:
            raise owner.refusal(f"expected {_OWNER[prefix]}")
        port_id, network_id, mac = node["id"].identifier(), node["network_id"].identifier(), node["mac_address"].mac()
        addresses = _addresses(node, label, warnings)
        if node["fixed_ips"].elements() and not addresses:
            raise node["fixed_ips"].refusal("none of the addresses can be served")
    except InvalidRouter as error:
        warnings.append(skipped(label, node, error))
        return None
    mtu = _mtu(node, label, warnings)
    if mtu is not None and mtu < IPV6_MTU_MIN:
        addresses = _without_ipv6(addresses, label, mtu, warnings)
    return _Draft(node, label, prefix, port_id, network_id, mac, mtu, addresses)


def _mtu(port: Node, label: str, warnings: list[str]) -> int | None:
    node = port["mtu"]
    if not node.given() or node.value == 0:
        return None
    try:
        return node.integer(MTU_MIN, MTU_MAX)
    except InvalidRouter as error:
        warnings.append(skipped(f"MTU of {label}", node, error))
        return None


def _without_ipv6(addresses: list[Interface], label: str, mtu: int, warnings: list[str]) -> list[Interface]:
    warnings.extend(
        f"address {interface} of {label} skipped: IPv6 needs an MTU of {IPV6_MTU_MIN}, the port has {mtu}"
        for interface in addresses
        if interface.version == 6
    )
    return [interface for interface in addresses if interface.version == 4]


def _addresses(port: Node, label: str, warnings: list[str]) -> list[Interface]:
    """Return the addresses of a port that can be served, in the order of the payload."""
    found: list[Interface] = []
    for node in port["fixed_ips"].elements():
        try:
            found.append(_address(node, port))
        except InvalidRouter as error:
            warnings.append(skipped(f"address of {label}", node, error))
    return found


def _address(node: Node, port: Node) -> Interface:
    address = node["ip_address"].address()
    interface = ip_interface((address, _prefix_length(node, address, port)))
    network = interface.network
    if address.version == 6 and address.is_link_local:
        raise node["ip_address"].refusal("the link-local address follows from the MAC address")
    if isinstance(network, IPv4Network) and is_end(address, network):
        raise node["ip_address"].refusal(f"the network or broadcast address of {network}")
    return interface


def _prefix_length(node: Node, address: Address, port: Node) -> int:
    if node["prefixlen"].given():
        return node["prefixlen"].integer(1, address.max_prefixlen)
    subnet_id = node["subnet_id"].text()
    subnet = next((one for one in port["subnets"].elements() if one.member("id") == subnet_id), None)
    if subnet is None:
        raise node["subnet_id"].refusal("neither a prefixlen nor a subnet with this id")
    network = subnet["cidr"].network()
    if address not in network or network.prefixlen == 0:
        raise node["ip_address"].refusal(f"not in its subnet {network}")
    return network.prefixlen


# What two ports must not share


class _Claims:
    """What the ports accepted so far have for themselves."""

    def __init__(self) -> None:
        #: Devices, taps and bridges carry 11 characters of an id: two ids that begin alike would share one.
        self.names: dict[str, str] = {}
        self.bridges: dict[str, str] = {}
        #: By IP version, in order: first and last address, and the label of the port. They are disjoint.
        self._spans: dict[int, list[tuple[int, int, str, Network]]] = {4: [], 6: []}

    def overlap(self, network: Network, label: str) -> str | None:
        """Return which network of another port overlaps this one; claim it for ``label`` if there is none.

        Networks nest or are disjoint, so the ones that overlap are neighbours in order.
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
    """Return a port with those of its addresses that no port before it excludes; None if it is skipped."""
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
    for interface in sorted(draft.addresses, key=_address_rank):
        if interface.ip in accepted:
            warnings.append(f"address {interface} of {draft.label} skipped: the port has {accepted[interface.ip]}")
        elif other := claims.overlap(interface.network, draft.label):
            network = interface.network
            warnings.append(f"address {interface} of {draft.label} skipped: {network} overlaps {other}")
        else:
            accepted[interface.ip] = interface
    return set(accepted.values())


def _first_ipv4(ordered: Iterable[Interface], accepted: Collection[Interface]) -> IPv4Address | None:
    addresses = (interface.ip for interface in ordered if interface in accepted)
    return next((address for address in addresses if isinstance(address, IPv4Address)), None)
