# SPDX-License-Identifier: Apache-2.0
"""Additions: what extensions add to the namespaces of a router, merged in one place. Pure functions.

An addition claims the objects that it makes. An object has one owner: the router itself before any addition, then the
first addition. Addresses precede on-link routes, and these precede the rest, which may depend on them; within each,
the order is that of source, role and value. A later claim is skipped and named, and so is an invalid value.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from l3agent.exceptions import InvalidState
from l3agent.model.states import (
    MAIN_TABLE,
    FloatingIP,
    Interface,
    NamespaceKind,
    NamespaceState,
    Neighbour,
    Network,
    PolicyRule,
    Port,
    Route,
    RouterState,
    ipv6_obstacle,
    is_host_address,
    is_network_or_broadcast,
)
from l3agent.model.wire_namespace import pack_namespace, unpack_namespace

_ROUTER = "the router"


@dataclass(frozen=True, slots=True)
class PortAddress:
    """A further address of a port of the router."""

    device: str
    interface: Interface


Addable = Route | PolicyRule | Neighbour | FloatingIP | PortAddress


@dataclass(frozen=True, slots=True)
class Addition:
    """One object that an extension adds to a router.

    :param source: name of the extension; warnings name it.
    :param role: kind of the namespace that the object belongs to.
    """

    source: str
    role: NamespaceKind
    value: Addable


def merge_additions(state: RouterState, additions: Iterable[Addition]) -> RouterState:
    """Return a router with its additions; the result does not depend on their order.

    An addition is skipped and named in the warnings of the router if the router has no namespace of its role, if it
    claims an object that another addition or the router itself has, or if its value is not valid in that namespace.
    """
    chosen = sorted(set(additions), key=_order)
    if not chosen:
        return state
    warnings: list[str] = []
    namespaces = tuple(
        _merge(one, [addition for addition in chosen if addition.role == one.kind], warnings)
        for one in state.namespaces
    )
    roles = {one.kind for one in namespaces}
    warnings += [_skipped(one, f"the router has no {one.role} namespace") for one in chosen if one.role not in roles]
    merged = replace(state, namespaces=namespaces, warnings=tuple(sorted({*state.warnings, *warnings})))
    return replace(merged, added_floating_ips=merged.floating_ips - state.floating_ips)


def _merge(state: NamespaceState, additions: Iterable[Addition], warnings: list[str]) -> NamespaceState:
    owners = dict.fromkeys(_claims_of_namespace(state), _ROUTER)
    for addition in additions:
        claims = _claims(state, addition.value)
        reason = _invalid(state, addition.value)
        rival = next((owners[claim] for claim in claims if claim in owners), None)
        if reason is not None:
            warnings.append(_skipped(addition, reason))
        elif rival is not None:
            warnings.append(_skipped(addition, f"{rival} has this object"))
        else:
            owners |= dict.fromkeys(claims, addition.source)
            state = _add(state, addition.value)
    return state


def _order(addition: Addition) -> tuple[int, str, str, str]:
    value = addition.value
    rank = 0 if isinstance(value, PortAddress | FloatingIP) else 1 if _on_link_device(value) else 2
    return rank, addition.source, addition.role, _text(value)


def _on_link_device(value: Addable) -> str | None:
    """Return the device of an on-link route; None for other values. The kernel uses none with several next hops."""
    if isinstance(value, Route) and len(value.hops) == 1:
        (hop,) = value.hops
        return hop.device if hop.via is None else None
    return None


def _claims(state: NamespaceState, value: Addable) -> tuple[Hashable, ...]:
    """Return the identities of the objects that a value makes: no two values may have one of them."""
    match value:
        case Route(destination, _, table):
            return (("route", table, destination),)
        case PolicyRule():
            return (("rule", value),)
        case Neighbour(device, address):
            return (("neighbour", device, address),)
        case FloatingIP(floating, fixed):
            return ("address", floating), ("fixed", fixed)
        case PortAddress(device, interface):
            # Addresses of one device in one network share its connected route.
            network = interface.network
            is_connected = network.prefixlen == interface.max_prefixlen or network in _connected(state, device)
            route = () if is_connected else (("route", MAIN_TABLE, network),)
            return ("address", interface.ip), *route


def _claims_of_namespace(state: NamespaceState) -> Iterator[Hashable]:
    values: Iterable[Addable] = (*state.routes, *state.rules, *state.neighbours, *state.floating_ips)
    addresses = (PortAddress(port.device, one) for port in state.all_ports() for one in port.addresses)
    nothing = NamespaceState(state.kind, state.id)
    for value in (*values, *addresses):
        yield from _claims(nothing, value)
    # A router with the address of a next hop would send the traffic to itself.
    yield from (("address", hop.via) for route in state.routes for hop in route.hops if hop.via is not None)


def _connected(state: NamespaceState, device: str) -> set[Network]:
    return {one.network for port in state.all_ports() if port.device == device for one in port.addresses}


def _invalid(state: NamespaceState, value: Addable) -> str | None:
    """Return why a value is not valid in a namespace, None if it is."""
    if isinstance(value, FloatingIP) and state.gateway is None:
        return "the namespace has no gateway port"
    if isinstance(value, PortAddress) and (reason := _invalid_address(state.all_ports(), value)) is not None:
        return reason
    if (reason := _unserved_ipv6(state.all_ports(), value)) is not None:
        return reason
    # The data plane refuses a state as a whole if one value is invalid: the same check, on this value alone.
    alone = _add(NamespaceState(state.kind, state.id, ports=state.ports, gateway=state.gateway), value)
    try:
        decoded = unpack_namespace(state.kind, state.id, pack_namespace(alone))
    except InvalidState as error:
        return str(error)
    except (ValueError, TypeError, KeyError) as error:
        return f"it has no wire form: {error}"
    # Another value with the same form may be present; the data plane refuses duplicates.
    if decoded != alone:
        return "its form is not canonical"
    return _unreachable(state, value) if isinstance(value, Route) else None


def _unreachable(state: NamespaceState, route: Route) -> str | None:
    """Return why the kernel refuses a next hop of a route. The data plane sets IPv6 next hops to be on link."""
    own = {one.ip for port in state.all_ports() for one in port.addresses} | {
        one.floating for one in state.floating_ips
    }
    on_link = [one for one in state.routes if one.table in (MAIN_TABLE, route.table)]
    for device, via in ((hop.device, hop.via) for hop in route.hops):
        if via in own:
            return f"the next hop {via} is an address of the router itself"
        networks = _connected(state, device) | {one.destination for one in on_link if _on_link_device(one) == device}
        if isinstance(via, IPv4Address) and not any(is_host_address(via, one) for one in networks):
            return f"no network of this device has the next hop {via}"
    return None


def _invalid_address(ports: Iterable[Port], value: PortAddress) -> str | None:
    network = value.interface.network
    if all(port.device != value.device for port in ports):
        return f"the namespace has no device {value.device}"
    own = {network, *(one.network for port in ports if port.device == value.device for one in port.addresses)}
    if ends := [one for one in own if is_network_or_broadcast(value.interface.ip, one)]:
        return f"the network or broadcast address of {min(ends, key=str)}"
    others = (one.network for port in ports if port.device != value.device for one in port.addresses)
    overlapped = next((one for one in others if one.version == network.version and one.overlaps(network)), None)
    return None if overlapped is None else f"it overlaps {overlapped} of another port"


def _unserved_ipv6(ports: Iterable[Port], value: Addable) -> str | None:
    """Return why the port of an IPv6 address, neighbour or next hop has no IPv6; the kernel refuses these there."""
    devices: set[str] = set()
    match value:
        case PortAddress(device, interface) if interface.version == 6:
            devices = {device}
        case Neighbour(device, address) if address.version == 6:
            devices = {device}
        case Route(destination, hops) if destination.version == 6:
            devices = {hop.device for hop in hops}
    return next(filter(None, (ipv6_obstacle(port.mtu) for port in ports if port.device in devices)), None)


def _add(state: NamespaceState, value: Addable) -> NamespaceState:
    match value:
        case Route():
            return replace(state, routes=state.routes | {value})
        case PolicyRule():
            return replace(state, rules=state.rules | {value})
        case Neighbour():
            return replace(state, neighbours=state.neighbours | {value})
        case FloatingIP():
            return replace(state, floating_ips=state.floating_ips | {value})
        case PortAddress(device, interface):
            ports = {_with_address(port, interface) if port.device == device else port for port in state.ports}
            gateway = state.gateway
            if gateway is not None and gateway.device == device:
                gateway = _with_address(gateway, interface)
            return replace(state, ports=frozenset(ports), gateway=gateway)


def _with_address(port: Port, interface: Interface) -> Port:
    return replace(port, addresses=port.addresses | {interface})


def _skipped(addition: Addition, reason: str) -> str:
    return f"extension {addition.source}: {_text(addition.value)} skipped: {reason}"


def _text(value: Addable) -> str:
    """Return one line that names a value; different values have different lines."""
    match value:
        case Route(destination, hops, table):
            vias = sorted(f"dev {hop.device}" if hop.via is None else f"via {hop.via} dev {hop.device}" for hop in hops)
            return f"route to {destination} table {table} {', '.join(vias)}"
        case PolicyRule(priority, table, source, device):
            incoming = "" if device is None else f" iif {device}"
            return f"rule {priority} from {'all' if source is None else source}{incoming} table {table}"
        case Neighbour(device, address, mac):
            return f"neighbour {address} at {device} ({mac})"
        case FloatingIP(floating, fixed):
            return f"floating IP {floating} for {fixed}"
        case PortAddress(device, interface):
            return f"address {interface} at {device}"
