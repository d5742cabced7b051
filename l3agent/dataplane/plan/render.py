# SPDX-License-Identifier: Apache-2.0
"""Renders desired states as entries of kernel state. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import lru_cache
from ipaddress import IPv4Interface, IPv6Interface, IPv6Network
from operator import attrgetter

from l3agent.dataplane.netlink import tables
from l3agent.dataplane.netlink.nft_types import device_key
from l3agent.dataplane.netlink.routes import PROTOCOL_STATIC
from l3agent.dataplane.plan.drivers import InterfaceDriver
from l3agent.dataplane.plan.kinds.accept_ra import AcceptRA
from l3agent.dataplane.plan.kinds.address import DeviceAddress
from l3agent.dataplane.plan.kinds.base import Entry, select
from l3agent.dataplane.plan.kinds.connected_route import ConnectedRoute
from l3agent.dataplane.plan.kinds.device_settings import DeviceSettings
from l3agent.dataplane.plan.kinds.element import Element
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.neighbour import KernelNeighbour
from l3agent.dataplane.plan.kinds.route import KernelRoute
from l3agent.dataplane.plan.kinds.rule import KernelRule
from l3agent.dataplane.plan.kinds.switch_port import SwitchPort
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.dataplane.plan.kinds.table import Table
from l3agent.model.names import ROUTER_KINDS, namespace_name
from l3agent.model.states import (
    MAIN_TABLE,
    Address,
    FloatingIP,
    Interface,
    Key,
    NamespaceKind,
    NamespaceState,
    NetworkState,
    Port,
    Route,
    State,
)

Entries = frozenset[Entry]
_ALL_BUT_FLOATING_IPS = attrgetter(*(one.name for one in fields(NamespaceState) if one.name != "floating_ips"))

_EVERYTHING_IPV6 = IPv6Network("::/0")

#: Settings of a router namespace, by path below /proc/sys (ip-sysctl and nf_conntrack-sysctl of the kernel
#: documentation). A device answers for and announces only its own addresses; conntrack does not check TCP windows,
#: because a router sees asymmetric paths; the kernel assigns no link-local address to new devices, the plan does.
_ROUTER_SYSCTLS = frozenset(
    (
        Sysctl("net/ipv4/ip_forward", "1"),
        Sysctl("net/ipv4/conf/all/promote_secondaries", "1"),
        Sysctl("net/ipv4/conf/all/arp_ignore", "1"),
        Sysctl("net/ipv4/conf/all/arp_announce", "2"),
        Sysctl("net/ipv6/conf/all/forwarding", "1"),
        Sysctl("net/ipv6/conf/default/addr_gen_mode", "1"),
        Sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
    )
)
_HOST_SYSCTLS = frozenset(
    (
        Sysctl("net/ipv4/conf/all/promote_secondaries", "1"),
        Sysctl("net/ipv6/conf/default/addr_gen_mode", "1"),
        Sysctl("net/ipv6/conf/default/accept_ra", "0"),
    )
)


#: Settings of a namespace, by kind.
SYSCTLS: Mapping[NamespaceKind, frozenset[Sysctl]] = {"router": _ROUTER_SYSCTLS, "host": _HOST_SYSCTLS}


def entries(key: Key, state: State | None, driver: InterfaceDriver, *, counting: bool = False) -> frozenset[Entry]:
    """Return the entries of a state; none for an absent state.

    :param counting: floating IPs count their traffic.
    """
    match state:
        case None:
            return frozenset()
        case NamespaceState():
            return frozenset(_namespace(key, state, driver, counting))
        case NetworkState():
            return frozenset(driver.network(state))


def entry_count(state: State | None) -> int:
    """Return the approximate number of entries of a state."""
    if not isinstance(state, NamespaceState):
        return 0
    return 3 * len(state.floating_ips) + len(state.routes) + len(state.rules) + len(state.neighbours)


def changed_entries(
    key: Key, old: State, new: State, driver: InterfaceDriver, *, counting: bool = False
) -> tuple[Entries, Entries] | None:
    """Return the entries in which two states of a namespace may differ; None if their ports differ.

    Other programs share the host namespace, so changed ports require an observation. The cost of floating IPs depends
    on the number of differing ones only.
    """
    if not isinstance(old, NamespaceState) or not isinstance(new, NamespaceState):
        return None
    if (old.ports, old.gateway) != (new.ports, new.gateway):
        return None
    if new.gateway is None or _ALL_BUT_FLOATING_IPS(old) != _ALL_BUT_FLOATING_IPS(new):
        return entries(key, old, driver, counting=counting), entries(key, new, driver, counting=counting)
    removed, added = old.floating_ips - new.floating_ips, new.floating_ips - old.floating_ips
    device, namespace = new.gateway.device, Namespace(namespace_name(*key))
    return (
        frozenset((namespace, *_floating_ips(removed, device, counting))),
        frozenset((namespace, *_floating_ips(added, device, counting))),
    )


def outermost(key: Key, state: State, driver: InterfaceDriver) -> Entries:
    """Return the entries of a namespace state whose removal removes all others: namespace, links and switch ports."""
    if isinstance(state, NetworkState):
        return frozenset()
    found = [one for port in state.all_ports() for one in driver.port(key, port)]
    return frozenset((Namespace(namespace_name(*key)), *select(found, Link), *select(found, SwitchPort)))


@lru_cache(maxsize=1024)
def link_local(mac: str) -> IPv6Interface:
    """Return the link-local address that follows from a MAC address (modified EUI-64, RFC 4291 appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    suffix = bytes((raw[0] ^ 2,)) + raw[1:3] + b"\xff\xfe" + raw[3:]
    return IPv6Interface((b"\xfe\x80" + bytes(6) + suffix, 64))


def _namespace(key: Key, state: NamespaceState, driver: InterfaceDriver, counting: bool) -> Iterator[Entry]:
    yield Namespace(namespace_name(*key))
    yield from SYSCTLS[state.kind]
    is_router = state.kind in ROUTER_KINDS
    if is_router:
        yield from map(Table, tables.of_router(counting=counting))
    for port in state.all_ports():
        yield from _port(key, port, driver)
        if is_router:
            yield DeviceSettings(port.device)
    yield from _routes(state)
    yield from _rules(state)
    for neighbour in state.neighbours:
        yield KernelNeighbour(neighbour.device, neighbour.address, neighbour.mac)
    if state.gateway is not None:
        yield from _translations(state, state.gateway, counting)
        defaults = (one for one in state.routes if one.destination == _EVERYTHING_IPV6 and one.table == MAIN_TABLE)
        if state.gateway.has_ipv6 and not any(defaults):
            # No IPv6 next hop is configured: router advertisements provide the default route.
            yield AcceptRA(state.gateway.device)


def _translations(state: NamespaceState, gateway: Port, counting: bool) -> Iterator[Entry]:
    device = device_key(gateway.device)
    yield Element(tables.EXTERNAL, device)
    if counting:
        yield Element(tables.TRAFFIC_EXTERNAL, device)
    if state.nat_address is not None:
        address = state.nat_address.packed
        if state.snat:
            yield Element(tables.GATEWAY_SNAT, device, address)
            yield Element(tables.GUARDED, device)
            for interface in gateway.addresses:
                if isinstance(interface, IPv4Interface):
                    yield Element(tables.GATEWAY_ADDRESSES, interface.packed)
        for port in state.ports:
            yield Element(tables.HAIRPIN_SNAT, device_key(port.device), address)
    yield from _floating_ips(state.floating_ips, gateway.device, counting)


def _floating_ips(floating_ips: frozenset[FloatingIP], gateway: str, counting: bool) -> Iterator[Entry]:
    for fip in floating_ips:
        floating, fixed = fip.floating.packed, fip.fixed.packed
        yield Element(tables.FLOATING_DNAT, floating, fixed)
        yield Element(tables.FLOATING_SNAT, fixed, floating)
        yield DeviceAddress(gateway, IPv4Interface((floating, 32)))
        if counting:
            yield Element(tables.TRAFFIC_IN, floating)
            yield Element(tables.TRAFFIC_OUT, floating)


def _port(key: Key, port: Port, driver: InterfaceDriver) -> Iterator[Entry]:
    yield from driver.port(key, port)
    if port.has_ipv6:
        yield from _address(port.device, link_local(port.mac))
    for interface in port.addresses:
        yield from _address(port.device, interface)


def _address(device: str, interface: Interface) -> Iterator[Entry]:
    yield DeviceAddress(device, interface)
    if interface.network.prefixlen < interface.max_prefixlen:
        source = interface.ip if isinstance(interface, IPv4Interface) else None
        yield ConnectedRoute(device, interface.network, source)


def _routes(state: NamespaceState) -> Iterator[Entry]:
    """Yield the routes of a namespace; default routes through its gateway have the protocol of neutron-l3-agent."""
    for route in state.routes:
        if route.table != MAIN_TABLE:
            yield KernelRoute(route.destination, route.hops, table=route.table)
        elif route.destination.prefixlen or state.gateway is None or _devices(route) != {state.gateway.device}:
            yield KernelRoute(route.destination, route.hops)
        else:
            onlink = not all(_is_connected(hop.via, state.gateway) for hop in route.hops)
            yield KernelRoute(route.destination, route.hops, PROTOCOL_STATIC, onlink=onlink)


def _rules(state: NamespaceState) -> Iterator[Entry]:
    """Yield the policy rules of a namespace; the kernel has one for each IP version."""
    for rule in state.rules:
        for version in (4, 6) if rule.source is None else (rule.source.version,):
            yield KernelRule(version, rule.priority, rule.table, rule.source, rule.device)


def _devices(route: Route) -> set[str]:
    return {hop.device for hop in route.hops}


def _is_connected(via: Address | None, gateway: Port) -> bool:
    """Return True if a next hop is in a subnet of the gateway port; every device has fe80::/64."""
    if via is None or (via.version == 6 and via.is_link_local):
        return True
    return any(via in interface.network for interface in gateway.addresses)
