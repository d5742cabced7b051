# SPDX-License-Identifier: Apache-2.0
"""Desired states: what should exist, with every address a value of :mod:`ipaddress`.

Values here are already validated (:mod:`l3agent.model.desired` does that); equality is meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Literal

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
Kind = Literal["router", "network", "host"]
#: What a state is filed under: ("router", uuid), ("network", uuid) or ("host", name).
Key = tuple[Kind, str]
#: What every link with IPv6 carries (RFC 8200 section 5).
IPV6_MTU_MIN = 1280


def is_end(address: Address, network: Network) -> bool:
    """Tell whether an IPv4 address names a whole subnet: its network or its broadcast address (RFC 3021)."""
    ends = (network.network_address, network.broadcast_address)
    return network.version == 4 and network.prefixlen < 31 and address in ends


@dataclass(frozen=True, slots=True)
class Port:
    """A device inside a namespace and the network it is plugged into.

    The IPv6 link-local address is not listed: it follows from the MAC address (EUI-64, RFC 4291 appendix A).
    """

    id: str
    network_id: str
    device: str
    mac: str
    mtu: int | None
    addresses: frozenset[Interface]

    @property
    def speaks_ipv6(self) -> bool:
        """Whether the device has IPv6: with a smaller MTU the kernel refuses to speak of it there."""
        return self.mtu is None or self.mtu >= IPV6_MTU_MIN


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where a route leads: through ``device``, to ``via``, or on link where ``via`` is None."""

    device: str
    via: Address | None


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table; several next hops share the traffic (multipath)."""

    destination: Network
    hops: frozenset[NextHop]


@dataclass(frozen=True, slots=True)
class FloatingIP:
    """An address of the external network that stands for one inside."""

    floating: IPv4Address
    fixed: IPv4Address


@dataclass(frozen=True, slots=True)
class RouterState:
    """A legacy router.

    :param gateway: the port on the external network, also part of no other collection.
    :param nat_address: IPv4 address of the gateway port that stands for the router; None without one.
    :param snat: traffic of tenants leaves with ``nat_address`` as its source.
    :param warnings: what of the payload is skipped or not served, for logs and people, in order; not compared.
    :param unserved_features: features the router asks for and this agent does not serve; not compared.
    :param unserved_floating_ips: ids of the associated floating IPs that are skipped; not compared.
    """

    id: str
    ports: frozenset[Port]
    gateway: Port | None
    routes: frozenset[Route]
    floating_ips: frozenset[FloatingIP]
    nat_address: IPv4Address | None
    snat: bool
    warnings: tuple[str, ...] = field(default=(), compare=False)
    unserved_features: frozenset[str] = field(default=frozenset(), compare=False)
    unserved_floating_ips: frozenset[str] = field(default=frozenset(), compare=False)

    def all_ports(self) -> frozenset[Port]:
        """Return the internal ports and the gateway."""
        return self.ports if self.gateway is None else self.ports | {self.gateway}


@dataclass(frozen=True, slots=True)
class NetworkState:
    """A bridge that must stay although no port needs it, with the real card that leads outside, if any."""

    id: str
    interface: str | None


@dataclass(frozen=True, slots=True)
class HostState:
    """A namespace that stands for a virtual machine or an outside host (standalone mode)."""

    id: str
    port: Port
    routes: frozenset[Route]


State = RouterState | NetworkState | HostState


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one state.

    :param operations: the plan in lines, as a person reads it; with ``dry_run`` it was not carried out. Of a long one
        only the first lines, unless all were asked for.
    :param error: None, or what went wrong, with the operation.
    :param timings: seconds of data-plane time by phase (``observe``, ``plan``, ``apply``).
    :param count: how many operations the plan has.
    """

    kind: Kind
    id: str
    operations: tuple[str, ...] = ()
    error: str | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    count: int = 0
