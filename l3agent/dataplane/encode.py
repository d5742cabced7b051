# SPDX-License-Identifier: Apache-2.0
"""A plan as netlink messages, grouped by the socket and the moment they are sent. Pure: values to bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from l3agent.dataplane.netlink import nft, rtnl
from l3agent.dataplane.plan import (
    Bridge,
    Card,
    DeviceAddress,
    Element,
    KernelRoute,
    Link,
    Operation,
    PendingFlush,
    Plan,
    Table,
)

#: What marks a bridge as ours (its alias, shown by ``ip link``): this, the id of the network, and, where there is a
#: card, the second mark and its name. All other ports are somebody else's.
BRIDGE_MARK, CARD_MARK = "l3agent:network:", ":card:"

Batch = list[tuple[bytes, Operation]]


@dataclass(slots=True)
class Batches:
    """Messages by send, each with the operation it belongs to, so that a refusal can be named.

    :param outside: switch namespace: cards, taps, new veth pairs.
    :param rules: nf_tables, one atomic batch.
    :param inside: the namespace: what comes or changes.
    :param inside_gone: the namespace: what goes; "not there" is no error.
    :param outside_gone: switch namespace: what goes.
    """

    outside: Batch = field(default_factory=list)
    rules: Batch = field(default_factory=list)
    inside: Batch = field(default_factory=list)
    inside_gone: Batch = field(default_factory=list)
    outside_gone: Batch = field(default_factory=list)


def bridges(plan: Plan) -> Batch:
    """Return the messages that make new bridges; they come first, for a port names its bridge by index."""
    return [
        (one, operation)
        for operation in plan.of(Bridge)
        if operation.verb == "add" and isinstance(operation.entry, Bridge)
        for one in _new_bridge(operation.entry)
    ]


def batches(
    plan: Plan,
    *,
    namespace_fd: int | None,
    devices: Mapping[str, int],
    bridge_index: Mapping[str, int],
    stray: Iterable[str],
    flush: Iterable[PendingFlush],
) -> Batches:
    """Return all other messages of a plan.

    :param devices: index of each device in the namespace.
    :param stray: taps to delete before new ones of that name are made.
    :param flush: mappings that go and are journalled in the same atomic batch.
    """
    made = Batches()
    index = dict(devices)
    _outside(plan, made, index, namespace_fd, bridge_index, list(stray))
    made.rules = _rules(plan, list(flush))
    for operation in plan.operations:
        _inside(operation, made, index)
    return made


def mark(network_id: str, card: str | None = None) -> str:
    """Return the alias of a bridge of ours."""
    return BRIDGE_MARK + network_id + (f"{CARD_MARK}{card}" if card else "")


def marked(alias: str) -> tuple[str, str] | None:
    """Return network id and name of the card (or nothing) from the alias of a bridge; None when it is not ours."""
    if not alias.startswith(BRIDGE_MARK):
        return None
    network_id, _, card = alias.removeprefix(BRIDGE_MARK).partition(CARD_MARK)
    return network_id, card


def bridge_mac(network_id: str) -> str:
    """Return the fixed MAC address of a bridge: locally administered, from its network (IEEE 802, second bit)."""
    return bytes((0x02, *hashlib.sha256(network_id.encode()).digest()[:5])).hex(":")


def forget_flushes(done: Iterable[PendingFlush]) -> list[bytes]:
    """Return the messages that take mappings out of the journal."""
    return [nft.delete_elements("pending_flush", [_flush_key(one) for one in done])]


# ---- the switch namespace --------------------------------------------------------------------------------------


def _new_bridge(bridge: Bridge) -> list[bytes]:
    return [
        rtnl.new_bridge(bridge.name, bridge_mac(bridge.network_id)),
        rtnl.no_link_local(bridge.name),
        rtnl.set_link(name=bridge.name, up=True, alias=mark(bridge.network_id)),
    ]


def _outside(
    plan: Plan,
    made: Batches,
    index: dict[str, int],
    namespace_fd: int | None,
    bridge_index: Mapping[str, int],
    stray: list[str],
) -> None:
    for operation in plan.operations:
        match operation.entry:
            case Link() as link if operation.verb == "add" and namespace_fd is not None:
                index[link.device] = max(index.values(), default=1) + 1
                if link.tap in stray:
                    made.outside.append((rtnl.delete_link(name=link.tap), operation))
                made.outside += [(one, operation) for one in _new_link(link, namespace_fd, index, bridge_index)]
            case Link() as link if operation.verb == "change" and isinstance(operation.was, Link):
                made.outside.append((_changed_tap(link, operation.was, bridge_index), operation))
            case Card() as card if operation.verb == "remove":
                made.outside_gone.append((rtnl.set_link(name=card.interface, master=0), operation))
            case Card() as card:
                master = bridge_index[card.bridge]
                made.outside += [
                    (rtnl.set_link(index=master, alias=mark(card.network_id, card.interface)), operation),
                    (rtnl.set_link(name=card.interface, master=master, up=True), operation),
                ]
            case _:
                pass


def _new_link(link: Link, namespace_fd: int, index: Mapping[str, int], bridge_index: Mapping[str, int]) -> list[bytes]:
    pair = rtnl.new_veth(
        link.tap,
        link.device,
        mac=link.mac,
        mtu=link.mtu,
        namespace_fd=namespace_fd,
        inner_index=index[link.device],
    )
    # The tap gets no IPv6 address: its solicitations and reports would be flooded to every other port.
    return [pair, rtnl.no_link_local(link.tap), rtnl.set_link(name=link.tap, master=bridge_index[link.bridge], up=True)]


def _changed_tap(link: Link, was: Link, bridge_index: Mapping[str, int]) -> bytes:
    return rtnl.set_link(
        name=link.tap,
        up=True,
        master=bridge_index[link.bridge] if link.bridge != was.bridge else None,
        mtu=link.mtu if link.mtu != was.mtu else None,
    )


# ---- the rules -------------------------------------------------------------------------------------------------


def _rules(plan: Plan, flush: list[PendingFlush]) -> Batch:
    """Return the nf_tables batch; elements of one map that come or go share a message."""
    made: Batch = []
    for operation in plan.of(Table):
        if operation.verb != "add":
            made.append((nft.delete_table(), operation))
        if operation.verb != "remove":
            made += [(one, operation) for one in nft.new_table()]
    elements = plan.of(Element)
    for name in nft.SETS:
        mine = [one for one in elements if isinstance(one.entry, Element) and one.entry.name == name]
        gone = [one for one in mine if one.verb != "add"]
        come = [one for one in mine if one.verb != "remove"]
        if gone:
            made.append((nft.delete_elements(name, [_element_key(one) for one in gone]), gone[0]))
        if come:
            made.append((nft.new_elements(name, [(_element_key(one), _element_value(one)) for one in come]), come[0]))
    if made and flush:
        journal = nft.new_elements("pending_flush", [(_flush_key(one), None) for one in flush])
        made.append((journal, made[-1][1]))
    return made


def _element_key(operation: Operation) -> bytes:
    assert isinstance(operation.entry, Element)
    left = operation.entry.left
    return nft.device_key(left) if isinstance(left, str) else left.packed


def _element_value(operation: Operation) -> bytes | None:
    assert isinstance(operation.entry, Element)
    return None if operation.entry.right is None else operation.entry.right.packed


def _flush_key(pending: PendingFlush) -> bytes:
    return pending.floating.packed + pending.fixed.packed


# ---- inside the namespace --------------------------------------------------------------------------------------


def _inside(operation: Operation, made: Batches, index: Mapping[str, int]) -> None:
    match operation.entry:
        case Link() as link if operation.verb == "remove":
            made.inside_gone.append((rtnl.delete_link(index=index[link.device]), operation))
        case Link() as link:
            made.inside.append((_brought_up(link, operation.was, index[link.device]), operation))
        case DeviceAddress() as address if operation.verb == "remove":
            made.inside_gone.append((rtnl.delete_address(index[address.device], address.interface), operation))
        case DeviceAddress() as address:
            made.inside += [(one, operation) for one in _address(address, operation.was, index[address.device])]
        case KernelRoute() as route if operation.verb == "remove":
            made.inside_gone.append((rtnl.delete_route(route.destination), operation))
        case KernelRoute() as route:
            hops = [(index[hop.device], hop.via) for hop in route.hops]
            made.inside.append((rtnl.new_route(route.destination, hops), operation))
        case _:
            pass


def _brought_up(link: Link, was: object, index: int) -> bytes:
    if not isinstance(was, Link):
        return rtnl.set_link(index=index, up=True)
    return rtnl.set_link(
        index=index,
        up=True,
        mac=link.mac if link.mac != was.mac else None,
        mtu=link.mtu if link.mtu != was.mtu else None,
    )


def _address(address: DeviceAddress, was: object, index: int) -> list[bytes]:
    new = rtnl.new_address(index, address.interface)
    if not isinstance(was, DeviceAddress):
        return [new]
    # Another prefix length: IPv6 knows an address once per device, IPv4 once per prefix length.
    old = rtnl.delete_address(index, was.interface)
    return [old, new] if address.interface.version == 6 else [new, old]
