# SPDX-License-Identifier: Apache-2.0
"""States and reports as plain lists, strings and bytes, and back: what crosses the socket between agent and data plane.

The form is msgpack-able and private to one release: both ends are always of the same installation, and the
``hello`` of the socket says so. Addresses travel as their bytes, which are read in a third of the time of their text.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address
from typing import Any

from l3agent.model.states import (
    FloatingIP,
    HostState,
    Interface,
    Key,
    NetworkState,
    NextHop,
    Port,
    Report,
    Route,
    RouterState,
    State,
)

#: A file name has 255 bytes; the prefix of a namespace takes some of them.
_ID_BYTES = 200


def pack_state(key: Key, state: State | None) -> dict[str, Any]:
    """Return the wire form of a desired state; ``None`` asks for its removal."""
    kind, state_id = key
    body: dict[str, Any] | None
    match state:
        case None:
            body = None
        case RouterState():
            body = {
                "ports": [_pack_port(port) for port in state.ports],
                "gateway": None if state.gateway is None else _pack_port(state.gateway),
                "routes": [_pack_route(route) for route in state.routes],
                "floating_ips": [[fip.floating.packed, fip.fixed.packed] for fip in state.floating_ips],
                "nat_address": None if state.nat_address is None else state.nat_address.packed,
                "snat": state.snat,
            }
        case NetworkState():
            body = {"interface": state.interface}
        case HostState():
            body = {"port": _pack_port(state.port), "routes": [_pack_route(route) for route in state.routes]}
    return {"kind": kind, "id": state_id, "state": body}


def unpack_state(wire: Mapping[str, Any]) -> tuple[Key, State | None]:
    """Return the key and the state of a wire form.

    :raises ValueError, KeyError, TypeError: the form is not one of ours.
    """
    kind, state_id, body = wire["kind"], str(wire["id"]), wire["state"]
    if kind not in ("router", "network", "host"):
        raise ValueError(f"unknown kind of state {kind!r}")
    if not 0 < len(state_id.encode()) <= _ID_BYTES or "/" in state_id or "\0" in state_id:
        raise ValueError(f"{kind} {state_id!r}: an id is part of a file name")
    key: Key = (kind, state_id)
    if body is None:
        return key, None
    if kind == "router":
        nat_address = body["nat_address"]
        return key, RouterState(
            id=state_id,
            ports=frozenset(map(_unpack_port, body["ports"])),
            gateway=None if body["gateway"] is None else _unpack_port(body["gateway"]),
            routes=frozenset(map(_unpack_route, body["routes"])),
            floating_ips=frozenset(FloatingIP(IPv4Address(a), IPv4Address(b)) for a, b in body["floating_ips"]),
            nat_address=None if nat_address is None else IPv4Address(nat_address),
            snat=bool(body["snat"]),
        )
    if kind == "network":
        return key, NetworkState(state_id, body["interface"])
    return key, HostState(state_id, _unpack_port(body["port"]), frozenset(map(_unpack_route, body["routes"])))


def pack_report(report: Report) -> dict[str, Any]:
    """Return the wire form of a report."""
    return {
        "kind": report.kind,
        "id": report.id,
        "operations": list(report.operations),
        "error": report.error,
        "timings": dict(report.timings),
    }


def unpack_report(wire: Mapping[str, Any]) -> Report:
    """Return the report of a wire form."""
    return Report(wire["kind"], wire["id"], tuple(wire["operations"]), wire["error"], dict(wire["timings"]))


def _pack_port(port: Port) -> list[Any]:
    addresses = [[interface.packed, interface.network.prefixlen] for interface in port.addresses]
    return [port.id, port.network_id, port.device, port.mac, port.mtu, addresses]


def _unpack_port(wire: list[Any]) -> Port:
    port_id, network_id, device, mac, mtu, addresses = wire
    interfaces = frozenset(_unpack_interface(packed, length) for packed, length in addresses)
    return Port(port_id, network_id, device, mac, mtu, interfaces)


def _unpack_interface(packed: bytes, length: int) -> Interface:
    return IPv4Interface((packed, length)) if len(packed) == 4 else IPv6Interface((packed, length))


def _pack_route(route: Route) -> list[Any]:
    destination = route.destination
    hops = [[hop.device, None if hop.via is None else hop.via.packed] for hop in route.hops]
    return [destination.network_address.packed, destination.prefixlen, hops]


def _unpack_route(wire: list[Any]) -> Route:
    packed, length, hops = wire
    return Route(
        IPv4Network((packed, length)) if len(packed) == 4 else IPv6Network((packed, length)),
        frozenset(NextHop(device, None if via is None else ip_address(via)) for device, via in hops),
    )
