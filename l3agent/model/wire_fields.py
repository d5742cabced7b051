# SPDX-License-Identifier: Apache-2.0
"""Ports, routes and policy rules of a namespace on the wire: lists of strings, numbers and bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

from l3agent.exceptions import InvalidState
from l3agent.model.names import port_device
from l3agent.model.states import (
    DEFAULT_TABLE,
    LOCAL_TABLE,
    MAIN_TABLE,
    Interface,
    Network,
    NextHop,
    PolicyRule,
    Port,
    Route,
)
from l3agent.model.validators import (
    MTU_MAX,
    MTU_MIN,
    is_id,
    is_link_local,
    is_routable,
    is_unicast,
    is_unicast_mac,
)

INVALID_ID = "expected 11 to 36 hexadecimal digits and hyphens"
#: ``FRA_PRIORITY`` has 32 bits. The kernel's own rules have 0 (local), 32766 (main) and 32767 (default). Rules of
#: distributed routers follow the main table: their priorities derive from addresses, as with neutron-l3-agent.
_PRIORITY_MAX = 2**32 - 1
_KERNEL_PRIORITIES = frozenset((32766, 32767))
#: ``RTA_TABLE`` and ``FRA_TABLE`` have 32 bits (``linux/rtnetlink.h``, ``linux/fib_rules.h``).
_TABLE_MAX = 0xFFFFFFFF
_KERNEL_TABLES = frozenset((DEFAULT_TABLE, MAIN_TABLE, LOCAL_TABLE))


def pack_port(port: Port) -> list[Any]:
    """Return the wire form of a port."""
    addresses = sorted([interface.packed, interface.network.prefixlen] for interface in port.addresses)
    return [port.id, port.network_id, port.device, port.mac, port.mtu, addresses]


def unpack_port(wire: list[Any], prefix: str) -> Port:
    """Return a port whose device name follows from its id, or is the device of a host."""
    port_id, network_id, device, mac, mtu, addresses = wire
    if type(port_id) is not str or not is_id(port_id):
        raise InvalidState("port: id", port_id, INVALID_ID)
    if device != (name := port_device(prefix, port_id)):
        raise InvalidState(f"port {port_id}: device", device, f"expected {name}")
    if type(network_id) is not str or not is_id(network_id):
        raise InvalidState(f"port {port_id}: network", network_id, INVALID_ID)
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


def pack_routes(routes: Iterable[Route]) -> list[Any]:
    """Return the wire form of routes, sorted."""
    return sorted(map(_pack_route, routes), key=lambda wire: wire[:2] + wire[3:])


def _pack_route(route: Route) -> list[Any]:
    destination = route.destination
    hops = [[hop.device, None if hop.via is None else hop.via.packed] for hop in route.hops]
    hops.sort(key=lambda hop: (hop[0], hop[1] or b""))
    table = [] if route.table == MAIN_TABLE else [route.table]
    return [destination.network_address.packed, destination.prefixlen, hops, *table]


def unpack_route(wire: list[Any], devices: Collection[str]) -> Route:
    """Return a route through devices of its state; the form of a route of the main table has no table."""
    packed, length, hops, *tables = wire
    destination = _unpack_network("route: destination", packed, length)
    table = tables[0] if tables else MAIN_TABLE
    if tables:
        _check_table(f"route to {destination}", table)
    if len(tables) > 1:
        raise InvalidState(f"route to {destination}: tables", tables, "expected one")
    if not hops:
        raise InvalidState(f"route to {destination}: next hops", hops, "expected one or more")
    return Route(destination, frozenset(_unpack_hop(destination, device, via, devices) for device, via in hops), table)


def pack_rules(rules: Iterable[PolicyRule]) -> list[Any]:
    """Return the wire form of policy rules, sorted."""
    return sorted(map(_pack_rule, rules), key=lambda wire: (*wire[:2], wire[2] or [], wire[3] or ""))


def unpack_rule(wire: list[Any], devices: Collection[str]) -> PolicyRule:
    """Return a policy rule for packets from a network, or of an incoming device of its state, or both."""
    priority, table, source, device = wire
    if type(priority) is not int or not 0 < priority <= _PRIORITY_MAX or priority in _KERNEL_PRIORITIES:
        reason = f"expected a number from 1 to {_PRIORITY_MAX} other than 32766 and 32767"
        raise InvalidState("rule: priority", priority, reason)
    _check_table(f"rule {priority}", table)
    if device is not None and device not in devices:
        raise InvalidState(f"rule {priority}: device", device, "expected the device of a port of the state")
    if source is None:
        if device is None:
            raise InvalidState(f"rule {priority}", wire, "expected a source or a device")
        return PolicyRule(priority, table, None, device)
    packed, length = source
    if length == 0:
        # The kernel keeps no such source, so that the rule would never be as desired.
        raise InvalidState(f"rule {priority}: source", source, "expected a network, or none for all sources")
    return PolicyRule(priority, table, _unpack_network(f"rule {priority}: source", packed, length), device)


def _pack_rule(rule: PolicyRule) -> list[Any]:
    source = None if rule.source is None else [rule.source.network_address.packed, rule.source.prefixlen]
    return [rule.priority, rule.table, source, rule.device]


def _check_table(where: str, table: Any) -> None:
    if type(table) is not int or not 0 < table <= _TABLE_MAX or table in _KERNEL_TABLES:
        reason = f"expected a number from 1 to {_TABLE_MAX} other than {DEFAULT_TABLE}, {MAIN_TABLE} and {LOCAL_TABLE}"
        raise InvalidState(f"{where}: table", table, reason)


def _unpack_network(where: str, packed: bytes, length: int) -> Network:
    if type(packed) is not bytes or len(packed) not in (4, 16) or type(length) is not int:
        raise InvalidState(where, packed, "expected the bytes of a network")
    try:
        network = IPv4Network((packed, length)) if len(packed) == 4 else IPv6Network((packed, length))
    except ValueError as exc:
        raise InvalidState(where, f"{packed.hex()}/{length}", str(exc)) from exc
    if not is_routable(network):
        raise InvalidState(where, str(network), "expected a routable network")
    return network


def _unpack_hop(destination: Network, device: str, via: bytes | None, devices: Collection[str]) -> NextHop:
    if device not in devices:
        raise InvalidState(f"route to {destination}: device", device, "expected the device of a port of the state")
    if via is None:
        return NextHop(device, None)
    if type(via) is not bytes or 8 * len(via) != destination.max_prefixlen or not is_unicast(via):
        raise InvalidState(f"route to {destination}: next hop", via, "expected a unicast address of the same family")
    return NextHop(device, IPv4Address(via) if len(via) == 4 else IPv6Address(via))
