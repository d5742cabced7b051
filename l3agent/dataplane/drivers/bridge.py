# SPDX-License-Identifier: Apache-2.0
"""The driver ``bridge``: a Linux bridge a network, a veth pair a port, named as Neutron's linux bridge driver does."""

from __future__ import annotations

from l3agent.dataplane.plan import Bridge, Card, Link
from l3agent.model.names import BRIDGE_DEVICE, TAP_DEVICE, device_name
from l3agent.model.states import NetworkState, Port


class BridgeDriver:
    """Plug ports into Linux bridges."""

    def network(self, network_id: str) -> Bridge:
        """Return the bridge of a network."""
        return Bridge(device_name(BRIDGE_DEVICE, network_id), network_id)

    def card(self, state: NetworkState) -> Card | None:
        """Return the card that leads the network outside."""
        return None if state.interface is None else Card(state.interface, self.network(state.id).name, state.id)

    def link(self, port: Port) -> Link:
        """Return the veth pair of a port."""
        return Link(
            device=port.device,
            mac=port.mac,
            mtu=port.mtu,
            up=True,
            tap=device_name(TAP_DEVICE, port.id),
            bridge=self.network(port.network_id).name,
        )
