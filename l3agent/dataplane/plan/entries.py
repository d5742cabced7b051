# SPDX-License-Identifier: Apache-2.0
"""What the kernel can hold, as frozen values: what plans are made of, and journalled edges."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from l3agent.dataplane.netlink.routes import PROTOCOL_RA, ROUTE_PROTOCOL
from l3agent.model.states import Interface, Network, NextHop


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge in the switch namespace, marked as ours with the id of its network.

    No plan removes one: a bridge goes by itself soon after its last port (see ``GarbageCollector.collect``).

    :param is_isolated: the node's own stack ignores it; so does a bridge count that this project did not make.
    :param is_marked: its alias names its network; a bridge that this project did not make counts as marked.
    """

    name: str
    network_id: str
    up: bool = True
    is_isolated: bool = True
    is_marked: bool = True

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.name


@dataclass(frozen=True, slots=True)
class PhysicalPort:
    """A real network card as a port of the bridge of a network; the bridge's mark says which card is ours."""

    interface: str
    bridge: str
    network_id: str

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.interface


@dataclass(frozen=True, slots=True)
class Namespace:
    """A pinned network namespace; ``loopback`` when its device ``lo`` is up."""

    name: str
    loopback: bool = True

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.name


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A setting of the namespace; ``path`` is below /proc/sys."""

    path: str
    value: str

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.path


@dataclass(frozen=True, slots=True)
class Link:
    """A veth pair: ``device`` inside the namespace, ``tap`` outside as a port of ``bridge``.

    A device that a switch makes outside and that is moved in has no other end: there ``tap`` is ``device`` itself.

    :param mtu: None when it does not matter.
    :param tap: nothing where the other end is not to be seen, or is not the one that counts.
    :param bridge: None when another agent plugs the tap in.
    :param is_isolated: the node's own stack ignores ``tap``.
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
        """Whether a switch makes the device."""
        return self.tap == self.device

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.device, self.tap


@dataclass(frozen=True, slots=True)
class StrayTap:
    """A device in the switch namespace that is in the way of a wanted tap of the same name. Never desired."""

    name: str

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.name


@dataclass(frozen=True, slots=True)
class AcceptRA:
    """A device takes its IPv6 default route from the router advertisements that it hears, and no address."""

    device: str

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.device

    def sysctls(self, on: bool) -> list[Sysctl]:
        """Return what makes it so, or not so. 2: although the device forwards (ip-sysctl of the kernel)."""
        place = f"net/ipv6/conf/{self.device}"
        return [Sysctl(f"{place}/autoconf", "0"), Sysctl(f"{place}/accept_ra", "2" if on else "0")]


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """Settings of a device of a router that forwarding relies on, see ip-sysctl of the kernel documentation.

    A device is born with the right ones, inherited from ``conf/default`` of its namespace.

    :param forwarding: ``forwarding`` of IPv4, and of IPv6 where the device has it, is on.
    :param arp_ignore: ``arp_ignore`` lets the device answer for each of its addresses (0 or 1).
    """

    device: str
    forwarding: bool = True
    arp_ignore: bool = True

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.device

    def sysctls(self, previous: DeviceSettings) -> list[Sysctl]:
        """Return what leads here from other settings. The kernel has no device without IPv4."""
        found = []
        if not previous.forwarding:
            found += [Sysctl(f"net/{family}/conf/{self.device}/forwarding", "1") for family in ("ipv4", "ipv6")]
        if not previous.arp_ignore:
            found.append(Sysctl(f"net/ipv4/conf/{self.device}/arp_ignore", "0"))
        return found


@dataclass(frozen=True, slots=True)
class SwitchPort:
    """A port of Open vSwitch, as its database has it.

    :param type: ``internal`` for a device that the switch makes, nothing for a link that exists without it.
    :param ids: the pairs of ``external_ids`` that count; others may be there too.
    :param has_tag: whether it has a VLAN: the L2 agent's, or the dead one until that agent has wired it. None when it
        does not matter.
    :param is_stuck: it has the L2 agent's VLAN and is dead all the same.
    :param has_device: whether its device exists.
    """

    name: str
    bridge: str
    type: str
    ids: frozenset[tuple[str, str]]
    has_tag: bool | None
    is_stuck: bool = False
    has_device: bool = True

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.name


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """An address on a device."""

    device: str
    interface: Interface

    def __hash__(self) -> int:
        # That of an interface makes its network first, in several times the time of all the rest.
        return hash((self.device, int(self.interface)))

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.device, self.interface.ip


@dataclass(frozen=True, slots=True)
class ConnectedRoute:
    """The route to the network of an address, which the kernel makes with the address and removes with it.

    :param source: the address that the kernel prefers for what it sends there; IPv6 routes name none.
    """

    device: str
    network: Network
    source: IPv4Address | None = field(default=None, compare=False)

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.device, self.network


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """A route of ours in the main table; default routes through a gateway device are, whatever their protocol.

    :param metric: None for the one that the kernel gives where none is named.
    :param onlink: IPv6 takes next hops for neighbours, whatever its other routes say.
    """

    destination: Network
    hops: frozenset[NextHop]
    protocol: int = ROUTE_PROTOCOL
    metric: int | None = None
    onlink: bool = field(default=True, compare=False)

    def identity(self) -> Hashable:
        """Return what makes two entries the same object; the kernel does not replace an advertised route."""
        return self.destination, self.metric, self.protocol == PROTOCOL_RA


@dataclass(frozen=True, slots=True)
class Table:
    """The table of a router without its elements.

    :param counting: whether floating IPs count their traffic in it.
    :param is_intact: its rules are the ones this release writes.
    """

    counting: bool = False
    is_intact: bool = True

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return ()


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a map or set of the table: ``left`` is the key, ``right`` the value or None."""

    name: str
    key: IPv4Address | str
    value: IPv4Address | None

    def __hash__(self) -> int:
        # The value follows from the key but in two states of one map.
        return hash((self.name, self.key if isinstance(self.key, str) else int(self.key)))

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.name, self.key


@dataclass(frozen=True, slots=True)
class NeutronRules:
    """What neutron-l3-agent has in a table of iptables that our table stands for. Never desired.

    :param rules: (chain, handle) of rules in chains that stay.
    :param chains: chains that go with all their rules; the rules that lead there from outside are among ``rules``.
    """

    family: Literal["ip", "ip6"]
    table: str
    rules: tuple[tuple[str, int], ...]
    chains: tuple[str, ...]

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.family, self.table


@dataclass(frozen=True, slots=True)
class NeutronRoute:
    """A route that neutron-l3-agent made, seen at the takeover of its router. Never desired; ours takes its place."""

    destination: Network

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
        return self.destination


#: In a journalled edge, where there is no second address.
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
    def network(self) -> IPv4Network:
        """The network of tenants."""
        return IPv4Network((int(self.original), int(self.translated).bit_count()), strict=False)

    def identity(self) -> Hashable:
        """Return what makes two entries the same object."""
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


def needs_ipv6(entry: Entry) -> bool:
    """Return True if the kernel refuses the entry in a namespace without IPv6."""
    match entry:
        case DeviceAddress(interface=address):
            return address.version == 6
        case KernelRoute(destination=network) | ConnectedRoute(network=network):
            return network.version == 6
        case _:
            return isinstance(entry, AcceptRA)
