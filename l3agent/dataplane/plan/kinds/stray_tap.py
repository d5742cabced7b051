# SPDX-License-Identifier: Apache-2.0
"""Devices of ours in the host namespace that are in the way of a wanted tap."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.plan.kinds.base import Batches, Entry, Operation, Outside


@dataclass(frozen=True, slots=True)
class StrayTap(Entry):
    """A device in the host namespace that occupies the name of a wanted tap. Never desired."""

    kind: ClassVar[str] = "stray_tap"

    name: str

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.name

    @classmethod
    def commands(cls, operation: Operation[StrayTap], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        return [f"ip link delete {operation.entry.name}"]

    @classmethod
    def encode_outside(cls, operations: Sequence[Operation[StrayTap]], made: Batches, target: Outside) -> None:
        """Add the messages for the host namespace."""
        made.early_removals += [(rtnl.delete_link(name=one.entry.name), one) for one in operations]
