# SPDX-License-Identifier: Apache-2.0
"""The contents of a topology file as immutable values: networks, routers and hosts, with ids derived from their names.

A router that compares equal before and after a change of the file needs no update.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from l3agent.model.states import Address, Interface, Network

# An arbitrary constant. It must not change, because all ids depend on it.
_NAMESPACE = uuid.UUID("0c1d7f0e-6a53-4c5e-9d3b-2f0f5c1f7a11")

#: The first three octets of the MAC addresses that Neutron assigns by default (``base_mac``).
_MAC_PREFIX = "fa:16:3e"

#: MTU of a network whose description has none.
DEFAULT_MTU = 1500


def stable_id(*name: str) -> str:
    """Return an id derived from a name: the same in each run and on each node.

    :param name: kind and names, as in ``"port", "r1", "blue-v4"``.
    """
    return str(uuid.uuid5(_NAMESPACE, "/".join(name)))


def mac_address(port_id: str) -> str:
    """Return the MAC address of a port; its last 24 bits are derived from the id."""
    digits = uuid.UUID(port_id).hex[-6:]
    return ":".join((_MAC_PREFIX, digits[:2], digits[2:4], digits[4:]))


@dataclass(frozen=True, slots=True)
class Subnet:
    """A range of addresses of a network.

    :param gateway: next hop of the default route of hosts; None: no default route.
    """

    id: str
    name: str
    cidr: Network
    gateway: Address | None
    dns_nameservers: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class VirtualNetwork:
    """A network, of a tenant or external.

    :param interface: physical interface of an external network; None: none.
    """

    id: str
    name: str
    external: bool
    interface: str | None
    mtu: int
    subnets: tuple[Subnet, ...]

    def subnet_of(self, address: Address) -> Subnet | None:
        """Return the subnet that contains an address, or None."""
        return next((subnet for subnet in self.subnets if address in subnet.cidr), None)


@dataclass(frozen=True, slots=True)
class FixedIP:
    """An address of a port and its subnet."""

    subnet: Subnet
    address: Address


@dataclass(frozen=True, slots=True)
class RouterPort:
    """A port of a router: its gateway, or an interface on a subnet of a tenant."""

    id: str
    network: VirtualNetwork
    fixed_ips: tuple[FixedIP, ...]

    @property
    def mac(self) -> str:
        """Return the MAC address."""
        return mac_address(self.id)


@dataclass(frozen=True, slots=True)
class ExtraRoute:
    """A static route."""

    destination: Network
    nexthop: Address


@dataclass(frozen=True, slots=True)
class Association:
    """A floating IP and the fixed address it is associated with.

    :param port_id: the port of the host with the fixed address, or of a host that the file does not describe.
    :param host: name of that host; None if the file has no host with this address.
    """

    id: str
    floating: IPv4Address
    fixed: IPv4Address
    network: VirtualNetwork
    port_id: str
    host: str | None


@dataclass(frozen=True, slots=True)
class Router:
    """A router.

    :param agent: host name of the only agent that may serve the router; None: any.
    """

    id: str
    name: str
    admin_state_up: bool
    agent: str | None
    gateway: RouterPort | None
    snat: bool
    interfaces: tuple[RouterPort, ...]
    routes: tuple[ExtraRoute, ...]
    floating_ips: tuple[Association, ...]

    def ports(self) -> Iterator[RouterPort]:
        """Yield the interfaces, then the gateway if the router has one."""
        yield from self.interfaces
        if self.gateway is not None:
            yield self.gateway


@dataclass(frozen=True, slots=True)
class Host:
    """A simulated host, a virtual machine or a host outside: one interface on one network.

    :param addresses: with the prefix length of their subnet; ``/32`` and ``/128`` for addresses outside of it.
    :param routes: the routes of the file and the default routes.
    """

    id: str
    name: str
    port_id: str
    network: VirtualNetwork
    addresses: tuple[Interface, ...]
    routes: tuple[ExtraRoute, ...]

    @property
    def mac(self) -> str:
        """Return the MAC address."""
        return mac_address(self.port_id)


@dataclass(frozen=True, slots=True)
class Topology:
    """The contents of a topology file."""

    networks: tuple[VirtualNetwork, ...] = ()
    routers: tuple[Router, ...] = ()
    hosts: tuple[Host, ...] = ()

    def router_ids(self) -> frozenset[str]:
        """Return the ids of all routers."""
        return frozenset(router.id for router in self.routers)
