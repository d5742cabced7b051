# SPDX-License-Identifier: Apache-2.0
"""Wire form of what one owner has in one namespace; see :mod:`l3agent.model.wire`."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from l3agent.exceptions import InvalidState
from l3agent.model.names import NAMESPACES, ROUTER_KINDS
from l3agent.model.states import NamespaceKind, NamespaceState, Port
from l3agent.model.validators import is_id, is_name, is_unicast
from l3agent.model.wire_fields import (
    INVALID_ID,
    pack_port,
    pack_routes,
    pack_rules,
    unpack_port,
    unpack_route,
    unpack_rule,
)
from l3agent.model.wire_rows import pack_floating_ips, pack_neighbours, unpack_floating_ips, unpack_neighbours


def pack_namespace(state: NamespaceState) -> dict[str, Any]:
    """Return the wire form of a state without its key. Absent rules and neighbours add no bytes."""
    body: dict[str, Any] = {
        "ports": sorted(map(pack_port, state.ports)),
        "gateway": None if state.gateway is None else pack_port(state.gateway),
        "routes": pack_routes(state.routes),
        "floating_ips": pack_floating_ips(state.floating_ips),
        "nat_address": None if state.nat_address is None else state.nat_address.packed,
        "snat": state.snat,
    }
    if state.rules:
        body["rules"] = pack_rules(state.rules)
    if state.neighbours:
        body["neighbours"] = pack_neighbours(state.neighbours)
    return body


def unpack_namespace(kind: NamespaceKind, state_id: str, body: Mapping[str, Any]) -> NamespaceState:
    """Return the state of a wire form.

    :raises ValueError, KeyError, TypeError: the structure is not that of a state.
    :raises InvalidState: a value is not valid in a state of this kind.
    """
    _check_id(kind, state_id)
    names = NAMESPACES[kind]
    ports = frozenset(unpack_port(one, names.internal) for one in body["ports"])
    gateway = _unpack_gateway(kind, names.external, body["gateway"])
    devices = {port.device for port in (*ports, *([gateway] if gateway else ()))}
    state = NamespaceState(
        kind,
        state_id,
        ports=ports,
        gateway=gateway,
        routes=frozenset(unpack_route(one, devices) for one in body["routes"]),
        rules=frozenset(unpack_rule(one, devices) for one in body.get("rules", ())),
        neighbours=unpack_neighbours(body.get("neighbours", b""), devices),
        floating_ips=unpack_floating_ips(body["floating_ips"]),
        nat_address=_unpack_nat_address(body["nat_address"]),
        snat=bool(body["snat"]),
    )
    if names.external is None:
        _check_without_gateway(state)
    return state


def _check_id(kind: NamespaceKind, state_id: str) -> None:
    """Check an id: that of a router, or the name of a simulated host."""
    if kind in ROUTER_KINDS:
        if not is_id(state_id):
            raise InvalidState(f"{kind}: id", state_id, INVALID_ID)
    elif not is_name(state_id):
        raise InvalidState(f"{kind}: id", state_id, "expected a name of letters and digits")


def _unpack_gateway(kind: NamespaceKind, prefix: str | None, wire: list[Any] | None) -> Port | None:
    if wire is None:
        return None
    if prefix is None:
        raise InvalidState(f"{kind}: gateway", wire, "expected none")
    return unpack_port(wire, prefix)


def _unpack_nat_address(packed: Any) -> IPv4Address | None:
    if packed is None:
        return None
    if type(packed) is not bytes or len(packed) != 4 or not is_unicast(packed):
        raise InvalidState("nat_address", packed, "expected the bytes of a unicast IPv4 address")
    return IPv4Address(packed)


def _check_without_gateway(state: NamespaceState) -> None:
    """Check a state of a kind without gateway: one port, and no translation."""
    if len(state.ports) != 1:
        raise InvalidState(f"{state.kind}: ports", len(state.ports), "expected one")
    for name, value in (("floating_ips", state.floating_ips), ("nat_address", state.nat_address), ("snat", state.snat)):
        if value:
            raise InvalidState(f"{state.kind}: {name}", str(value), "expected none")
