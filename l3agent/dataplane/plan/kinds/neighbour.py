# SPDX-License-Identifier: Apache-2.0
"""Permanent neighbours."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from l3agent.dataplane.netlink import neighbours
from l3agent.dataplane.netlink.neighbours import NeighbourInfo
from l3agent.dataplane.netlink.routes import ROUTE_PROTOCOL
from l3agent.dataplane.plan.kinds.base import Batches, Entry, Inside, Operation, select
from l3agent.dataplane.plan.kinds.observation import Dump, EventLocation, Notification
from l3agent.model.states import Address


@dataclass(frozen=True, slots=True)
class NeighbourEvent:
    """A permanent neighbour, or one of our protocol, was added, changed or removed."""

    is_removal: bool
    neighbour: NeighbourInfo

    def is_as_desired(self, location: EventLocation) -> bool:
        """Return True if the desired state has the same; else the state has to be observed.

        A foreign neighbour is harmless unless it replaces ours. The removal of ours is reported twice, first as a
        change of its state.
        """
        found = self.neighbour
        device = location.devices.get(found.device)
        if device is None:
            return True
        if found.is_ours and found.is_permanent and not self.is_removal:
            return KernelNeighbour(device, found.address, found.mac) in location.desired()
        return (device, found.address) not in location.neighbours()


def _decode(is_removal: bool, raw: bytes) -> Iterator[NeighbourEvent]:
    for neighbour in neighbours.parse_neighbours(raw):
        yield NeighbourEvent(is_removal, neighbour)


def _parse(data: bytes, names: dict[int, str]) -> frozenset[KernelNeighbour]:
    return frozenset(
        KernelNeighbour(names[one.device], one.address, one.mac)
        for one in neighbours.parse_neighbours(data)
        if one.is_ours and one.is_permanent and one.device in names
    )


@dataclass(frozen=True, slots=True)
class KernelNeighbour(Entry):
    """A permanent neighbour of our protocol: the MAC address of an address on the link of a device."""

    kind: ClassVar[str] = "neighbour"
    dumps: ClassVar[tuple[Dump, ...]] = (
        Dump(neighbours.dump_neighbours(), _parse, lambda entries: bool(select(entries, KernelNeighbour))),
    )
    notification: ClassVar[Notification | None] = Notification(
        neighbours.GROUPS, neighbours.NEWNEIGH, _decode, neighbours.FILTER, neighbours.FILTER
    )

    device: str
    address: Address
    mac: str

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.device, self.address

    def sort_key(self) -> tuple[Any, ...]:
        """Return the sort key among entries of the same phase."""
        return self.device, self.address.version, int(self.address)

    def devices(self) -> Collection[str]:
        """Return the devices in the namespace that the entry is on."""
        return (self.device,)

    def needs_ipv6(self) -> bool:
        """Return True if the kernel refuses the entry in a namespace without IPv6."""
        return self.address.version == 6

    @classmethod
    def commands(cls, operation: Operation[KernelNeighbour], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        one, inside = operation.entry, f"ip -n {namespace} neighbour"
        if operation.verb == "remove":
            return [f"{inside} delete {one.address} dev {one.device}"]
        made = f"{inside} replace {one.address} lladdr {one.mac} dev {one.device}"
        return [f"{made} nud permanent protocol {ROUTE_PROTOCOL}"]

    @classmethod
    def encode_additions(cls, operations: Sequence[Operation[KernelNeighbour]], made: Batches, target: Inside) -> None:
        """Add the messages of additions and changes."""
        for one in operations:
            if one.verb != "remove":
                entry = one.entry
                message = neighbours.new_neighbour(target.index[entry.device], entry.address, entry.mac)
                made.additions.append((message, one))

    @classmethod
    def encode_removals(cls, operations: Sequence[Operation[KernelNeighbour]], made: Batches, target: Inside) -> None:
        """Add the messages of removals."""
        for one in operations:
            if one.verb == "remove":
                entry = one.entry
                message = neighbours.delete_neighbour(target.index[entry.device], entry.address)
                made.removals.append((message, one))
