# SPDX-License-Identifier: Apache-2.0
"""Links: veth pairs between the namespace of a state and the host namespace, and internal ports of Open vSwitch."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.netlink.socket_filter import DROP, KEEP, Test
from l3agent.dataplane.plan.kinds.base import Batches, Inside, NodeEntry, Operation, Outside, Phase, select
from l3agent.dataplane.plan.kinds.bridge import isolate
from l3agent.dataplane.plan.kinds.observation import EventLocation, Notification
from l3agent.model.names import DEVICE_PREFIXES

#: Alias of the taps that l3agent creates.
TAP_ALIAS = "l3agent:port"
#: RTNLGRP_LINK (linux/rtnetlink.h).
_LINK_GROUP = 1


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A link was added, changed or removed; ``raw`` is decoded only if more than name and index is needed."""

    is_removal: bool
    index: int
    name: str
    raw: bytes

    @property
    def info(self) -> rtnl.LinkInfo:
        """The decoded link."""
        return rtnl.parse_links(self.raw)[0]

    def is_as_desired(self, location: EventLocation) -> bool:
        """Return True if the desired state has the same; else the state has to be observed."""
        known = location.devices.get(self.index)
        if self.is_removal:
            return known is None
        if self.name == "lo":
            return self.info.up
        if known is None:
            return not self.name.startswith(DEVICE_PREFIXES)
        link = next(one for one in select(location.desired(), Link) if one.device == known)
        info = self.info
        right = (info.name, info.mac, info.up, info.arp, info.multicast) == (known, link.mac, True, True, True)
        return right and link.mtu in (None, info.mtu)


def _decode(is_removal: bool, raw: bytes) -> Iterator[LinkEvent]:
    """Yield the event of a message, except that of a bridge about its port."""
    family, index, name = rtnl.parse_head(raw)
    if family != rtnl.AF_BRIDGE:
        yield LinkEvent(is_removal, index, name, raw)


_NO_BRIDGE_PORT = Test(0, rtnl.AF_BRIDGE, DROP, KEEP)


@dataclass(frozen=True, slots=True)
class Link(NodeEntry):
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

    kind: ClassVar[str] = "link"
    notification: ClassVar[Notification | None] = Notification(
        (_LINK_GROUP,), rtnl.NEWLINK, _decode, _NO_BRIDGE_PORT, _NO_BRIDGE_PORT
    )

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
        """Return the identity of the object among entries of its kind."""
        return self.device, self.tap

    def node_device(self) -> str:
        """Return the name of the device in the host namespace."""
        return self.tap

    def object_id(self, ports: Mapping[str, str]) -> str | None:
        """Return the id of the port or network whose device this is."""
        return ports.get(self.device)

    def is_as_desired(self, info: rtnl.LinkInfo, indexes: Mapping[str, int]) -> bool:
        """Return True if the tap is as desired."""
        plugged = self.bridge is None or info.master == indexes.get(self.bridge)
        return plugged and info.up and self.mtu in (None, info.mtu) and info.is_isolated

    @classmethod
    def phase(cls, operation: Operation[Link], replaced: Collection[str]) -> tuple[Phase, bool] | None:
        """Return the phase of a shutdown, and of the removal of a replaced device, which precedes its addition."""
        if is_shutdown(operation):
            return Phase.LINK_SHUTDOWNS, True
        if operation.verb == "remove" and operation.entry.device in replaced:
            return Phase.LINKS, False
        return None

    @classmethod
    def commands(cls, operation: Operation[Link], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        link, previous = operation.entry, operation.previous
        inside = f"ip -n {namespace} link"
        if operation.verb == "remove":
            return [f"{inside} delete {link.device}"]
        mtu = f" mtu {link.mtu}" if link.mtu else ""
        inside = f"{inside} set {link.device}"
        outside = f"ip link set {link.tap}"
        master = f" master {link.bridge}" if link.bridge else ""
        offload = [] if link.offload else [f"ip netns exec {namespace} ethtool -K {link.device} tx off"]
        if not link.up:
            return [f"{inside} down"]
        if previous is not None:
            mac = f" address {link.mac}" if link.mac != previous.mac else ""
            tap = [] if link.is_ovs_internal else [f"{outside}{master}{mtu} up"]
            tap = tap if previous.is_isolated else [isolate(link.tap), *tap]
            flags = "" if previous.arp and previous.multicast else " arp on multicast on"
            return [*tap, *(offload if previous.offload else ()), f"{inside}{mac}{mtu}{flags} up"]
        if link.is_ovs_internal:
            return [f"{outside} netns {namespace}", f"{inside} address {link.mac}{mtu} up"]
        return [
            f"ip link add {link.tap}{mtu} type veth peer name {link.device} address {link.mac}{mtu} netns {namespace}",
            isolate(link.tap),
            f"{outside} alias {TAP_ALIAS}{master} up",
            *offload,
            f"{inside} up",
        ]

    @classmethod
    def needs_reobserve(cls, operations: Sequence[Operation[Link]]) -> bool:
        """Return True if links are changed or removed: the kernel removes routes with them."""
        return any(one.verb != "add" for one in operations)

    @classmethod
    def encode_outside(cls, operations: Sequence[Operation[Link]], made: Batches, target: Outside) -> None:
        """Add the messages for the host namespace."""
        for operation in operations:
            link, previous = operation.entry, operation.previous
            if operation.verb == "add" and target.namespace_fd is not None:
                if link.is_ovs_internal:
                    move = rtnl.set_link(name=link.device, namespace_fd=target.namespace_fd)
                    made.additions.append((move, operation))
                else:
                    made.creations.append((_new_link(link, target.namespace_fd), operation))
                    made.isolation.append((rtnl.isolate(link.tap, alias=TAP_ALIAS), operation))
                    made.additions.append((_tap_up(link, target.bridge_index), operation))
            elif operation.verb == "change" and link.up and previous is not None and not link.is_ovs_internal:
                if not previous.is_isolated:
                    made.isolation.append((rtnl.isolate(link.tap, alias=TAP_ALIAS), operation))
                made.additions.append((_update_tap(link, previous, target.bridge_index), operation))

    @classmethod
    def encode_early(cls, operations: Sequence[Operation[Link]], made: Batches, target: Inside) -> None:
        """Add the messages that remove replaced devices, and that set links down before they are removed."""
        made.early_removals += [
            (rtnl.delete_link(index=target.index[one.entry.device]), one) for one in replacements(operations)
        ]
        made.shutdowns += [
            (rtnl.set_link(index=target.index[one.entry.device], up=False), one)
            for one in operations
            if is_shutdown(one)
        ]

    @classmethod
    def encode_additions(cls, operations: Sequence[Operation[Link]], made: Batches, target: Inside) -> None:
        """Add the messages that set links up, new ones for the first time."""
        made.additions += [
            (_set_up(one.entry, one.previous, target.index[one.entry.device]), one)
            for one in operations
            if one.verb != "remove" and one.entry.up
        ]

    @classmethod
    def encode_removals(cls, operations: Sequence[Operation[Link]], made: Batches, target: Inside) -> None:
        """Add the messages that remove links, except replaced ones."""
        replaced = frozenset(replacements(operations))
        made.removals += [
            (rtnl.delete_link(index=target.index[one.entry.device]), one)
            for one in operations
            if one.verb == "remove" and one not in replaced
        ]


def new_devices(operations: Sequence[Operation[Link]]) -> list[str]:
    """Return the devices that a plan creates, in order."""
    return [one.entry.device for one in operations if one.verb == "add"]


def replacements(operations: Sequence[Operation[Link]]) -> list[Operation[Link]]:
    """Return the removals of devices that a plan replaces."""
    removals = [one for one in operations if one.verb == "remove"]
    new = frozenset(new_devices(operations) if removals else ())
    return [one for one in removals if one.entry.device in new]


def is_shutdown(operation: Operation[Link]) -> bool:
    """Return True if an operation shuts a link down before its removal."""
    return operation.verb == "change" and not operation.entry.up


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


def _set_up(link: Link, previous: Link | None, index: int) -> bytes:
    if previous is None:
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
