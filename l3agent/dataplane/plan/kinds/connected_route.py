# SPDX-License-Identifier: Apache-2.0
"""Connected routes, which the kernel makes."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import ClassVar

from l3agent.dataplane.netlink import routes
from l3agent.dataplane.plan.kinds.base import Batches, Entry, Inside, Operation
from l3agent.dataplane.plan.kinds.observation import Dump
from l3agent.model.states import Network


def _parse(data: bytes, names: dict[int, str]) -> frozenset[ConnectedRoute]:
    found = routes.parse_routes(data, names, routes.PROTOCOL_KERNEL)
    return frozenset(
        ConnectedRoute(hop.device, network) for network, hops in found.items() for hop in hops if hop.via is None
    )


@dataclass(frozen=True, slots=True)
class ConnectedRoute(Entry):
    """The route to the network of an address, which the kernel adds and removes with the address.

    Its notifications are those of routes (:mod:`.route`).

    :param source: preferred source address of the route; IPv6 routes have none.
    """

    kind: ClassVar[str] = "connected_route"
    is_kernel_made: ClassVar[bool] = True
    dumps: ClassVar[tuple[Dump, ...]] = tuple(Dump(routes.dump_routes(version), _parse) for version in (4, 6))

    device: str
    network: Network
    source: IPv4Address | None = field(default=None, compare=False)

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.device, self.network

    def devices(self) -> Collection[str]:
        """Return the devices in the namespace that the entry is on."""
        return (self.device,)

    def needs_ipv6(self) -> bool:
        """Return True if the kernel refuses the entry in a namespace without IPv6."""
        return self.network.version == 6

    def is_implied(self) -> bool:
        """Return True if a state without any IPv6 address or route has the entry as well, where it needs IPv6."""
        return self.network.is_link_local

    @classmethod
    def commands(cls, operation: Operation[ConnectedRoute], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        route = operation.entry
        if route.network.version == 6:
            made = f"route append {route.network} dev {route.device} proto kernel metric 256"
            return [f"ip -6 -n {namespace} {made}"]
        source = f" src {route.source}" if route.source else ""
        return [f"ip -n {namespace} route replace {route.network} dev {route.device} proto kernel scope link{source}"]

    @classmethod
    def encode_additions(cls, operations: Sequence[Operation[ConnectedRoute]], made: Batches, target: Inside) -> None:
        """Add the messages that restore routes."""
        for one in operations:
            route = one.entry
            message = routes.connected_route(route.network, target.index[route.device], route.source)
            made.connected_routes.append((message, one))

    @classmethod
    def select_observed(cls, found: frozenset[ConnectedRoute], desired: frozenset[Entry]) -> frozenset[ConnectedRoute]:
        """Return the desired ones: of the routes that the kernel creates no others count."""
        return found & desired
