# SPDX-License-Identifier: Apache-2.0
"""Entries: immutable values for the objects of kernel state that plans add, change and remove."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import compress, repeat
from operator import is_
from typing import Literal, TypeVar

from l3agent.dataplane.netlink import tables
from l3agent.dataplane.netlink.nft_types import Value
from l3agent.dataplane.netlink.routes import PROTOCOL_RA, ROUTE_PROTOCOL
from l3agent.dataplane.netlink.ruleset import NftTable
from l3agent.model.states import Interface, Network, NextHop

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge in the host namespace, marked with the id of its network.

    No plan removes one: a bridge goes by itself soon after its last port (see ``GarbageCollector.collect``).

    :param is_isolated: the host stack ignores the bridge; True for a bridge that l3agent did not create.
    :param is_marked: the alias of the bridge names its network; True for a bridge that l3agent did not create.
    """

    name: str
    network_id: str
    up: bool = True
    is_isolated: bool = True
    is_marked: bool = True

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.name


@dataclass(frozen=True, slots=True)
class PhysicalPort:
    """A physical interface as a port of the bridge of a network; the alias of the bridge names the interface."""

    interface: str
    bridge: str
    network_id: str

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.interface


@dataclass(frozen=True, slots=True)
class Namespace:
    """A pinned network namespace; ``loopback`` is True if its device ``lo`` is up."""

    name: str
    loopback: bool = True

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.name


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A sysctl of the namespace; ``path`` is relative to /proc/sys."""

    path: str
    value: str

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.path


@dataclass(frozen=True, slots=True)
class Link:
    """A veth pair: ``device`` in the router namespace, ``tap`` in the host namespace as a port of ``bridge``.

    An internal port of Open vSwitch, which is moved into the namespace, has no peer: its ``tap`` equals ``device``.

    :param mtu: None if the MTU is not compared.
    :param tap: empty if the peer is not visible, or is not the wanted tap.
    :param bridge: None if another agent attaches the tap.
    :param is_isolated: the host stack ignores ``tap``.
    :param arp: ``device`` resolves addresses (no IFF_NOARP).
    :param multicast: ``device`` sends and receives multicast (IFF_MULTICAST), which neighbour discovery needs.
    :param offload: ``device`` leaves checksums to the other end (tx-checksumming of ethtool(8)).
    """

    device: str
    mac: str
    mtu: int | None
    up: bool
    tap: str
    bridge: str | None
    is_isolated: bool = True
    arp: bool = True
    multicast: bool = True
    offload: bool = True

    @property
    def is_ovs_internal(self) -> bool:
        """True for an internal port of Open vSwitch, whose device ovs-vswitchd creates."""
        return self.tap == self.device

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.device, self.tap


@dataclass(frozen=True, slots=True)
class StrayTap:
    """A device in the host namespace that occupies the name of a wanted tap. Never desired."""

    name: str

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.name


@dataclass(frozen=True, slots=True)
class AcceptRA:
    """A device whose IPv6 default route comes from router advertisements; they assign it no address."""

    device: str

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.device

    def sysctls(self, on: bool) -> list[Sysctl]:
        """Return the sysctls that switch this on or off. The value 2 applies to a forwarding device (ip-sysctl)."""
        place = f"net/ipv6/conf/{self.device}"
        return [Sysctl(f"{place}/autoconf", "0"), Sysctl(f"{place}/accept_ra", "2" if on else "0")]


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """Settings of a router device that forwarding requires, see ip-sysctl of the kernel documentation.

    A new device inherits correct settings from ``conf/default`` of its namespace.

    :param forwarding: ``forwarding`` is 1 for IPv4, and for IPv6 if the device has IPv6.
    :param arp_ignore: ``arp_ignore`` is 0 or 1, so that the device answers for each of its addresses.
    """

    device: str
    forwarding: bool = True
    arp_ignore: bool = True

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.device

    def sysctls(self, previous: DeviceSettings) -> list[Sysctl]:
        """Return the sysctls that change ``previous`` settings into these. Every device has IPv4."""
        found = []
        if not previous.forwarding:
            found += [Sysctl(f"net/{family}/conf/{self.device}/forwarding", "1") for family in ("ipv4", "ipv6")]
        if not previous.arp_ignore:
            found.append(Sysctl(f"net/ipv4/conf/{self.device}/arp_ignore", "0"))
        return found


@dataclass(frozen=True, slots=True)
class SwitchPort:
    """A port in the database of Open vSwitch.

    :param type: ``internal`` if ovs-vswitchd creates the device; empty for a link that exists independently.
    :param ids: the compared pairs of ``external_ids``; the port may have others.
    :param has_tag: the port has a VLAN: that of the L2 agent, or the dead VLAN until the agent has wired the port.
        None if the VLAN is not compared.
    :param is_stuck: the port has the VLAN of the L2 agent and is still dead.
    :param has_device: the device of the port exists.
    """

    name: str
    bridge: str
    type: str
    ids: frozenset[tuple[str, str]]
    has_tag: bool | None
    is_stuck: bool = False
    has_device: bool = True

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.name


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """An address on a device."""

    device: str
    interface: Interface

    def __hash__(self) -> int:
        # The hash of an interface computes its network first, which takes several times the time of the rest.
        return hash((self.device, int(self.interface)))

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.device, self.interface.ip


@dataclass(frozen=True, slots=True)
class ConnectedRoute:
    """The route to the network of an address, which the kernel adds and removes with the address.

    :param source: preferred source address of the route; IPv6 routes have none.
    """

    device: str
    network: Network
    source: IPv4Address | None = field(default=None, compare=False)

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.device, self.network


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """A managed route in the main table: a route of our protocol, or any default route through a gateway device.

    :param metric: None for the default metric of the kernel.
    :param onlink: IPv6 treats the next hops as neighbours, independently of its other routes.
    """

    destination: Network
    hops: frozenset[NextHop]
    protocol: int = ROUTE_PROTOCOL
    metric: int | None = None
    onlink: bool = field(default=True, compare=False)

    def identity(self) -> Hashable:
        """Return the identity of the object. The kernel does not replace a route from a router advertisement."""
        return self.destination, self.metric, self.protocol == PROTOCOL_RA


@dataclass(frozen=True, slots=True)
class Table:
    """An nf_tables table without its elements (:mod:`l3agent.dataplane.netlink.tables`).

    :param counting: the table counts the traffic of floating IPs.
    :param is_intact: the rules equal the rules that this release writes.
    """

    counting: bool = False
    is_intact: bool = True
    name: str = tables.ROUTER.name

    @property
    def declared(self) -> NftTable:
        """The declaration of the table."""
        return tables.declared(counting=self.counting)[self.name]

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.name


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a map or set of a table; ``value`` is None in a set."""

    name: str
    key: Value
    value: Value | None

    @property
    def table(self) -> NftTable:
        """The table of the element."""
        return tables.find_set(self.name)[0]

    def __hash__(self) -> int:
        # Within one state of a map the key determines the value.
        return hash((self.name, int(self.key) if isinstance(self.key, IPv4Address) else self.key))

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.name, self.key


@dataclass(frozen=True, slots=True)
class NeutronRules:
    """Rules and chains of neutron-l3-agent in an iptables table that our table replaces. Never desired.

    :param rules: (chain, handle) of rules to remove from chains that remain.
    :param chains: chains to remove with all their rules; ``rules`` contains the jumps into them from other chains.
    """

    family: Literal["ip", "ip6"]
    table: str
    rules: tuple[tuple[str, int], ...]
    chains: tuple[str, ...]

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.family, self.table


@dataclass(frozen=True, slots=True)
class NeutronRoute:
    """A route of neutron-l3-agent, found at the takeover of its router. Never desired; our route replaces it."""

    destination: Network

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.destination


#: Second address of a journal edge that has only one.
NO_ADDRESS = IPv4Address(0)


@dataclass(frozen=True, slots=True)
class PendingFlush:
    """Conntrack entries that are still to be deleted, as an edge of the journal. Never desired.

    :param cause: why they are to be deleted, which also decides what the two addresses are:

        * ``floating_dnat``: a floating IP was removed;
        * ``untranslated``: a floating IP was added; entries of its address that began before it are not translated;
        * ``gateway_snat`` and ``hairpin_snat``: the address that these maps translated to was removed;
        * ``without_nat``: SNAT was switched on for a tenant network;
        * ``interface``: the router lost its interface in a tenant network;
        * ``address``: an address of the gateway device was removed that only neutron-l3-agent translated.

    :param original: floating address, address that sources were translated to, network address, or gateway address.
    :param translated: fixed address, or netmask of the network; 0.0.0.0 for the other causes.
    :param is_journalled: False if the plan deletes the entries before it adds the floating address to the gateway
        device: the missing address takes the place of the journal, and a repeated plan deletes the entries again.
    """

    cause: str
    original: IPv4Address
    translated: IPv4Address = NO_ADDRESS
    is_journalled: bool = True

    @property
    def table(self) -> NftTable:
        """The table of the journal."""
        return tables.ROUTER

    @property
    def key(self) -> tuple[str, IPv4Address, IPv4Address]:
        """The key of the element of the journal."""
        return self.cause, self.original, self.translated

    @property
    def network(self) -> IPv4Network:
        """The tenant network."""
        return IPv4Network((int(self.original), int(self.translated).bit_count()), strict=False)

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its type."""
        return self.cause, self.original, self.translated


Entry = (
    Bridge
    | PhysicalPort
    | Namespace
    | Sysctl
    | Link
    | StrayTap
    | SwitchPort
    | AcceptRA
    | DeviceAddress
    | DeviceSettings
    | ConnectedRoute
    | KernelRoute
    | Table
    | Element
    | NeutronRoute
    | NeutronRules
    | PendingFlush
)


def select(entries: Collection[Entry], kind: type[E]) -> list[E]:
    """Return the entries of a kind.

    It runs no bytecode per entry: a state may have 100,000 of them, and other states wait for the kernel thread.
    """
    return list(compress(entries, map(is_, map(type, entries), repeat(kind))))  # type: ignore[arg-type]


def needs_ipv6(entry: Entry) -> bool:
    """Return True if the kernel refuses the entry in a namespace without IPv6."""
    match entry:
        case DeviceAddress(interface=address):
            return address.version == 6
        case KernelRoute(destination=network) | ConnectedRoute(network=network):
            return network.version == 6
        case _:
            return isinstance(entry, AcceptRA)
