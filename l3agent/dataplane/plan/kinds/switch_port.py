# SPDX-License-Identifier: Apache-2.0
"""Ports of Open vSwitch. The package ovsdb reads and writes them: they have no netlink messages."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from l3agent.dataplane.plan.kinds.base import Entry, Operation, select
from l3agent.dataplane.plan.kinds.observation import EventLocation

#: Key of ``external_ids`` that marks a port as ours, with the id of its router.
OWNER = "l3agent-router"


@dataclass(frozen=True, slots=True)
class SwitchPort(Entry):
    """A port in the database of Open vSwitch.

    :param type: ``internal`` if ovs-vswitchd creates the device; empty for a link that exists independently.
    :param ids: the compared pairs of ``external_ids``; the port may have others.
    :param has_tag: the port has a VLAN: that of the L2 agent, or the dead VLAN until the agent has wired the port.
        None if the VLAN is not compared.
    :param is_stuck: the port has the VLAN of the L2 agent and is still dead.
    :param has_device: the device of the port exists.
    """

    kind: ClassVar[str] = "switch_port"

    name: str
    bridge: str
    type: str
    ids: frozenset[tuple[str, str]]
    has_tag: bool | None
    is_stuck: bool = False
    has_device: bool = True

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.name

    @classmethod
    def commands(cls, operation: Operation[SwitchPort], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation; a port of the switch is in no namespace."""
        port, previous = operation.entry, operation.previous
        if operation.verb == "remove":
            return [f"ovs-vsctl --if-exists del-port {port.name}"]
        ids = " ".join(f"external_ids:{key}='\"{value}\"'" for key, value in sorted(port.ids))
        interface = f"set Interface {port.name}{' type=internal' if port.type else ''} {ids}"
        dead = f" -- set Port {port.name} tag=4095 vlan_mode=trunk trunks=4095" if port.has_tag else ""
        if previous is not None and previous.has_device and previous.bridge == port.bridge:
            alive = f" -- clear Port {port.name} vlan_mode trunks" if previous.is_stuck else ""
            return [f"ovs-vsctl {interface}{alive if previous.has_tag else dead}"]
        removed = f"del-port {port.name} -- " if previous is not None else ""
        return [f"ovs-vsctl {removed}add-port {port.bridge} {port.name}{dead} -- {interface}"]

    @classmethod
    def needs_reobserve(cls, operations: Sequence[Operation[SwitchPort]]) -> bool:
        """Return True if ports are changed or removed: their devices go with them."""
        return any(one.verb != "add" for one in operations)

    def compared_with(self, wanted: SwitchPort | None) -> SwitchPort:
        """Return an observed port without what the wanted port leaves unspecified."""
        if wanted is None or wanted.has_tag is not None:
            return self
        return replace(self, has_tag=None, is_stuck=False)


@dataclass(frozen=True, slots=True)
class PortEvent:
    """A port of the switch was changed.

    :param port: the port when the event was read, None without one.
    """

    name: str
    port: SwitchPort | None

    @property
    def owner(self) -> str | None:
        """The id of the router that the port is marked with."""
        return None if self.port is None else dict(self.port.ids).get(OWNER)

    def is_as_desired(self, location: EventLocation) -> bool:
        """Return True if the desired state has the same; else the state has to be observed."""
        wanted = next((one for one in select(location.desired(), SwitchPort) if one.name == self.name), None)
        return (None if self.port is None else self.port.compared_with(wanted)) == wanted
