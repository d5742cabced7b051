# SPDX-License-Identifier: Apache-2.0
"""Encodes a plan as netlink messages, grouped by socket and by phase of the plan. Pure: values to bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from l3agent.dataplane.netlink import iptables, nft, nft_types, routes, rtnl, ruleset, tables
from l3agent.dataplane.plan.diff import Operation, Plan
from l3agent.dataplane.plan.entries import (
    AcceptRA,
    Bridge,
    ConnectedRoute,
    DeviceAddress,
    Element,
    KernelRoute,
    Link,
    Namespace,
    NeutronRoute,
    NeutronRules,
    PendingFlush,
    PhysicalPort,
    StrayTap,
    Table,
)
from l3agent.model.states import NextHop

#: Parts of the alias that marks a managed bridge (shown by ``ip link``): prefix, id of the network, and for a physical
#: port the infix and its name. All other ports of the bridge belong to other programs.
_BRIDGE_ALIAS, _PORT_INFIX = "l3agent:network:", ":card:"
#: Alias of the taps that l3agent creates.
TAP_ALIAS = "l3agent:port"

Batch = list[tuple[bytes, Operation]]
T = TypeVar("T")


@dataclass(slots=True)
class Batches:
    """Messages for one socket, each with its operation, so that an error can name the operation.

    :param early_removals: removals that precede all additions; a missing object is not an error.
    :param creations: creation of devices of the host namespace. A device whose creation is refused exists already and
        may be foreign: no other message names it.
    :param isolation: settings by which the host stack ignores created or corrected devices while they are down; the
        sender disables their IPv6 in /proc before it sends the additions.
    :param connected_routes: restored connected routes, on which other routes may depend; EEXIST is not an error.
    :param additions: additions and changes.
    :param removals: removals; a missing object is not an error.
    """

    early_removals: Batch = field(default_factory=list)
    creations: Batch = field(default_factory=list)
    isolation: Batch = field(default_factory=list)
    connected_routes: Batch = field(default_factory=list)
    additions: Batch = field(default_factory=list)
    removals: Batch = field(default_factory=list)


def bridge_messages(plan: Plan) -> Batches:
    """Return the messages that create bridges and set them up; they precede ports, which name a bridge by its index."""
    made = Batches()
    for operation in plan.of(Bridge):
        bridge, previous = operation.entry, operation.previous
        assert isinstance(bridge, Bridge)
        if not isinstance(previous, Bridge):
            made.creations.append((rtnl.new_bridge(bridge.name, bridge_mac(bridge.network_id)), operation))
        if not (isinstance(previous, Bridge) and previous.is_isolated):
            made.isolation.append((rtnl.isolate(bridge.name), operation))
        alias = None if isinstance(previous, Bridge) and previous.is_marked else bridge_alias(bridge.network_id)
        made.additions.append((rtnl.set_link(name=bridge.name, up=True, alias=alias), operation))
    return made


def bridge_alias(network_id: str, port: str | None = None) -> str:
    """Return the alias of a bridge that l3agent manages."""
    return _BRIDGE_ALIAS + network_id + (f"{_PORT_INFIX}{port}" if port else "")


def parse_bridge_alias(alias: str) -> tuple[str, str] | None:
    """Return network id and physical port (or "") from the alias of a bridge; None if l3agent does not manage it."""
    if not alias.startswith(_BRIDGE_ALIAS):
        return None
    network_id, _, port = alias.removeprefix(_BRIDGE_ALIAS).partition(_PORT_INFIX)
    return network_id, port


def is_foreign(bridge: Bridge, info: rtnl.LinkInfo) -> bool:
    """Return True if a bridge of this name belongs to no or another network: neither alias nor MAC address match.

    A name contains the first 11 characters of a network id, so two networks may have bridges of the same name.
    """
    return not is_marked(bridge, info) and info.mac != bridge_mac(bridge.network_id)


def is_marked(bridge: Bridge, info: rtnl.LinkInfo) -> bool:
    """Return True if the alias of a bridge names its network."""
    ours = parse_bridge_alias(info.alias)
    return ours is not None and ours[0] == bridge.network_id


def bridge_mac(network_id: str) -> str:
    """Return the fixed MAC address of a bridge: locally administered, from its network (IEEE 802, second bit)."""
    return bytes((0x02, *hashlib.sha256(network_id.encode()).digest()[:5])).hex(":")


def delete_journal(done: Sequence[PendingFlush]) -> list[bytes]:
    """Return the messages that delete edges from the journal."""
    name = tables.PENDING_FLUSH.name
    return [nft.delete_elements(tables.ROUTER, name, map(_journal_key, part)) for part in _parts(done)]


# ---- host namespace --------------------------------------------------------------------------------------------


def host_messages(plan: Plan, *, namespace_fd: int | None, bridge_index: Mapping[str, int]) -> Batches:
    """Return the other messages for the host namespace: veth pairs, taps, physical ports.

    :param namespace_fd: the namespace in which the kernel creates the inner ends.
    """
    made = Batches()
    for operation in plan.of(Link, StrayTap, PhysicalPort):
        match operation.entry:
            case Link() as link if link.is_ovs_internal:
                if operation.verb == "add" and namespace_fd is not None:
                    made.additions.append((rtnl.set_link(name=link.device, namespace_fd=namespace_fd), operation))
            case Link() as link if operation.verb == "add" and namespace_fd is not None:
                made.creations.append((_new_link(link, namespace_fd), operation))
                made.isolation.append((rtnl.isolate(link.tap, alias=TAP_ALIAS), operation))
                made.additions.append((_tap_up(link, bridge_index), operation))
            case Link() as link if operation.verb == "change" and link.up and isinstance(operation.previous, Link):
                if not operation.previous.is_isolated:
                    made.isolation.append((rtnl.isolate(link.tap, alias=TAP_ALIAS), operation))
                made.additions.append((_update_tap(link, operation.previous, bridge_index), operation))
            case StrayTap(name):
                made.early_removals.append((rtnl.delete_link(name=name), operation))
            case PhysicalPort() as port if operation.verb == "remove":
                # Before the alias names another port: an observation finds only the port in the alias.
                made.early_removals.append((rtnl.set_link(name=port.interface, master=0), operation))
            case PhysicalPort() as port:
                made.additions += [(one, operation) for one in _physical_port(port, bridge_index[port.bridge])]
            case _:
                pass
    return made


def _physical_port(port: PhysicalPort, master: int) -> list[bytes]:
    alias = bridge_alias(port.network_id, port.interface)
    return [rtnl.set_link(index=master, alias=alias), rtnl.set_link(name=port.interface, master=master, up=True)]


def _new_link(link: Link, namespace_fd: int) -> bytes:
    return rtnl.new_veth(link.tap, link.device, mac=link.mac, mtu=link.mtu, namespace_fd=namespace_fd)


def _tap_up(link: Link, bridge_index: Mapping[str, int]) -> bytes:
    master = None if link.bridge is None else bridge_index[link.bridge]
    return rtnl.set_link(name=link.tap, master=master, up=True)


def _update_tap(link: Link, previous: Link, bridge_index: Mapping[str, int]) -> bytes:
    return rtnl.set_link(
        name=link.tap,
        up=True,
        master=bridge_index[link.bridge] if link.bridge and link.bridge != previous.bridge else None,
        mtu=link.mtu if link.mtu != previous.mtu else None,
    )


# ---- rules -----------------------------------------------------------------------------------------------------


def rule_messages(plan: Plan) -> Batch:
    """Return the atomic nf_tables batch; additions to a map share few messages, and so do removals."""
    made: Batch = []
    for operation in plan.of(Table):
        table = operation.entry
        assert isinstance(table, Table)
        if operation.verb != "add":
            made.append((ruleset.delete_table(table.declared), operation))
        if operation.verb != "remove":
            made += [(one, operation) for one in ruleset.new_table(table.declared)]
    by_name: dict[str, list[tuple[Element, Operation]]] = {}
    for operation in plan.of(Element):
        element = operation.entry
        assert isinstance(element, Element)
        by_name.setdefault(element.name, []).append((element, operation))
    for name, operations in by_name.items():
        made += _element_messages(name, operations)
    for operation in plan.of(NeutronRules):
        if isinstance(operation.entry, NeutronRules):
            made += [(one, operation) for one in _neutron_rules(operation.entry)]
    for part in _parts([one for one in plan.of(PendingFlush) if one.verb == "add"]):
        edges = [(_journal_key(one.entry), None) for one in part if isinstance(one.entry, PendingFlush)]
        made.append((nft.new_elements(tables.ROUTER, tables.PENDING_FLUSH.name, edges), part[0]))
    return made


def _element_messages(name: str, operations: list[tuple[Element, Operation]]) -> Batch:
    """Return the messages for one map or set: removals, then additions."""
    made: Batch = []
    table, declared = tables.find_set(name)
    encode_key = nft_types.encoder(declared.key, interval=declared.interval)
    for part in _parts([one for one in operations if one[1].verb != "add"]):
        made.append((nft.delete_elements(table, name, [encode_key(one.key) for one, _ in part]), part[0][1]))
    encode_value = nft_types.encoder(declared.value) if declared.value else lambda _: None
    for part in _parts([one for one in operations if one[1].verb != "remove"]):
        elements = [(encode_key(one.key), encode_value(one.value)) for one, _ in part]
        made.append((nft.new_elements(table, name, elements), part[0][1]))
    return made


def _parts(elements: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield parts of at most the number of elements of one message."""
    return (elements[at : at + nft.MAX_ELEMENTS] for at in range(0, len(elements), nft.MAX_ELEMENTS))


def _neutron_rules(removed: NeutronRules) -> list[bytes]:
    """Return the messages that remove rules of Neutron: jumps to a chain first, then the chain."""
    place = removed.family, removed.table
    return [
        *(iptables.delete_rule(*place, chain, handle) for chain, handle in removed.rules),
        *(iptables.flush_chain(*place, chain) for chain in removed.chains),
        *(iptables.delete_chain(*place, chain) for chain in removed.chains),
    ]


_encode_journal_key = nft_types.encoder(tables.PENDING_FLUSH.key)


def _journal_key(edge: PendingFlush) -> bytes:
    return _encode_journal_key(edge.key)


# ---- router or host namespace ----------------------------------------------------------------------------------


def replacements(plan: Plan, index: Mapping[str, int]) -> Batch:
    """Return the removals of replaced devices, and of Neutron's routes, which precede the removal of its rules."""
    links = ((one, one.entry) for one in plan.replacements())
    neutron_routes = ((one, one.entry) for one in plan.of(NeutronRoute))
    return [
        *((rtnl.delete_link(index=index[link.device]), one) for one, link in links if isinstance(link, Link)),
        *(
            (routes.delete_static_route(route.destination), one)
            for one, route in neutron_routes
            if isinstance(route, NeutronRoute)
        ),
    ]


def link_shutdowns(plan: Plan, index: Mapping[str, int]) -> Batch:
    """Return the messages that shut links down before the rules that guard them are removed."""
    links = ((one, one.entry) for one in plan.link_shutdowns())
    return [(rtnl.set_link(index=index[link.device], up=False), one) for one, link in links if isinstance(link, Link)]


def namespace_messages(plan: Plan, index: Mapping[str, int], advertised: Collection[NextHop] = ()) -> Batches:
    """Return the messages for the router or host namespace.

    New devices get their IPv4 addresses before they are set up: for each address of a device that is up, the kernel
    walks all routes through that device (``fib_sync_up``), which is two thirds of the time with 10,000 addresses.

    :param index: index of each existing device.
    :param advertised: next hops of IPv6 default routes from router advertisements.
    """
    made = Batches()
    replaced = plan.replacements()
    new = {one.entry.device for one in plan.of(Link) if one.verb == "add" and isinstance(one.entry, Link)}
    early: Batch = []
    for operation in plan.operations:
        entry = operation.entry
        if operation.verb == "add" and isinstance(entry, DeviceAddress) and _is_early(entry, new):
            early.append((rtnl.new_address(index[entry.device], entry.interface), operation))
        elif operation not in replaced:
            _namespace_messages(operation, made, index, advertised)
    made.additions = early + made.additions
    return made


def _is_early(address: DeviceAddress, new: Collection[str]) -> bool:
    return address.interface.version == 4 and address.device in new


def _namespace_messages(
    operation: Operation, made: Batches, index: Mapping[str, int], advertised: Collection[NextHop]
) -> None:
    match operation.entry:
        case Namespace():
            made.additions.append((rtnl.set_link(index=rtnl.LOOPBACK, up=True), operation))
        case Link() as link if operation.verb == "remove":
            made.removals.append((rtnl.delete_link(index=index[link.device]), operation))
        case Link() as link if link.up:
            made.additions.append((_set_up_link(link, operation.previous, index[link.device]), operation))
        case AcceptRA(device) if operation.verb == "remove":
            routers = [hop.via for hop in advertised if hop.device == device and hop.via is not None]
            made.removals += [(routes.delete_ra_default(index[device], via), operation) for via in routers]
        case DeviceAddress() as address if operation.verb == "remove":
            made.removals.append((rtnl.delete_address(index[address.device], address.interface), operation))
        case DeviceAddress() as address:
            made.additions += [(one, operation) for one in _address(address, operation.previous, index[address.device])]
        case ConnectedRoute(device, network, source):
            made.connected_routes.append((routes.connected_route(network, index[device], source), operation))
        case KernelRoute() as route if operation.verb == "remove":
            made.removals.append((_delete_route(route, index), operation))
        case KernelRoute() as route:
            made.additions.append((_new_route(route, index), operation))
        case _:
            pass


def _new_route(route: KernelRoute, index: Mapping[str, int]) -> bytes:
    hops = [(index[hop.device], hop.via) for hop in route.hops]
    return routes.new_route(route.destination, hops, route.protocol, onlink=route.onlink)


def _delete_route(route: KernelRoute, index: Mapping[str, int]) -> bytes:
    if (route.protocol, route.metric) == (routes.ROUTE_PROTOCOL, None):
        return routes.delete_route(route.destination)
    hops = [(index[hop.device], hop.via) for hop in route.hops]
    return routes.delete_default(route.destination, hops, route.protocol, route.metric)


def _set_up_link(link: Link, previous: object, index: int) -> bytes:
    if not isinstance(previous, Link):
        # A device that is moved in has the properties that ovs-vswitchd gave it.
        mac, mtu = (link.mac, link.mtu) if link.is_ovs_internal else (None, None)
        return rtnl.set_link(index=index, up=True, mac=mac, mtu=mtu)
    return rtnl.set_link(
        index=index,
        up=True,
        mac=link.mac if link.mac != previous.mac else None,
        mtu=link.mtu if link.mtu != previous.mtu else None,
        arp_and_multicast=not (previous.arp and previous.multicast),
    )


def _address(address: DeviceAddress, previous: object, index: int) -> list[bytes]:
    new = rtnl.new_address(index, address.interface)
    if not isinstance(previous, DeviceAddress):
        return [new]
    # Changed prefix length: a device has an IPv6 address once, and an IPv4 address once per prefix length.
    old = rtnl.delete_address(index, previous.interface)
    return [old, new] if address.interface.version == 6 else [new, old]
