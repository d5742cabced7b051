# SPDX-License-Identifier: Apache-2.0
"""A kernel with a memory: it carries out operations on entries and does what the real one does on the side.

It refuses what the real one refuses (an address on a device that is not there, an element without its table), it
drops what the real one drops (routes with their device, everything with the namespace), and it makes what the real one
makes by itself (connected routes with addresses, settings with devices).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from l3agent.dataplane.plan.kinds.address import DeviceAddress
from l3agent.dataplane.plan.kinds.base import Entry, Operation
from l3agent.dataplane.plan.kinds.bridge import Bridge
from l3agent.dataplane.plan.kinds.connected_route import ConnectedRoute
from l3agent.dataplane.plan.kinds.device_settings import DeviceSettings
from l3agent.dataplane.plan.kinds.element import Element
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.pending_flush import PendingFlush
from l3agent.dataplane.plan.kinds.physical_port import PhysicalPort
from l3agent.dataplane.plan.kinds.stray_tap import StrayTap
from l3agent.dataplane.plan.kinds.switch_port import SwitchPort
from l3agent.dataplane.plan.kinds.table import Table
from l3agent.model.names import GATEWAY_DEVICE, INTERNAL_DEVICE

#: The kinds that are in no namespace.
OUTSIDE = (Bridge, PhysicalPort, StrayTap, SwitchPort)


class Refused(Exception):
    """The operation cannot be carried out in the state the kernel is in."""


class FakeKernel:
    """Holds entries of one namespace and of the host namespace around it."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries: set[Entry] = set(entries)

    def run(self, operations: Iterable[Operation[Entry]]) -> None:
        """Carry out operations in order."""
        for operation in operations:
            self.do(operation)

    def do(self, operation: Operation[Entry]) -> None:
        """Carry out one operation; what is gone already may be removed again.

        :raises Refused: something it leans on is missing.
        """
        if operation.verb == "remove":
            self._remove(operation.entry)
        else:
            self._refuse_unless_possible(operation)
            self.entries = {one for one in self.entries if not _same(one, operation.entry)} | {operation.entry}
            if isinstance(operation.entry, Table) and operation.verb == "change":
                self._drop(Element, PendingFlush)
            self.entries |= set(_inherent(operation.entry))
        addressed = {one for address in self.of(DeviceAddress) for one in _inherent(address)}
        self.entries -= self.of(ConnectedRoute) - addressed

    def of(self, kind: type) -> set[Entry]:
        """Return the entries of a kind."""
        return {one for one in self.entries if isinstance(one, kind)}

    def forwards(self) -> bool:
        """Return True if a packet could cross the router now: a link is up."""
        return any(isinstance(one, Link) and one.up for one in self.entries)

    def _refuse_unless_possible(self, operation: Operation[Entry]) -> None:
        entry = operation.entry
        devices = {one.device for one in self.entries if isinstance(one, Link)}
        if type(entry) not in OUTSIDE and type(entry) is not Namespace and not self.of(Namespace):
            raise Refused(f"no namespace for {entry}")
        if operation.verb == "add" and any(_same(one, entry) for one in self.entries):
            raise Refused(f"{entry} exists")
        bridge = entry.bridge if isinstance(entry, Link | PhysicalPort) else None
        if bridge and not any(isinstance(one, Bridge) and one.name == bridge for one in self.entries):
            raise Refused(f"no bridge for {entry}")
        if isinstance(entry, Link) and entry.is_ovs_internal and not _ports(self.entries, entry.device):
            raise Refused(f"no switch makes {entry}")
        if not entry.is_kernel_made and not devices.issuperset(entry.devices()):
            raise Refused(f"no device for {entry}")
        if isinstance(entry, Element) and not self.of(Table):
            raise Refused(f"no table for {entry}")

    def _remove(self, entry: Entry) -> None:
        self.entries = {one for one in self.entries if not _same(one, entry)}
        if isinstance(entry, Namespace):
            self.entries = {one for one in self.entries if type(one) in OUTSIDE}
        elif isinstance(entry, SwitchPort):
            # ovs-vswitchd takes its device away, wherever that is.
            for link in self.of(Link):
                if isinstance(link, Link) and link.is_ovs_internal and link.device == entry.name:
                    self._remove(link)
        elif isinstance(entry, Link):
            gone = entry.device
            self.entries = {one for one in self.entries if gone not in one.devices()}
        elif isinstance(entry, Table):
            self._drop(Element, PendingFlush)

    def _drop(self, *kinds: type) -> None:
        self.entries = {one for one in self.entries if not isinstance(one, kinds)}


def _inherent(entry: Entry) -> Iterator[Entry]:
    """Yield what comes with an entry by itself."""
    if isinstance(entry, Link) and entry.device.startswith((INTERNAL_DEVICE, GATEWAY_DEVICE)):
        yield DeviceSettings(entry.device)
    if isinstance(entry, DeviceAddress) and entry.interface.network.prefixlen < entry.interface.max_prefixlen:
        yield ConnectedRoute(entry.device, entry.interface.network)


def _ports(entries: Iterable[Entry], name: str) -> list[SwitchPort]:
    return [one for one in entries if isinstance(one, SwitchPort) and one.name == name]


def _same(one: Entry, other: Entry) -> bool:
    return type(one) is type(other) and one.identity() == other.identity()
