# SPDX-License-Identifier: Apache-2.0
"""Desired states in few words. Every id is new, so that tests can share one machine."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, ip_address, ip_interface, ip_network
from typing import Any

from l3agent.dataplane.plan.drivers.bridge import BridgeDriver
from l3agent.model.desired import desired_state
from l3agent.model.names import GATEWAY_DEVICE, HOST_DEVICE, INTERNAL_DEVICE, device_name, namespace_name
from l3agent.model.states import FloatingIP, Key, NamespaceState, NextHop, Port, Route, RouterState

_numbers = itertools.count(0xA0000001)


def new_id() -> str:
    """Return an id whose first eleven characters nobody else has."""
    return f"{next(_numbers):08x}-0000-4000-8000-000000000000"


def port(network: str, *addresses: str, mtu: int | None = 1500, gateway: bool = False, mac: str | None = None) -> Port:
    """Return a port of a router."""
    port_id = new_id()
    device = device_name(GATEWAY_DEVICE if gateway else INTERNAL_DEVICE, port_id)
    return Port(port_id, network, device, mac or mac_of(port_id), mtu, frozenset(map(ip_interface, addresses)))


def mac_of(port_id: str) -> str:
    """Return a MAC address as Neutron makes them, from the number of an id of ours."""
    return "fa:16:3e:" + ":".join(port_id[at : at + 2] for at in (2, 4, 6))


def route(destination: str, *hops: tuple[Port, str | None]) -> Route:
    """Return a route by (port, next hop) pairs; None is on link."""
    return Route(
        ip_network(destination),
        frozenset(NextHop(through.device, None if via is None else ip_address(via)) for through, via in hops),
    )


def router(
    *ports: Port,
    gateway: Port | None = None,
    routes: Iterable[Route] = (),
    fips: Mapping[str, str] | None = None,
    snat: bool = True,
) -> NamespaceState:
    """Return a router; its first IPv4 address outside is the one that stands for it."""
    outside = [] if gateway is None else sorted(one.ip for one in gateway.addresses if isinstance(one, IPv4Interface))
    return NamespaceState(
        "router",
        new_id(),
        ports=frozenset(ports),
        gateway=gateway,
        routes=frozenset(routes),
        floating_ips=floating_ips(fips or {}),
        nat_address=outside[0] if outside else None,
        snat=snat and bool(outside),
    )


def floating_ips(mappings: Mapping[str, str]) -> frozenset[FloatingIP]:
    """Return floating IPs from a map of floating to fixed."""
    return frozenset(FloatingIP(IPv4Address(one), IPv4Address(other)) for one, other in mappings.items())


def host(network: str, *addresses: str, routes: Mapping[str, str | None] | None = None) -> NamespaceState:
    """Return a stand-in for a machine with one device and routes by destination."""
    port_id = new_id()
    plugged = Port(port_id, network, HOST_DEVICE, mac_of(port_id), 1500, frozenset(map(ip_interface, addresses)))
    listed = frozenset(route(destination, (plugged, via)) for destination, via in (routes or {}).items())
    return NamespaceState("host", f"h{port_id[:8]}", frozenset({plugged}), routes=listed)


def only_namespace(state: RouterState) -> NamespaceState:
    """Return the state of the only namespace of a router."""
    (found,) = state.namespaces
    return found


def desired_namespace(payload: Mapping[str, Any], **options: Any) -> NamespaceState:
    """Return the desired state of the only namespace of a router."""
    return only_namespace(desired_state(payload, **options))


def only_port(state: NamespaceState) -> Port:
    """Return the only port of a simulated host."""
    (found,) = state.ports
    return found


def key(state: NamespaceState | RouterState) -> Key:
    """Return the key of a state, or of the only one of a router."""
    return only_namespace(state).key if isinstance(state, RouterState) else state.key


def namespace(state: NamespaceState | RouterState | str) -> str:
    """Return the name of the namespace of a state or of a router with one; a name stands for itself."""
    return state if isinstance(state, str) else namespace_name(*key(state))


def tap(of: Port) -> str:
    """Return the name of the outer end of a port."""
    return device_name("tap", of.id)


def bridge(network: str) -> str:
    """Return the name of the bridge of a network."""
    name = BridgeDriver().bridge(network)
    assert name is not None
    return name
