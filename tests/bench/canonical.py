# SPDX-License-Identifier: Apache-2.0
"""The canonical router: two ports with IPv4 and IPv6, a default route and three more, SNAT, floating IPs.

Ten share a tenant network, and many an external one. Whoever builds routers beside others has a
tribe, a number that is part of every id and so of every device name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface

from l3agent.model.names import GATEWAY_DEVICE, INTERNAL_DEVICE, device_name
from l3agent.model.states import FloatingIP, Interface, NamespaceState, NextHop, Port, Route

#: Routers share these in turn; a Linux bridge takes 1023 ports.
EXTERNAL_NETWORKS = 6
#: So many routers have their inner ends on one tenant bridge.
TENANTS_TOGETHER = 10
MTU = 1450
_OUTSIDE = IPv4Network("100.64.0.0/10")
_INSIDE = IPv4Network("10.0.0.0/16")
_FIRST_FIXED = IPv4Address("10.0.1.0")


def router(tribe: int, number: int, floating_ips: int) -> NamespaceState:
    """Return a router of a tribe, with this many floating IPs."""
    prefix = f"{tribe:02x}{number:06x}"
    place = number // EXTERNAL_NETWORKS
    own = _own_address(place, floating_ips)
    group, seat = divmod(number, TENANTS_TOGETHER)
    internal = _port(
        prefix,
        0,
        f"{tribe:02x}{0xF00000 + group:06x}",
        INTERNAL_DEVICE,
        (IPv4Interface((_INSIDE[1 + seat], _INSIDE.prefixlen)), IPv6Interface((IPv6Address("fd00::1") + seat, 64))),
    )
    gateway = _port(
        prefix,
        1,
        f"{tribe:02x}{0xFF0000 + number % EXTERNAL_NETWORKS:06x}",
        GATEWAY_DEVICE,
        (IPv4Interface((own, _OUTSIDE.prefixlen)), IPv6Interface((IPv6Address("fd01::10") + place, 64))),
    )
    return NamespaceState(
        "router",
        f"{prefix}-0000-4000-8000-000000000000",
        ports=frozenset((internal,)),
        gateway=gateway,
        routes=frozenset((_route("0.0.0.0/0", gateway, _OUTSIDE[1]), *map(_extra_route, [internal] * 3, range(3)))),
        floating_ips=frozenset(FloatingIP(own + 1 + k, _FIRST_FIXED + k) for k in range(floating_ips)),
        nat_address=own,
        snat=True,
    )


def seed(routers: Iterable[NamespaceState]) -> NamespaceState:
    """Return a router that has a port without addresses on every network of others: their bridges are there then."""
    ports = [port for router in routers for port in router.all_ports()]
    networks = sorted({port.network_id for port in ports})
    prefix = f"{0xE0 + int(ports[0].id[:2], 16):02x}"
    made = [
        replace(_port(f"{prefix}{place:06x}", 0, network, INTERNAL_DEVICE, ()), network_id=network)
        for place, network in enumerate(networks)
    ]
    router_id = f"{prefix}ffffff-0000-4000-8000-000000000000"
    return NamespaceState("router", router_id, frozenset(made))


def with_one_more(router: NamespaceState) -> tuple[NamespaceState, FloatingIP]:
    """Return the router with one more floating IP, and that floating IP."""
    assert router.nat_address is not None
    count = len(router.floating_ips)
    more = FloatingIP(router.nat_address + 1 + count, _FIRST_FIXED + count)
    return replace(router, floating_ips=router.floating_ips | {more}), more


def _own_address(place: int, floating_ips: int) -> IPv4Address:
    """Leave room for the floating IPs of the router, and one more, between its address and that of the next."""
    return _OUTSIDE[16 + place * (floating_ips + 2)]


def _port(prefix: str, place: int, network: str, device: str, addresses: tuple[Interface, ...]) -> Port:
    port_id = f"{prefix}-{place:02x}00-4000-8000-000000000000"
    mac = bytes((0xFA, 0x16, 0x3E + place, *bytes.fromhex(prefix)[0:1], *bytes.fromhex(prefix)[2:4])).hex(":")
    network_id = f"{network}-0000-4000-8000-000000000000"
    return Port(port_id, network_id, device_name(device, port_id), mac, MTU, frozenset(addresses))


def _route(destination: str, port: Port, via: IPv4Address) -> Route:
    return Route(IPv4Network(destination), frozenset((NextHop(port.device, via),)))


def _extra_route(port: Port, number: int) -> Route:
    return _route(f"172.30.{number}.0/24", port, _INSIDE[200 + number])
