# SPDX-License-Identifier: Apache-2.0
"""The driver ``linuxbridge``: veth pairs whose outer ends Neutron's linux bridge agent attaches to its bridges.

The linux bridge agent detects a ``tap`` with the name of a port, creates the bridge of the network and attaches the
tap. The driver creates, changes and removes no bridge.
"""

from __future__ import annotations

from collections.abc import Iterator

from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.model.names import TAP_DEVICE, device_name
from l3agent.model.states import Key, NetworkState, Port


class LinuxBridgeDriver:
    """Creates taps that the linux bridge agent attaches."""

    def bridge(self, network_id: str) -> str | None:
        """Return None: the driver manages no bridge."""
        return None

    def network(self, state: NetworkState) -> Iterator[Entry]:
        """Yield nothing."""
        yield from ()

    def port(self, owner: Key, port: Port) -> Iterator[Entry]:
        """Yield the veth pair of a port."""
        yield Link(port.device, port.mac, port.mtu, True, device_name(TAP_DEVICE, port.id), None)
