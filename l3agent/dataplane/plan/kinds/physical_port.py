# SPDX-License-Identifier: Apache-2.0
"""Physical interfaces as ports of bridges."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.plan.kinds.base import Batches, NodeEntry, Operation, Outside
from l3agent.dataplane.plan.kinds.bridge import bridge_alias


@dataclass(frozen=True, slots=True)
class PhysicalPort(NodeEntry):
    """A physical interface as a port of the bridge of a network; the alias of the bridge names the interface."""

    kind: ClassVar[str] = "physical_port"

    interface: str
    bridge: str
    network_id: str

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.interface

    def node_device(self) -> str:
        """Return the name of the device in the host namespace."""
        return self.interface

    def object_id(self, ports: Mapping[str, str]) -> str | None:
        """Return the id of the port or network whose device this is."""
        return self.network_id

    def is_as_desired(self, info: rtnl.LinkInfo, indexes: Mapping[str, int]) -> bool:
        """Return True if the device is as desired."""
        return info.master == indexes.get(self.bridge) and info.up

    @classmethod
    def commands(cls, operation: Operation[PhysicalPort], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        port = operation.entry
        if operation.verb == "remove":
            return [f"ip link set {port.interface} nomaster"]
        return [
            f"ip link set {port.bridge} alias {bridge_alias(port.network_id, port.interface)}",
            f"ip link set {port.interface} master {port.bridge} up",
        ]

    @classmethod
    def encode_outside(cls, operations: Sequence[Operation[PhysicalPort]], made: Batches, target: Outside) -> None:
        """Add the messages for the host namespace."""
        for operation in operations:
            port = operation.entry
            if operation.verb == "remove":
                # Before the alias names another port: an observation finds only the port in the alias.
                made.early_removals.append((rtnl.set_link(name=port.interface, master=0), operation))
            else:
                master = target.bridge_index[port.bridge]
                alias = bridge_alias(port.network_id, port.interface)
                made.additions.append((rtnl.set_link(index=master, alias=alias), operation))
                made.additions.append((rtnl.set_link(name=port.interface, master=master, up=True), operation))
