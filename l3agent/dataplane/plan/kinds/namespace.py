# SPDX-License-Identifier: Apache-2.0
"""Network namespaces."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.plan.kinds.base import Batches, Entry, Inside, Operation


@dataclass(frozen=True, slots=True)
class Namespace(Entry):
    """A pinned network namespace; ``loopback`` is True if its device ``lo`` is up."""

    kind: ClassVar[str] = "namespace"

    name: str
    loopback: bool = True

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.name

    @classmethod
    def commands(cls, operation: Operation[Namespace], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        name = operation.entry.name
        if operation.verb == "remove":
            return [f"ip netns delete {name}"]
        made = [] if operation.verb == "change" else [f"ip netns add {name}"]
        return [*made, f"ip -n {namespace} link set lo up"]

    @classmethod
    def encode_additions(cls, operations: Sequence[Operation[Namespace]], made: Batches, target: Inside) -> None:
        """Add the messages of additions and changes in the namespace."""
        made.additions += [
            (rtnl.set_link(index=rtnl.LOOPBACK, up=True), one) for one in operations if one.verb != "remove"
        ]
