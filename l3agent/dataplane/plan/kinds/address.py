# SPDX-License-Identifier: Apache-2.0
"""Addresses of devices."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Any, ClassVar

from l3agent.dataplane.netlink import addresses, rtnl
from l3agent.dataplane.plan.kinds.base import Batch, Batches, Entry, Inside, Operation
from l3agent.dataplane.plan.kinds.observation import Dump, EventLocation, Notification
from l3agent.model.names import DEVICE_PREFIXES
from l3agent.model.states import Interface

#: RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR (linux/rtnetlink.h).
_GROUPS = (5, 9)


@dataclass(frozen=True, slots=True)
class AddressEvent:
    """An address was added or removed."""

    is_removal: bool
    index: int
    interface: Interface

    def is_as_desired(self, location: EventLocation) -> bool:
        """Return True if the desired state has the same; else the state has to be observed."""
        if self.index == rtnl.LOOPBACK and self.interface.version == 6 and self.interface.ip.is_loopback:
            # The kernel removes ::1 when IPv6 is disabled, and adds it when IPv6 is enabled.
            return location.has_ipv6 != self.is_removal
        device = location.devices.get(self.index)
        return device is None or (DeviceAddress(device, self.interface) in location.desired()) != self.is_removal


def _decode(is_removal: bool, raw: bytes) -> Iterator[AddressEvent]:
    for index, interface in addresses.parse_addresses(raw):
        yield AddressEvent(is_removal, index, interface)


def _parse(data: bytes, names: dict[int, str]) -> frozenset[DeviceAddress]:
    found = ((names.get(index, ""), interface) for index, interface in addresses.parse_addresses(data))
    return frozenset(DeviceAddress(name, interface) for name, interface in found if name.startswith(DEVICE_PREFIXES))


@dataclass(frozen=True, slots=True)
class DeviceAddress(Entry):
    """An address on a device."""

    kind: ClassVar[str] = "address"
    dumps: ClassVar[tuple[Dump, ...]] = (Dump(addresses.dump_addresses(), _parse),)
    notification: ClassVar[Notification | None] = Notification(_GROUPS, addresses.NEWADDR, _decode)

    device: str
    interface: Interface

    def __hash__(self) -> int:
        # The hash of an interface computes its network first, which takes several times the time of the rest.
        return hash((self.device, int(self.interface)))

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.device, self.interface.packed

    def sort_key(self) -> tuple[Any, ...]:
        """Return the sort key among entries of the same phase."""
        return self.device, self.interface.version, int(self.interface)

    def devices(self) -> Collection[str]:
        """Return the devices in the namespace that the entry is on."""
        return (self.device,)

    def needs_ipv6(self) -> bool:
        """Return True if the kernel refuses the entry in a namespace without IPv6."""
        return self.interface.version == 6

    def is_implied(self) -> bool:
        """Return True if a state without any IPv6 address or route has the entry as well, where it needs IPv6."""
        return self.interface.is_link_local

    @classmethod
    def commands(cls, operation: Operation[DeviceAddress], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        device, interface, inside = operation.entry.device, operation.entry.interface, f"ip -n {namespace} address"
        if operation.verb == "remove":
            return [f"{inside} delete {interface!s} dev {device}"]
        if isinstance(interface, IPv4Interface):
            extra = f" broadcast {interface.network.broadcast_address}" if interface.network.prefixlen < 31 else ""
        else:
            extra = " nodad"
        made = f"{inside} add {interface!s}{extra} dev {device}"
        if operation.previous is None:
            return [made]
        old = f"{inside} delete {operation.previous.interface} dev {device}"
        return [old, made] if interface.version == 6 else [made, old]

    @classmethod
    def needs_reobserve(cls, operations: Sequence[Operation[DeviceAddress]]) -> bool:
        """Return True if the kernel may remove routes with an address. No route depends on a host address."""
        return any(one.verb != "add" and not _is_host(one.entry.interface) for one in operations)

    @classmethod
    def encode_additions(cls, operations: Sequence[Operation[DeviceAddress]], made: Batches, target: Inside) -> None:
        """Add the messages of additions and changes.

        New devices get their IPv4 addresses before they are set up: for each address of a device that is up, the kernel
        walks all routes through that device (``fib_sync_up``), which is two thirds of the time with 10,000 addresses.
        """
        index, new_devices = target.index, target.new_devices
        early: Batch = []
        for one in operations:
            address, previous = one.entry, one.previous
            if one.verb == "remove":
                continue
            new = addresses.new_address(index[address.device], address.interface)
            if previous is None:
                is_early = address.device in new_devices and address.interface.version == 4
                (early if is_early else made.additions).append((new, one))
                continue
            # Changed prefix length: a device has an IPv6 address once, and an IPv4 address once per prefix length.
            old = addresses.delete_address(index[address.device], previous.interface)
            both = (old, new) if address.interface.version == 6 else (new, old)
            made.additions += [(message, one) for message in both]
        made.additions[:0] = early

    @classmethod
    def encode_removals(cls, operations: Sequence[Operation[DeviceAddress]], made: Batches, target: Inside) -> None:
        """Add the messages of removals."""
        made.removals += [
            (addresses.delete_address(target.index[one.entry.device], one.entry.interface), one)
            for one in operations
            if one.verb == "remove"
        ]


def _is_host(interface: Interface) -> bool:
    return interface.network.prefixlen == interface.max_prefixlen
