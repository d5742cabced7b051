# SPDX-License-Identifier: Apache-2.0
"""rtnetlink: routes.

Source: rtnetlink(7), linux/rtnetlink.h.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from struct import Struct, unpack_from
from typing import NamedTuple

from l3agent.dataplane.netlink.message import (
    CREATE,
    DUMP,
    REPLACE,
    attribute,
    attribute_map,
    message,
    messages,
    nested,
    u32,
)
from l3agent.dataplane.netlink.rtnl import AF_INET, AF_INET6, SCOPE_LINK, SCOPE_NOWHERE, SCOPE_UNIVERSE
from l3agent.model.states import Address, Network, NextHop

NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26

# RTA_* (linux/rtnetlink.h)
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 5, 6, 7, 9, 15
#: RT_TABLE_UNSPEC, RT_TABLE_MAIN and RT_TABLE_LOCAL; the header of a message has 8 bits for the number of a table.
ANY_TABLE, MAIN_TABLE, _LOCAL_TABLE = 0, 254, 255
_MAX_HEADER_TABLE = 255
_UNICAST = 1
#: Protocol number of our routes, unused in rt_protos of iproute2.
ROUTE_PROTOCOL = 201
#: RTPROT_KERNEL: connected routes. For IPv6 their metric is IP6_RT_PRIO_ADDRCONF (net/ip6_route.h).
PROTOCOL_KERNEL = 2
_PRIORITY_OF_KERNEL = 256
#: RTPROT_BOOT is the default of ip-route(8); RTPROT_STATIC is the protocol of neutron-l3-agent, and of our default
#: routes through a gateway device, so that neither agent replaces the routes of the other.
PROTOCOL_BOOT, PROTOCOL_STATIC = 3, 4
#: RTPROT_RA
PROTOCOL_RA = 9
#: The next hop is on the link (RTNH_F_ONLINK). Without the flag, IPv6 rejects a next hop that is reached through a
#: route with a next hop, even if that route is about to be removed. The flag has no effect on an installed route.
_ON_LINK = 4
#: IP6_RT_PRIO_USER (net/ip6_route.h): the default metric of an IPv6 route. An IPv4 route has no default metric.
_METRIC_IPV6 = 1024

Hops = Collection[tuple[int, Address | None]]
_RTMSG = Struct("=BBBBBBBBI")
_RTNEXTHOP = Struct("=HBBi")


class RouteInfo(NamedTuple):
    """A route in a dump.

    :param metric: None for the default metric.
    """

    destination: Network
    hops: frozenset[NextHop]
    protocol: int
    metric: int | None


def new_route(
    destination: Network,
    hops: Hops,
    protocol: int = ROUTE_PROTOCOL,
    *,
    onlink: bool = True,
    table: int = MAIN_TABLE,
) -> bytes:
    """Return a request that adds or replaces the route to a destination in a table.

    :param hops: (index of the link, next hop or None for on link).
    :param onlink: IPv6 treats the next hops as neighbours, independently of its other routes.
    """
    on_link = destination.version == 4 and all(via is None for _, via in hops)
    scope = SCOPE_LINK if on_link else SCOPE_UNIVERSE
    flags = _ON_LINK if onlink and destination.version == 6 else 0
    return message(NEWROUTE, CREATE | REPLACE, _route(destination, hops, protocol, scope, flags, table))


def _route(
    destination: Network, hops: Hops, protocol: int, scope: int, flags: int = 0, table: int = MAIN_TABLE
) -> bytes:
    listed = sorted(hops, key=lambda hop: (hop[0], hop[1].packed if hop[1] else b""))
    if len(listed) != 1:
        head = _route_head(destination, protocol, scope, table=table)
        return head + nested(_RTA_MULTIPATH, *(_next_hop(index, via, flags) for index, via in listed))
    ((index, via),) = listed
    head = _route_head(destination, protocol, scope, flags if via else 0, table)
    return head + u32(_RTA_OIF, index) + (attribute(_RTA_GATEWAY, via.packed) if via else b"")


def connected_route(network: Network, index: int, source: IPv4Address | None) -> bytes:
    """Return a request that adds a connected route equal to the kernel's, which the kernel removes with the address.

    An IPv4 route replaces the route in its place. An IPv6 route does not replace, because the route of another device
    may have the same destination (fe80::/64): if the route exists, the kernel answers EEXIST.
    """
    if network.version == 6:
        body = _route_head(network, PROTOCOL_KERNEL, SCOPE_UNIVERSE) + u32(_RTA_OIF, index)
        return message(NEWROUTE, CREATE, body + u32(_RTA_PRIORITY, _PRIORITY_OF_KERNEL))
    body = _route_head(network, PROTOCOL_KERNEL, SCOPE_LINK) + u32(_RTA_OIF, index)
    return message(NEWROUTE, CREATE | REPLACE, body + (attribute(_RTA_PREFSRC, source.packed) if source else b""))


def delete_route(destination: Network, table: int = MAIN_TABLE) -> bytes:
    """Return a request that deletes our route to a destination in a table with any next hops."""
    return message(DELROUTE, 0, _route_head(destination, ROUTE_PROTOCOL, _any_scope(destination), table=table))


def delete_default(destination: Network, hops: Hops, protocol: int, metric: int | None) -> bytes:
    """Return a request that deletes a default route of another protocol with exactly these next hops.

    :param metric: None for the default metric.
    """
    body = _route(destination, hops, protocol, _any_scope(destination))
    return message(DELROUTE, 0, body + (b"" if metric is None else u32(_RTA_PRIORITY, metric)))


def delete_static_route(destination: Network) -> bytes:
    """Return a request that deletes the route of neutron-l3-agent to a destination."""
    return message(DELROUTE, 0, _route_head(destination, PROTOCOL_STATIC, _any_scope(destination)))


def _any_scope(destination: Network) -> int:
    """Return the scope with which a deletion selects a route of any scope; IPv6 routes have none."""
    return SCOPE_NOWHERE if destination.version == 4 else SCOPE_UNIVERSE


def delete_ra_default(index: int, via: Address) -> bytes:
    """Return a request that deletes the IPv6 default route from the advertisements of one router on a link.

    Without ``via``, the kernel deletes the first of such routes.
    """
    body = _route_head(ip_network("::/0"), PROTOCOL_RA, SCOPE_UNIVERSE) + u32(_RTA_OIF, index)
    return message(DELROUTE, 0, body + attribute(_RTA_GATEWAY, via.packed))


def _route_head(destination: Network, protocol: int, scope: int, flags: int = 0, table: int = MAIN_TABLE) -> bytes:
    family = AF_INET if destination.version == 4 else AF_INET6
    in_header = table if table <= _MAX_HEADER_TABLE else ANY_TABLE
    head = _RTMSG.pack(family, destination.prefixlen, 0, 0, in_header, protocol, scope, _UNICAST, flags)
    to = attribute(_RTA_DST, destination.network_address.packed) if destination.prefixlen else b""
    return head + to + (b"" if in_header else u32(_RTA_TABLE, table))


def _next_hop(index: int, via: Address | None, flags: int) -> bytes:
    gateway = attribute(_RTA_GATEWAY, via.packed) if via else b""
    return _RTNEXTHOP.pack(_RTNEXTHOP.size + len(gateway), flags if via else 0, 0, index) + gateway


def get_route(address: IPv4Address) -> bytes:
    """Return a request for the route of packets to an IPv4 address."""
    return message(GETROUTE, 0, _RTMSG.pack(AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_DST, address.packed))


def parse_device(data: bytes) -> int | None:
    """Return the index of the device in the answer to :func:`get_route`; None if there is no route."""
    for kind, _, _, start, end in messages(data):
        if kind == NEWROUTE:
            parts = attribute_map(data, start + _RTMSG.size, end)
            return int(unpack_from("=I", parts[_RTA_OIF])[0]) if _RTA_OIF in parts else None
    return None


def dump_routes(version: int) -> bytes:
    """Return a request for the main table of one IP version (4 or 6); the kernel filters it on a strict socket."""
    family = AF_INET if version == 4 else AF_INET6
    return message(GETROUTE, DUMP, _RTMSG.pack(family, 0, 0, 0, MAIN_TABLE, 0, 0, 0, 0))


def dump_tables(version: int) -> bytes:
    """Return a request for the routes of our protocol in all tables; the kernel filters them on a strict socket."""
    family = AF_INET if version == 4 else AF_INET6
    return message(GETROUTE, DUMP, _RTMSG.pack(family, 0, 0, 0, ANY_TABLE, ROUTE_PROTOCOL, 0, 0, 0))


def parse_tables(data: bytes, names: dict[int, str]) -> dict[tuple[int, Network], frozenset[NextHop]]:
    """Return the routes of our protocol in all tables except the main one, by table and destination."""
    found: dict[tuple[int, Network], frozenset[NextHop]] = {}
    for kind, _, _, start, end in messages(data):
        if kind != NEWROUTE:
            continue
        family, prefix, _, _, _, protocol, _, route_type, _ = _RTMSG.unpack_from(data, start)
        parts = attribute_map(data, start + _RTMSG.size, end)
        table = _table(data, start, parts)
        if protocol == ROUTE_PROTOCOL and route_type == _UNICAST and table not in (MAIN_TABLE, _LOCAL_TABLE):
            key = table, _destination(family, prefix, parts)
            found[key] = found.get(key, frozenset()) | _parse_hops(parts, names)
    return found


def _table(data: bytes, start: int, parts: dict[int, bytes]) -> int:
    return int(unpack_from("=I", parts[_RTA_TABLE])[0] if _RTA_TABLE in parts else data[start + 4])


def parse_routes(
    data: bytes, names: dict[int, str], protocol: int = ROUTE_PROTOCOL
) -> dict[Network, frozenset[NextHop]]:
    """Return the routes of one protocol in received bytes, with next hops by device name.

    Flags are not compared: neutron-l3-agent and old releases set none.
    """
    found: dict[Network, frozenset[NextHop]] = {}
    for route in _each_route(data, names, (protocol,)):
        if route.protocol == protocol:
            # Old kernels report each next hop of an IPv6 multipath route as a separate route.
            found[route.destination] = found.get(route.destination, frozenset()) | route.hops
    return found


def parse_default_routes(data: bytes, names: dict[int, str]) -> list[RouteInfo]:
    """Return the default routes of every protocol in received bytes."""
    found: dict[tuple[Network, int, int | None], RouteInfo] = {}
    for route in _each_route(data, names, ()):
        key = route.destination, route.protocol, route.metric
        found[key] = route._replace(hops=found[key].hops | route.hops) if key in found else route
    return list(found.values())


def _each_route(data: bytes, names: dict[int, str], protocols: tuple[int, ...]) -> Iterator[RouteInfo]:
    """Yield the routes of some protocols, and all default routes."""
    for kind, _, _, start, end in messages(data):
        if kind != NEWROUTE:
            continue
        family, prefix, _, _, table, protocol, _, route_type, _ = _RTMSG.unpack_from(data, start)
        if table != MAIN_TABLE or route_type != _UNICAST or (prefix and protocol not in protocols):
            continue
        parts = attribute_map(data, start + _RTMSG.size, end)
        (metric,) = unpack_from("=I", parts[_RTA_PRIORITY]) if _RTA_PRIORITY in parts else (0,)
        given = None if metric == (0 if family == AF_INET else _METRIC_IPV6) else metric
        yield RouteInfo(_destination(family, prefix, parts), _parse_hops(parts, names), protocol, given)


def parse_destinations(data: bytes) -> Iterator[tuple[int, Network, bool]]:
    """Yield (table, destination, True for our protocol) of each route in received bytes; not of the local table."""
    for kind, _, _, start, end in messages(data):
        if kind == NEWROUTE:
            family, prefix, _, _, in_header, made_by, _, route_type, _ = _RTMSG.unpack_from(data, start)
            if in_header != _LOCAL_TABLE and family in (AF_INET, AF_INET6):
                parts = attribute_map(data, start + _RTMSG.size, end)
                ours = (made_by, route_type) == (ROUTE_PROTOCOL, _UNICAST)
                yield _table(data, start, parts), _destination(family, prefix, parts), ours


def _destination(family: int, prefix: int, parts: dict[int, bytes]) -> Network:
    return ip_network((parts.get(_RTA_DST) or bytes(4 if family == AF_INET else 16), prefix))


def _parse_hops(parts: dict[int, bytes], names: dict[int, str]) -> frozenset[NextHop]:
    multipath = parts.get(_RTA_MULTIPATH)
    if multipath is None:
        (index,) = unpack_from("=I", parts[_RTA_OIF]) if _RTA_OIF in parts else (0,)
        return frozenset((NextHop(names.get(index, f"index {index}"), _gateway(parts)),))
    hops, offset = set(), 0
    while offset + _RTNEXTHOP.size <= len(multipath):
        length, _, _, index = _RTNEXTHOP.unpack_from(multipath, offset)
        inside = attribute_map(multipath, offset + _RTNEXTHOP.size, offset + length)
        hops.add(NextHop(names.get(index, f"index {index}"), _gateway(inside)))
        offset += (length + 3) & ~3
    return frozenset(hops)


def _gateway(parts: dict[int, bytes]) -> IPv4Address | IPv6Address | None:
    raw = parts.get(_RTA_GATEWAY)
    return None if raw is None else ip_address(raw)
