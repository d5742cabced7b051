# SPDX-License-Identifier: Apache-2.0
"""The driver ``linuxbridge``: veth pairs whose outer ends Neutron's linux bridge agent plugs into its bridges.

That agent sees a ``tap`` with the name of a port, makes the bridge of the network and takes it in. Bridges are its own:
none is made, changed or removed here.
"""

from __future__ import annotations

from collections.abc import Iterator

from l3agent.dataplane.plan.entries import Entry, Link
from l3agent.model.names import TAP_DEVICE, device_name
from l3agent.model.states import Key, NetworkState, Port


class LinuxBridgeDriver:
    """Leave taps to the linux bridge agent."""

    def bridge(self, network_id: str) -> str | None:
        """Return None: no bridge is ours."""
        return None

    def network(self, state: NetworkState) -> Iterator[Entry]:
        """Yield nothing."""
        yield from ()

    def port(self, owner: Key, port: Port) -> Iterator[Entry]:
        """Yield the veth pair of a port."""
        yield Link(port.device, port.mac, port.mtu, True, device_name(TAP_DEVICE, port.id), None)
