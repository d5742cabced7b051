# SPDX-License-Identifier: Apache-2.0
"""States and reports as plain lists, strings and bytes, and back: what crosses the socket between agent and data plane.

The form is msgpack-able and private to one release: both ends are always of the same installation, and the
``hello`` of the socket says so. Addresses travel as their bytes, which are read in a third of the time of their text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import replace
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
#: A floating address and a fixed one.
_FIP_BYTES = 8


def pack_state(key: Key, state: State | None) -> dict[str, Any]:
    """Return the wire form of a desired state; ``None`` asks for its removal."""
    kind, state_id = key
    body: dict[str, Any] | None
    match state:
        case None:
            body = None
        case RouterState():
            body = {
                "ports": sorted(map(_pack_port, state.ports)),
                "gateway": None if state.gateway is None else _pack_port(state.gateway),
                "routes": _pack_routes(state.routes),
                "floating_ips": _pack_floating_ips(state.floating_ips),
                "nat_address": None if state.nat_address is None else state.nat_address.packed,
                "snat": state.snat,
            }
        case NetworkState():
            body = {"interface": state.interface}
        case HostState():
            body = {"port": _pack_port(state.port), "routes": _pack_routes(state.routes)}
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
            floating_ips=_unpack_floating_ips(body["floating_ips"]),
            nat_address=None if nat_address is None else IPv4Address(nat_address),
            snat=bool(body["snat"]),
        )
    if kind == "network":
        return key, NetworkState(state_id, body["interface"])
    return key, HostState(state_id, _unpack_port(body["port"]), frozenset(map(_unpack_route, body["routes"])))


class Reader:
    """Reads states, and remembers the last form of each: what is as it was is not read again.

    The same form gives the same object. Where only floating IPs differ, only those that do are read: their bytes are
    in order, so what two forms have in common is found by comparing, whatever their number.
    """

    def __init__(self) -> None:
        self._last: dict[Key, tuple[Mapping[str, Any], State]] = {}

    def read(self, wire: Mapping[str, Any]) -> tuple[Key, State | None]:
        """Return the key and the state of a wire form; of an absent one nothing is remembered.

        :raises ValueError, KeyError, TypeError: the form is not one of ours.
        """
        former = self._last.get((wire["kind"], wire["id"]))
        if former is None or wire["state"] is None:
            key, state = unpack_state(wire)
        else:
            key, state = (wire["kind"], wire["id"]), _changed(*former, wire)
        if state is None:
            self._last.pop(key, None)
        else:
            self._last[key] = wire, state
        return key, state


def _changed(before: Mapping[str, Any], state: State, after: Mapping[str, Any]) -> State | None:
    """Return the state of a form, knowing another one and its state."""
    if after == before:
        return state
    old, new = dict(before["state"]), dict(after["state"])
    if isinstance(state, RouterState):
        gone, come = _differing(old.pop("floating_ips"), new.pop("floating_ips"))
        if old == new:
            left = state.floating_ips - _unpack_floating_ips(gone)
            return replace(state, floating_ips=left | _unpack_floating_ips(come))
    return unpack_state(after)[1]


def pack_report(report: Report) -> dict[str, Any]:
    """Return the wire form of a report."""
    return {
        "kind": report.kind,
        "id": report.id,
        "operations": list(report.operations),
        "count": report.count,
        "error": report.error,
        "timings": dict(report.timings),
    }


def unpack_report(wire: Mapping[str, Any]) -> Report:
    """Return the report of a wire form."""
    said = tuple(wire["operations"])
    return Report(wire["kind"], wire["id"], said, wire["error"], dict(wire["timings"]), wire["count"])


def _pack_floating_ips(floating_ips: Iterable[FloatingIP]) -> bytes:
    """Return eight bytes each, floating and fixed address, in order."""
    return b"".join(sorted(fip.floating.packed + fip.fixed.packed for fip in floating_ips))


def _unpack_floating_ips(packed: bytes) -> frozenset[FloatingIP]:
    if len(packed) % _FIP_BYTES:
        raise ValueError(f"{len(packed)} bytes of floating IPs: a pair of addresses has {_FIP_BYTES}")
    pairs = (packed[at : at + _FIP_BYTES] for at in range(0, len(packed), _FIP_BYTES))
    return frozenset(FloatingIP(IPv4Address(pair[:4]), IPv4Address(pair[4:])) for pair in pairs)


def _differing(before: bytes, after: bytes) -> tuple[bytes, bytes]:
    """Return the middle of two rows of pairs, without what their beginnings and their ends have in common."""
    most = min(len(before), len(after)) // _FIP_BYTES
    head = bisect_left(range(most), True, key=lambda n: _cut(before, n + 1) != _cut(after, n + 1))
    left, right = before[head * _FIP_BYTES :], after[head * _FIP_BYTES :]
    most -= head
    tail = bisect_left(range(most), True, key=lambda n: _end(left, n + 1) != _end(right, n + 1))
    return left[: len(left) - tail * _FIP_BYTES], right[: len(right) - tail * _FIP_BYTES]


def _cut(packed: bytes, pairs: int) -> bytes:
    return packed[: pairs * _FIP_BYTES]


def _end(packed: bytes, pairs: int) -> bytes:
    return packed[len(packed) - pairs * _FIP_BYTES :]


def _pack_port(port: Port) -> list[Any]:
    addresses = sorted([interface.packed, interface.network.prefixlen] for interface in port.addresses)
    return [port.id, port.network_id, port.device, port.mac, port.mtu, addresses]


def _unpack_port(wire: list[Any]) -> Port:
    port_id, network_id, device, mac, mtu, addresses = wire
    interfaces = frozenset(_unpack_interface(packed, length) for packed, length in addresses)
    return Port(port_id, network_id, device, mac, mtu, interfaces)


def _unpack_interface(packed: bytes, length: int) -> Interface:
    return IPv4Interface((packed, length)) if len(packed) == 4 else IPv6Interface((packed, length))


def _pack_routes(routes: Iterable[Route]) -> list[Any]:
    return sorted(map(_pack_route, routes), key=lambda wire: wire[:2])


def _pack_route(route: Route) -> list[Any]:
    destination = route.destination
    hops = [[hop.device, None if hop.via is None else hop.via.packed] for hop in route.hops]
    hops.sort(key=lambda hop: (hop[0], hop[1] or b""))
    return [destination.network_address.packed, destination.prefixlen, hops]


def _unpack_route(wire: list[Any]) -> Route:
    packed, length, hops = wire
    return Route(
        IPv4Network((packed, length)) if len(packed) == 4 else IPv6Network((packed, length)),
        frozenset(NextHop(device, None if via is None else ip_address(via)) for device, via in hops),
    )
