# SPDX-License-Identifier: Apache-2.0
"""The driver ``bridge``: one Linux bridge per network, one veth pair per port, with the names of Neutron's driver."""

from __future__ import annotations

from collections.abc import Iterator

from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.bridge import Bridge
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.physical_port import PhysicalPort
from l3agent.model.names import BRIDGE_DEVICE, TAP_DEVICE, device_name
from l3agent.model.states import Key, NetworkState, Port


class BridgeDriver:
    """Attaches ports to Linux bridges."""

    def bridge(self, network_id: str) -> str | None:
        """Return the name of the bridge of a network."""
        return device_name(BRIDGE_DEVICE, network_id)

    def network(self, state: NetworkState) -> Iterator[Entry]:
        """Yield the bridge of an external network with its physical interface."""
        if state.interface is not None:
            bridge = device_name(BRIDGE_DEVICE, state.id)
            yield Bridge(bridge, state.id)
            yield PhysicalPort(state.interface, bridge, state.id)

    def port(self, owner: Key, port: Port) -> Iterator[Entry]:
        """Yield the bridge and the veth pair of a port."""
        bridge = device_name(BRIDGE_DEVICE, port.network_id)
        yield Bridge(bridge, port.network_id)
        yield Link(port.device, port.mac, port.mtu, True, device_name(TAP_DEVICE, port.id), bridge)
