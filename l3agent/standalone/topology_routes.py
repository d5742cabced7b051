# SPDX-License-Identifier: Apache-2.0
"""Reads the static routes of routers and hosts in a topology file, and derives the default routes of hosts."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_network

from l3agent.model.states import Address, Interface, Network, is_host_address
from l3agent.standalone.addresses import read_address, read_network
from l3agent.standalone.document import Item
from l3agent.standalone.entities import ExtraRoute, VirtualNetwork

_EVERYTHING: dict[int, Network] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def read_routes(
    item: Item | None, connected: Collection[Network] | None, own: Collection[Address]
) -> tuple[ExtraRoute, ...]:
    """Return the routes of a list of ``{destination, nexthop}``; equal destinations form a multipath route.

    :param connected: the directly connected ranges of the router or host; None: unknown, next hops are not checked.
    :param own: the addresses of the router or host.
    """
    routes: list[ExtraRoute] = []
    for element in item.elements() if item else ():
        route = _route(element)
        if route is None:
            continue
        if route in routes:
            element.fail("duplicate", value=f"{route.destination} via {route.nexthop}")
        elif connected is not None:
            _reject_unreachable(element, route, connected, own)
        routes.append(route)
    return tuple(routes)


def _route(item: Item) -> ExtraRoute | None:
    fields = item.fields(("destination", "nexthop"), required=("destination", "nexthop"))
    destination = read_network(fields["destination"]) if "destination" in fields else None
    nexthop = read_address(fields["nexthop"]) if "nexthop" in fields else None
    if destination is None or nexthop is None:
        return None
    if destination.version != nexthop.version:
        fields["nexthop"].fail(f"the address family differs from {destination}")
        return None
    return ExtraRoute(destination, nexthop)


def _reject_unreachable(
    item: Item, route: ExtraRoute, connected: Collection[Network], own: Collection[Address]
) -> None:
    if route.destination in connected:
        item.fail("directly connected, a route is not possible", value=route.destination)
    if route.nexthop in own:
        item.fail("a next hop must be an address of another host", value=route.nexthop)
    elif not any(is_host_address(route.nexthop, network) for network in connected):
        item.fail("not a neighbour: the next hop is in none of the connected subnets", value=route.nexthop)


def default_routes(
    network: VirtualNetwork, addresses: Collection[Interface], routes: Collection[ExtraRoute]
) -> tuple[ExtraRoute, ...]:
    """Return the default routes of a host: the gateway of its subnet, per family without a default route in the file.

    A host with the address of the gateway gets none.
    """
    own = {address.ip for address in addresses}
    families = {route.destination.version for route in routes if route.destination.prefixlen == 0}
    defaults: list[ExtraRoute] = []
    for address in addresses:
        subnet = network.subnet_of(address.ip)
        if subnet and subnet.gateway and subnet.gateway not in own and address.version not in families:
            families.add(address.version)
            defaults.append(ExtraRoute(_EVERYTHING[address.version], subnet.gateway))
    return tuple(defaults)
