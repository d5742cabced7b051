# SPDX-License-Identifier: Apache-2.0
"""Wire form of states and reports on the socket between agent and data plane: lists, strings and bytes for msgpack.

Both ends use the same protocol number (:mod:`l3agent.model.protocol`), which the ``hello`` of the socket compares.
Addresses are encoded as bytes, which are decoded in a third of the time of their text.

The reader has privileges that the writer lacks, so the reader validates every value
(:mod:`l3agent.model.validators`), and a state can name only the devices of its own ports.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

from l3agent.exceptions import InvalidState
from l3agent.model.names import GATEWAY_DEVICE, HOST_DEVICE, INTERNAL_DEVICE, device_name
from l3agent.model.states import (
    FloatingIP,
    HostState,
    Interface,
    Key,
    Network,
    NetworkState,
    NextHop,
    Port,
    Report,
    Route,
    RouterState,
    State,
)
from l3agent.model.validators import (
    MTU_MAX,
    MTU_MIN,
    all_unicast,
    is_device,
    is_id,
    is_link_local,
    is_name,
    is_routable,
    is_unicast,
    is_unicast_mac,
)

#: Maximum size of a request: 80,000 routes, or half a million floating IPs.
FRAME_BYTES = 4 << 20
#: A file name has at most 255 bytes, including the prefix of a namespace.
_ID_BYTES = 200
_ID = "expected 11 to 36 hexadecimal digits and hyphens"
#: A floating address and a fixed address.
_FIP_BYTES = 8


def pack_state(key: Key, state: State | None) -> dict[str, Any]:
    """Return the wire form of a desired state; ``None`` requests its removal."""
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


def batches(wires: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield states in batches that fit into one request each."""
    batch: list[dict[str, Any]] = []
    size = 0
    for wire in wires:
        # A router with two ports has about 700 bytes, a route at most 60 with one next hop.
        estimate = 2000 + 60 * entry_count(wire)
        if batch and size + estimate > FRAME_BYTES // 2:
            yield batch
            batch, size = [], 0
        batch.append(wire)
        size += estimate
    if batch:
        yield batch


def unpack_state(wire: Mapping[str, Any]) -> tuple[Key, State | None]:
    """Return the key and the state of a wire form.

    :raises ValueError, KeyError, TypeError: the structure is not that of a state.
    :raises InvalidState: a value is not valid in a state.
    """
    key = unpack_key(wire)
    body = wire["state"]
    return key, None if body is None else _unpack_body(key, body)


def unpack_key(wire: Mapping[str, Any]) -> Key:
    """Return the key of a wire form. Left-overs of other programs may have any id that is valid in a file name.

    :raises ValueError, KeyError, TypeError: the structure is not that of a key.
    """
    kind, state_id = wire["kind"], str(wire["id"])
    if kind not in ("router", "network", "host"):
        raise ValueError(f"unknown kind of state {kind!r}")
    if not 0 < len(state_id.encode()) <= _ID_BYTES or "/" in state_id or "\0" in state_id:
        raise ValueError(f"{kind} {state_id!r}: expected an id that is valid in a file name")
    return kind, state_id


def entry_count(wire: object) -> int:
    """Return the approximate number of addresses and routes in a wire form; 0 if it is not a state."""
    body = wire.get("state") if isinstance(wire, dict) else None
    if not isinstance(body, dict):
        return 0
    floating_ips, routes = body.get("floating_ips"), body.get("routes")
    pairs = len(floating_ips) // _FIP_BYTES if isinstance(floating_ips, bytes) else 0
    return 3 * pairs + (len(routes) if isinstance(routes, list) else 0)


def _unpack_body(key: Key, body: Mapping[str, Any]) -> State:
    kind, state_id = key
    if not (is_name if kind == "host" else is_id)(state_id):
        raise InvalidState(f"{kind}: id", state_id, "expected a name of letters and digits" if kind == "host" else _ID)
    if kind == "router":
        ports = frozenset(_unpack_port(one, INTERNAL_DEVICE) for one in body["ports"])
        gateway = None if body["gateway"] is None else _unpack_port(body["gateway"], GATEWAY_DEVICE)
        devices = {port.device for port in (*ports, *([gateway] if gateway else ()))}
        nat = body["nat_address"]
        if nat is not None and (type(nat) is not bytes or len(nat) != 4 or not is_unicast(nat)):
            raise InvalidState("nat_address", nat, "expected the bytes of a unicast IPv4 address")
        return RouterState(
            id=state_id,
            ports=ports,
            gateway=gateway,
            routes=frozenset(_unpack_route(one, devices) for one in body["routes"]),
            floating_ips=_unpack_floating_ips(body["floating_ips"]),
            nat_address=None if nat is None else IPv4Address(nat),
            snat=bool(body["snat"]),
        )
    if kind == "network":
        interface = body["interface"]
        if interface is not None and (type(interface) is not str or not is_device(interface)):
            raise InvalidState("interface", interface, "expected the name of a physical interface")
        return NetworkState(state_id, interface)
    routes = frozenset(_unpack_route(one, (HOST_DEVICE,)) for one in body["routes"])
    return HostState(state_id, _unpack_port(body["port"], HOST_DEVICE), routes)


class StateReader:
    """Decodes states and caches the last wire form of each, so that an unchanged state is not decoded again.

    An equal form gives the same object. If two forms differ in floating IPs only, the reader decodes only the
    differing ones: their bytes are sorted, so a binary search finds the common prefix and suffix.
    """

    def __init__(self) -> None:
        self._last: dict[Key, tuple[Mapping[str, Any], State]] = {}

    def read(self, wire: Mapping[str, Any]) -> tuple[Key, State | None]:
        """Return the key and the state of a wire form. An absent state (None) leaves the cache.

        :raises ValueError, KeyError, TypeError: the structure is not that of a state.
        :raises InvalidState: a value is not valid in a state.
        """
        former = self._last.get((wire["kind"], wire["id"]))
        if former is None or wire["state"] is None:
            key, state = unpack_state(wire)
        else:
            key, state = (wire["kind"], wire["id"]), _unpack_change(*former, wire)
        if state is None:
            self._last.pop(key, None)
        else:
            self._last[key] = wire, state
        return key, state

    def forget(self, keys: Iterable[Key]) -> None:
        """Remove states from the cache."""
        for key in keys:
            self._last.pop(key, None)


def _unpack_change(before: Mapping[str, Any], state: State, after: Mapping[str, Any]) -> State | None:
    """Return the state of a wire form, given the previous form and its state."""
    if after == before:
        return state
    old, new = dict(before["state"]), dict(after["state"])
    if isinstance(state, RouterState):
        removed, added = _difference(old.pop("floating_ips"), new.pop("floating_ips"))
        if old == new:
            left = state.floating_ips - _unpack_floating_ips(removed)
            return replace(state, floating_ips=left | _unpack_floating_ips(added))
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
    operations = tuple(wire["operations"])
    return Report(wire["kind"], wire["id"], operations, wire["error"], dict(wire["timings"]), wire["count"])


def _pack_floating_ips(floating_ips: Iterable[FloatingIP]) -> bytes:
    """Return sorted pairs of floating and fixed address, eight bytes each."""
    return b"".join(sorted(fip.floating.packed + fip.fixed.packed for fip in floating_ips))


def _unpack_floating_ips(packed: bytes) -> frozenset[FloatingIP]:
    if type(packed) is not bytes or len(packed) % _FIP_BYTES:
        raise InvalidState("floating_ips", packed, f"expected {_FIP_BYTES} bytes for each pair of addresses")
    pairs = [packed[at : at + _FIP_BYTES] for at in range(0, len(packed), _FIP_BYTES)]
    if not all_unicast(packed):
        wrong = next(pair for pair in pairs if not all_unicast(pair))
        raise InvalidState("floating_ips", wrong, "expected the bytes of unicast addresses")
    return frozenset(FloatingIP(IPv4Address(pair[:4]), IPv4Address(pair[4:])) for pair in pairs)


def _difference(before: bytes, after: bytes) -> tuple[bytes, bytes]:
    """Return the differing middle parts of two rows of pairs, without their common prefix and suffix."""
    pairs = min(len(before), len(after)) // _FIP_BYTES
    head = bisect_left(range(pairs), True, key=lambda n: _prefix(before, n + 1) != _prefix(after, n + 1))
    left, right = before[head * _FIP_BYTES :], after[head * _FIP_BYTES :]
    pairs -= head
    tail = bisect_left(range(pairs), True, key=lambda n: _suffix(left, n + 1) != _suffix(right, n + 1))
    return left[: len(left) - tail * _FIP_BYTES], right[: len(right) - tail * _FIP_BYTES]


def _prefix(packed: bytes, pairs: int) -> bytes:
    return packed[: pairs * _FIP_BYTES]


def _suffix(packed: bytes, pairs: int) -> bytes:
    return packed[len(packed) - pairs * _FIP_BYTES :]


def _pack_port(port: Port) -> list[Any]:
    addresses = sorted([interface.packed, interface.network.prefixlen] for interface in port.addresses)
    return [port.id, port.network_id, port.device, port.mac, port.mtu, addresses]


def _unpack_port(wire: list[Any], prefix: str) -> Port:
    """Return a port whose device name follows from its id, or is the device of a host."""
    port_id, network_id, device, mac, mtu, addresses = wire
    if type(port_id) is not str or not is_id(port_id):
        raise InvalidState("port: id", port_id, _ID)
    if device != (name := HOST_DEVICE if prefix == HOST_DEVICE else device_name(prefix, port_id)):
        raise InvalidState(f"port {port_id}: device", device, f"expected {name}")
    if type(network_id) is not str or not is_id(network_id):
        raise InvalidState(f"port {port_id}: network", network_id, _ID)
    if type(mac) is not str or not is_unicast_mac(mac):
        raise InvalidState(f"port {port_id}: MAC address", mac, "expected a unicast MAC address in lower case")
    if mtu is not None and (type(mtu) is not int or not MTU_MIN <= mtu <= MTU_MAX):
        raise InvalidState(f"port {port_id}: MTU", mtu, f"expected a whole number from {MTU_MIN} to {MTU_MAX}")
    interfaces = frozenset([_unpack_interface(port_id, packed, length) for packed, length in addresses])
    return Port(port_id, network_id, device, mac, mtu, interfaces)


def _unpack_interface(port_id: str, packed: bytes, length: int) -> Interface:
    if type(packed) is not bytes or not is_unicast(packed) or is_link_local(packed):
        raise InvalidState(f"port {port_id}: address", packed, "expected a unicast address that is not link-local")
    if type(length) is not int or not 0 < length <= 8 * len(packed):
        raise InvalidState(f"port {port_id}: prefix length", length, f"expected a number from 1 to {8 * len(packed)}")
    return IPv4Interface((packed, length)) if len(packed) == 4 else IPv6Interface((packed, length))


def _pack_routes(routes: Iterable[Route]) -> list[Any]:
    return sorted(map(_pack_route, routes), key=lambda wire: wire[:2])


def _pack_route(route: Route) -> list[Any]:
    destination = route.destination
    hops = [[hop.device, None if hop.via is None else hop.via.packed] for hop in route.hops]
    hops.sort(key=lambda hop: (hop[0], hop[1] or b""))
    return [destination.network_address.packed, destination.prefixlen, hops]


def _unpack_route(wire: list[Any], devices: Collection[str]) -> Route:
    """Return a route through devices of its state."""
    packed, length, hops = wire
    destination = _unpack_network(packed, length)
    if not hops:
        raise InvalidState(f"route to {destination}: next hops", hops, "expected one or more")
    return Route(destination, frozenset(_unpack_hop(destination, device, via, devices) for device, via in hops))


def _unpack_network(packed: bytes, length: int) -> Network:
    if type(packed) is not bytes or len(packed) not in (4, 16) or type(length) is not int:
        raise InvalidState("route: destination", packed, "expected the bytes of a network")
    try:
        network = IPv4Network((packed, length)) if len(packed) == 4 else IPv6Network((packed, length))
    except ValueError as exc:
        raise InvalidState("route: destination", f"{packed.hex()}/{length}", str(exc)) from exc
    if not is_routable(network):
        raise InvalidState("route: destination", str(network), "expected a routable network")
    return network


def _unpack_hop(destination: Network, device: str, via: bytes | None, devices: Collection[str]) -> NextHop:
    if device not in devices:
        raise InvalidState(f"route to {destination}: device", device, "expected the device of a port of the state")
    if via is None:
        return NextHop(device, None)
    if type(via) is not bytes or 8 * len(via) != destination.max_prefixlen or not is_unicast(via):
        raise InvalidState(f"route to {destination}: next hop", via, "expected a unicast address of the same family")
    return NextHop(device, IPv4Address(via) if len(via) == 4 else IPv6Address(via))
