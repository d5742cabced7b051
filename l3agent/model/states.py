# SPDX-License-Identifier: Apache-2.0
"""Desired states as immutable values; addresses are values of :mod:`ipaddress`.

A state is what one owner has in one namespace. A router has one or more, each with its own key; the data plane works on
one key at a time::

    payload -> desired_state() -> RouterState            the agent: one per router
                                    |
                                    +-- NamespaceState   one per namespace, in order; e.g. ("router", id)
                                    +-- NamespaceState   ...
                                          |
                                          v  router_keys.keyed_states()
                     [(key, state), (key, None), ...]    one request
                                          |
                                          v              the data plane: observe, diff, apply per key
                     [Report(key), Report(key), ...]
                                          |
                                          v  router_keys.merge_reports()
                                       Report            the result of the router

Simulated hosts are namespace states of kind ``host``. The bridge of a network in the host namespace is a
:class:`NetworkState`.

The values are valid (:mod:`l3agent.model.desired` and :mod:`l3agent.model.wire` check them). States that mean the same
are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Literal

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
#: Kind of a namespace. Each has a row in the table of :mod:`l3agent.model.names`.
NamespaceKind = Literal["router", "host"]
Kind = NamespaceKind | Literal["network"]
#: Identity of a state: ("router", uuid), ("network", uuid) or ("host", name).
Key = tuple[Kind, str]
#: Minimum MTU of a link with IPv6 (RFC 8200 section 5).
IPV6_MTU_MIN = 1280
#: Numbers of the kernel's own routing tables (``RT_TABLE_*`` in ``linux/rtnetlink.h``).
DEFAULT_TABLE, MAIN_TABLE, LOCAL_TABLE = 253, 254, 255


def is_network_or_broadcast(address: Address, network: Network) -> bool:
    """Return True if an IPv4 address is the network or broadcast address of a subnet; /31 has neither (RFC 3021)."""
    ends = (network.network_address, network.broadcast_address)
    return network.version == 4 and network.prefixlen < 31 and address in ends


def is_host_address(address: Address, network: Network) -> bool:
    """Return True if a host of a subnet can have an address: one in it that is not its network or broadcast address."""
    return address in network and not is_network_or_broadcast(address, network)


def ipv6_obstacle(mtu: int | None) -> str | None:
    """Return why a device with an MTU has no IPv6, None if it has: the kernel disables IPv6 below the minimum."""
    if mtu is None or mtu >= IPV6_MTU_MIN:
        return None
    return f"IPv6 needs an MTU of {IPV6_MTU_MIN}, the port has {mtu}"


@dataclass(frozen=True, slots=True)
class Port:
    """A device in a namespace and its network.

    ``addresses`` excludes the IPv6 link-local address: it follows from the MAC address (EUI-64, RFC 4291 appendix A).
    """

    id: str
    network_id: str
    device: str
    mac: str
    mtu: int | None
    addresses: frozenset[Interface]

    @property
    def has_ipv6(self) -> bool:
        """True if the device has IPv6."""
        return ipv6_obstacle(self.mtu) is None


@dataclass(frozen=True, slots=True)
class NextHop:
    """A next hop of a route: device and gateway; ``via`` is None if the destination is on link."""

    device: str
    via: Address | None


@dataclass(frozen=True, slots=True)
class Route:
    """A route; several next hops make a multipath route.

    :param table: number of the routing table.
    """

    destination: Network
    hops: frozenset[NextHop]
    table: int = MAIN_TABLE


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A rule that selects a routing table (ip-rule(8)).

    :param priority: rules apply in ascending order; the rule of the main table has 32766.
    :param table: number of the selected table, which is none of the kernel's own.
    :param source: network of the source address; None: any source, of both families.
    :param device: incoming device; None: any. At least one of ``source`` and ``device`` is given.
    """

    priority: int
    table: int
    source: Network | None
    device: str | None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour entry: the MAC address of an address on the link of a device (ip-neighbour(8))."""

    device: str
    address: Address
    mac: str


@dataclass(frozen=True, slots=True)
class FloatingIP:
    """A floating address of the external network and the fixed address that it is translated to."""

    floating: IPv4Address
    fixed: IPv4Address

    def __hash__(self) -> int:
        # The hash of an address formats it as text first.
        return hash((int(self.floating), int(self.fixed)))


@dataclass(frozen=True, slots=True)
class NamespaceState:
    """Parts that one owner has in one network namespace. An empty field is an absent part.

    Extensions add to these fields (:mod:`l3agent.model.additions`). Parts that no router has yet have their place here
    too, as further fields: a veth pair to another namespace, and programs that run inside.

    :param kind: determines the names of the namespace and of its devices (:mod:`l3agent.model.names`).
    :param gateway: the port on the external network; ``ports`` does not contain it.
    :param rules: rules that select a table other than the main table.
    :param neighbours: permanent neighbour entries, one for each address at a device.
    :param nat_address: IPv4 address of the gateway port that SNAT translates to; None if there is none.
    :param snat: traffic of tenants leaves with ``nat_address`` as its source.
    """

    kind: NamespaceKind
    id: str
    ports: frozenset[Port] = frozenset()
    gateway: Port | None = None
    routes: frozenset[Route] = frozenset()
    rules: frozenset[PolicyRule] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    floating_ips: frozenset[FloatingIP] = frozenset()
    nat_address: IPv4Address | None = None
    snat: bool = False

    @property
    def key(self) -> Key:
        """Return the identity: no two states of a node have the same key."""
        return self.kind, self.id

    def all_ports(self) -> frozenset[Port]:
        """Return the internal ports and the gateway."""
        return self.ports if self.gateway is None else self.ports | {self.gateway}


@dataclass(frozen=True, slots=True)
class NetworkState:
    """A bridge that exists independently of ports, with the physical interface attached to it, if any."""

    id: str
    interface: str | None


#: State of one key.
State = NamespaceState | NetworkState


@dataclass(frozen=True, slots=True)
class RouterState:
    """A router: what it has in each of its namespaces, and what is not served.

    :param namespaces: in the order in which they are applied; no two have the same key.
    :param warnings: one sorted line per part of the payload that is skipped or not served; not compared.
    :param unserved_features: features of the router that this agent does not serve; not compared.
    :param unserved_floating_ips: ids of the associated floating IPs that are skipped; not compared.
    :param added_floating_ips: the floating IPs that extensions added; not compared.
    """

    id: str
    namespaces: tuple[NamespaceState, ...]
    warnings: tuple[str, ...] = field(default=(), compare=False)
    unserved_features: frozenset[str] = field(default=frozenset(), compare=False)
    unserved_floating_ips: frozenset[str] = field(default=frozenset(), compare=False)
    added_floating_ips: frozenset[FloatingIP] = field(default=frozenset(), compare=False)

    @property
    def gateway(self) -> Port | None:
        """The first gateway port, None if there is none."""
        return next((one.gateway for one in self.namespaces if one.gateway is not None), None)

    @property
    def snat(self) -> bool:
        """True if a namespace translates the source of tenants' traffic."""
        return any(one.snat for one in self.namespaces)

    @property
    def routes(self) -> frozenset[Route]:
        """The routes of all namespaces."""
        return frozenset(route for one in self.namespaces for route in one.routes)

    @property
    def floating_ips(self) -> frozenset[FloatingIP]:
        """The floating IPs of all namespaces."""
        return frozenset(fip for one in self.namespaces for fip in one.floating_ips)

    def all_ports(self) -> frozenset[Port]:
        """Return the ports in all namespaces, gateways included."""
        return frozenset(port for one in self.namespaces for port in one.all_ports())


@dataclass(frozen=True, slots=True)
class Report:
    """Result of applying one state, or all states of a router (:func:`l3agent.model.router_keys.merge_reports`).

    :param operations: the plan as command lines; with ``dry_run`` they were not applied. A long plan is cut to its
        first lines unless the request includes all.
    :param error: error message with the failed operation; None on success.
    :param timings: seconds of data-plane time by phase (``observe``, ``plan``, ``apply``).
    :param count: number of operations of the plan.
    """

    kind: Kind
    id: str
    operations: tuple[str, ...] = ()
    error: str | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    count: int = 0
