# SPDX-License-Identifier: Apache-2.0
"""Index of the devices of applied states in the host namespace: which states use a device, and its index. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from l3agent.dataplane.netlink.rtnl import LinkInfo
from l3agent.dataplane.plan.kinds.base import NodeEntry, select
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.model.states import Key


class NodeIndex:
    """The devices by name; states may share one, which then looks the same to all of them.

    :ivar indexes: by name, where known.
    :ivar names: by index, where known.
    """

    def __init__(self) -> None:
        self.indexes: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self._users: dict[str, set[Key]] = {}
        #: Number of links that are ports of a bridge, by its name.
        self._port_counts: Counter[str] = Counter()

    def users(self, name: str) -> Iterable[Key]:
        """Return the keys of the states that use a device."""
        return self._users.get(name, ())

    def max_ports(self) -> int:
        """Return the number of our ports of the fullest bridge."""
        return max(self._port_counts.values(), default=0)

    def uses_bridge(self, bridge: str) -> bool:
        """Return True if a state has a port of this bridge."""
        return self._port_counts[bridge] > 0

    def add(self, key: Key, devices: Mapping[str, NodeEntry]) -> None:
        """Record the devices of a state, by name."""
        for name in devices:
            self._users.setdefault(name, set()).add(key)
        self._port_counts.update(_bridges(devices))

    def remove(self, key: Key, devices: Mapping[str, NodeEntry]) -> None:
        """Remove a state; forget the indexes of the devices that no other state uses."""
        for bridge in _bridges(devices):
            self._port_counts[bridge] -= 1
            if not self._port_counts[bridge]:
                del self._port_counts[bridge]
        for name in devices:
            self._users[name].discard(key)
            if not self._users[name]:
                del self._users[name]
                self.forget_index(name)

    def is_as_desired(self, entry: NodeEntry, info: LinkInfo) -> bool:
        """Return True if a device is the known one of its name, and as desired."""
        return self.indexes.get(info.name, info.index) == info.index and entry.is_as_desired(info, self.indexes)

    def set_index(self, name: str, index: int) -> None:
        """Record the index of a device that a state uses."""
        if name in self._users:
            self.indexes[name] = index
            self.names[index] = name

    def forget_index(self, name: str) -> None:
        """Drop the index of a device: a state that needs it has to observe it."""
        self.names.pop(self.indexes.pop(name, 0), None)


def _bridges(devices: Mapping[str, NodeEntry]) -> list[str]:
    """Return the bridge of each link that is a port of one."""
    return [link.bridge for link in select(devices.values(), Link) if link.bridge]
