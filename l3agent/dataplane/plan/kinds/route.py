# SPDX-License-Identifier: Apache-2.0
"""Routes."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import attrgetter
from typing import Any, ClassVar

from l3agent.dataplane.netlink import routes
from l3agent.dataplane.netlink.routes import (
    MAIN_TABLE,
    PROTOCOL_BOOT,
    PROTOCOL_KERNEL,
    PROTOCOL_RA,
    PROTOCOL_STATIC,
    ROUTE_PROTOCOL,
)
from l3agent.dataplane.netlink.socket_filter import DROP, KEEP, Filter, Test
from l3agent.dataplane.plan.kinds.accept_ra import AcceptRA
from l3agent.dataplane.plan.kinds.base import Batches, Entry, Inside, Operation, select
from l3agent.dataplane.plan.kinds.connected_route import ConnectedRoute
from l3agent.dataplane.plan.kinds.observation import Dump, EventLocation, Notification
from l3agent.model.names import EXTERNAL_DEVICES
from l3agent.model.states import Network, NextHop

#: RTNLGRP_IPV4_ROUTE and RTNLGRP_IPV6_ROUTE (linux/rtnetlink.h).
_GROUPS = (7, 11)
#: Offsets in struct rtmsg: length of the destination, table, protocol.
_PREFIX_LENGTH_AT, _TABLE_AT, _PROTOCOL_AT = 1, 4, 5
_PROTOCOL_OF = attrgetter("protocol")
#: Names of route protocols in the output of ``ip``.
_PROTOCOLS = {PROTOCOL_BOOT: "boot", PROTOCOL_STATIC: "static", PROTOCOL_RA: "ra"}


@dataclass(frozen=True, slots=True)
class RouteEvent:
    """A route was added, changed or removed.

    :param is_ours: the route has our protocol. The replacement of a route is reported as an addition only.
    """

    is_removal: bool
    destination: Network
    is_ours: bool = True
    table: int = MAIN_TABLE

    def is_as_desired(self, location: EventLocation) -> bool:
        """Return True if the desired state has the same; else the state has to be observed.

        The removal of a foreign route is harmless; a new one may have replaced ours. Default routes of the main table
        are ours by their device, which the event does not have.
        """
        is_harmless = self.is_removal or not self.is_ours
        if not is_harmless or (self.table == MAIN_TABLE and not self.destination.prefixlen):
            return False
        desired = location.desired()
        if any((one.table, one.destination) == (self.table, self.destination) for one in select(desired, KernelRoute)):
            return False
        connected = select(desired, ConnectedRoute) if self.table == MAIN_TABLE else ()
        return all(one.network != self.destination for one in connected)


def _decode(is_removal: bool, raw: bytes) -> Iterator[RouteEvent]:
    for table, destination, ours in routes.parse_destinations(raw):
        yield RouteEvent(is_removal, destination, ours, table)


_NO_ADVERTISEMENT = Test(_PROTOCOL_AT, PROTOCOL_RA, DROP, KEEP)
_OUR_PROTOCOL_OR_ADDED: Filter = Test(
    _PROTOCOL_AT,
    ROUTE_PROTOCOL,
    KEEP,
    Test(_PROTOCOL_AT, PROTOCOL_BOOT, KEEP, Test(_PROTOCOL_AT, PROTOCOL_STATIC, KEEP)),
)
_OUR_PROTOCOL_OR_CONNECTED: Filter = Test(
    _PROTOCOL_AT, ROUTE_PROTOCOL, KEEP, Test(_PROTOCOL_AT, PROTOCOL_KERNEL, Test(_TABLE_AT, MAIN_TABLE, KEEP))
)


def _parse(data: bytes, names: dict[int, str]) -> frozenset[KernelRoute]:
    """Return our routes of the main table."""
    found = routes.parse_routes(data, names)
    ours = {KernelRoute(destination, hops) for destination, hops in found.items() if destination.prefixlen}
    return frozenset(ours).union(
        KernelRoute(*one) for one in routes.parse_default_routes(data, names) if _is_our_default(one)
    )


def _is_our_default(route: routes.RouteInfo) -> bool:
    through_gateway = all(hop.device.startswith(EXTERNAL_DEVICES) for hop in route.hops)
    return through_gateway or route.protocol == ROUTE_PROTOCOL


def _parse_other_tables(data: bytes, names: dict[int, str]) -> frozenset[KernelRoute]:
    found = routes.parse_tables(data, names)
    return frozenset(KernelRoute(destination, hops, table=table) for (table, destination), hops in found.items())


def _has_other_tables(entries: Collection[Entry]) -> bool:
    return not set(map(attrgetter("table"), select(entries, KernelRoute))) <= {MAIN_TABLE}


@dataclass(frozen=True, slots=True)
class KernelRoute(Entry):
    """A managed route: a route of our protocol, or any default route of the main table through a gateway device.

    :param metric: None for the default metric of the kernel.
    :param onlink: IPv6 treats the next hops as neighbours, independently of its other routes.
    :param table: number of the routing table.
    """

    kind: ClassVar[str] = "route"
    dumps: ClassVar[tuple[Dump, ...]] = (
        *(Dump(routes.dump_routes(version), _parse) for version in (4, 6)),
        *(Dump(routes.dump_tables(version), _parse_other_tables, _has_other_tables) for version in (4, 6)),
    )
    #: Routes of other programs are left out, since a routing daemon may have a million: all but new ones with the
    #: protocols of ip-route(8) and of neutron-l3-agent, which may have replaced one of ours, removed connected routes,
    #: and default routes except those from router advertisements.
    notification: ClassVar[Notification | None] = Notification(
        _GROUPS,
        routes.NEWROUTE,
        _decode,
        added=Test(_PREFIX_LENGTH_AT, 0, _NO_ADVERTISEMENT, _OUR_PROTOCOL_OR_ADDED),
        removed=Test(_PREFIX_LENGTH_AT, 0, _NO_ADVERTISEMENT, _OUR_PROTOCOL_OR_CONNECTED),
    )

    destination: Network
    hops: frozenset[NextHop]
    protocol: int = ROUTE_PROTOCOL
    metric: int | None = None
    onlink: bool = field(default=True, compare=False)
    table: int = MAIN_TABLE

    def identity(self) -> Hashable:
        """Return the identity of the object. The kernel does not replace a route from a router advertisement."""
        return self.destination, self.metric, self.protocol == PROTOCOL_RA, self.table

    def sort_key(self) -> tuple[Any, ...]:
        """Return the sort key among entries of the same phase; an on-link route precedes dependent routes."""
        network = self.destination
        leans = all(hop.via is not None for hop in self.hops)
        return leans, network.version, int(network.network_address), network.prefixlen, self.table

    def devices(self) -> Collection[str]:
        """Return the devices of the next hops."""
        return {hop.device for hop in self.hops}

    def needs_ipv6(self) -> bool:
        """Return True if the kernel refuses the entry in a namespace without IPv6."""
        return self.destination.version == 6

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON; without ``table`` for the main table."""
        found = super(KernelRoute, self).as_json()
        if self.table == MAIN_TABLE:
            del found["table"]
        return found

    @property
    def is_ours_by_protocol(self) -> bool:
        """True if table, destination and our protocol identify the route."""
        return (self.protocol, self.metric) == (ROUTE_PROTOCOL, None)

    @classmethod
    def commands(cls, operation: Operation[KernelRoute], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        route, is_removal = operation.entry, operation.verb == "remove"
        family = " -6" if route.destination.version == 6 else ""
        command = f"ip{family} -n {namespace} route"
        protocol = _PROTOCOLS.get(route.protocol, str(route.protocol))
        table = "" if route.table == MAIN_TABLE else f" table {route.table}"
        if is_removal and route.is_ours_by_protocol:
            return [f"{command} delete {route.destination} protocol {protocol}{table}"]
        onlink = " onlink" if not is_removal and route.onlink and family else ""
        hops = [
            (f"via {hop.via} " if hop.via else "") + f"dev {hop.device}" + (onlink if hop.via else "")
            for hop in sorted(route.hops, key=lambda hop: (hop.device, str(hop.via)))
        ]
        ways = hops[0] if len(hops) == 1 else " ".join(f"nexthop {hop}" for hop in hops)
        metric = "" if route.metric is None else f" metric {route.metric}"
        verb = "delete" if is_removal else "replace"
        return [f"{command} {verb} {route.destination} protocol {protocol}{table} {ways}{metric}"]

    @classmethod
    def encode_additions(cls, operations: Sequence[Operation[KernelRoute]], made: Batches, target: Inside) -> None:
        """Add the messages of additions and changes."""
        for one in operations:
            if one.verb != "remove":
                route = one.entry
                hops = [(target.index[hop.device], hop.via) for hop in route.hops]
                message = routes.new_route(
                    route.destination, hops, route.protocol, onlink=route.onlink, table=route.table
                )
                made.additions.append((message, one))

    @classmethod
    def encode_removals(cls, operations: Sequence[Operation[KernelRoute]], made: Batches, target: Inside) -> None:
        """Add the messages of removals."""
        for one in operations:
            if one.verb == "remove":
                route = one.entry
                if route.is_ours_by_protocol:
                    message = routes.delete_route(route.destination, route.table)
                else:
                    hops = [(target.index[hop.device], hop.via) for hop in route.hops]
                    message = routes.delete_default(route.destination, hops, route.protocol, route.metric)
                made.removals.append((message, one))

    @classmethod
    def select_observed(cls, found: frozenset[KernelRoute], desired: frozenset[Entry]) -> Collection[KernelRoute]:
        """Return the routes without the default routes from router advertisements that a device should accept."""
        # The copy of a set keeps the hashes, whose computation takes longer than all the rest.
        advertised = compress(found, map(PROTOCOL_RA.__eq__, map(_PROTOCOL_OF, found)))
        return found.difference(one for one in advertised if all(AcceptRA(hop.device) in desired for hop in one.hops))
