# SPDX-License-Identifier: Apache-2.0
"""Observed state of one key: a value; who changes the kernel returns a new one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace

from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.plan.kinds.base import Entry


@dataclass(frozen=True)
class Observed:
    """Observed state of one key.

    :param devices: index of each link inside the namespace, foreign ones too.
    :param bridges: index of each observed bridge.
    :param taps: index of the outer end of each of our links.
    :param to_move_in: devices in the host namespace to move into the namespace.
    :param refused: desired devices that cannot be created, and why: a foreign device has their name.
    """

    entries: Set[Entry] = frozenset()
    handle: NamespaceHandle | None = None
    devices: Mapping[str, int] = field(default_factory=dict)
    bridges: Mapping[str, int] = field(default_factory=dict)
    taps: Mapping[str, int] = field(default_factory=dict)
    to_move_in: Set[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)

    def with_entries(self, entries: Iterable[Entry]) -> Observed:
        """Return the observation with more entries."""
        return replace(self, entries=self.entries | set(entries))

    def without_entries(self) -> Observed:
        """Return the observation without entries, which follow from the state once that is applied."""
        return replace(self, entries=frozenset()) if self.entries else self
