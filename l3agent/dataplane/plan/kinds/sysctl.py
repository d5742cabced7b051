# SPDX-License-Identifier: Apache-2.0
"""Sysctls of a namespace. They have no netlink messages: the kernel package reads and writes /proc/sys."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from l3agent.dataplane.plan.kinds.base import Entry, Operation


@dataclass(frozen=True, slots=True)
class Sysctl(Entry):
    """A sysctl of the namespace; ``path`` is relative to /proc/sys."""

    kind: ClassVar[str] = "sysctl"

    path: str
    value: str

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.path

    def command(self, namespace: str | None) -> str:
        """Return the command of an operator that writes the value in a namespace."""
        return f"ip netns exec {namespace} sysctl -w {self.path.replace('/', '.')}={self.value}"

    @classmethod
    def commands(cls, operation: Operation[Sysctl], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        return [operation.entry.command(namespace)]
