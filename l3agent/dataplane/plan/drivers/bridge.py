# SPDX-License-Identifier: Apache-2.0
"""The driver ``bridge``: a Linux bridge a network, a veth pair a port, named as Neutron's linux bridge driver does."""

from __future__ import annotations

from collections.abc import Iterator

from l3agent.dataplane.plan.entries import (
    Bridge,
    Entry,
    Link,
    PhysicalPort,
)
from l3agent.model.names import BRIDGE_DEVICE, TAP_DEVICE, device_name
from l3agent.model.states import Key, NetworkState, Port


class BridgeDriver:
    """Plug ports into Linux bridges."""

    def bridge(self, network_id: str) -> str | None:
        """Return the name of the bridge of a network."""
        return device_name(BRIDGE_DEVICE, network_id)

    def network(self, state: NetworkState) -> Iterator[Entry]:
        """Yield the bridge of a network with the card that leads outside."""
        if state.interface is not None:
            bridge = device_name(BRIDGE_DEVICE, state.id)
            yield Bridge(bridge, state.id)
            yield PhysicalPort(state.interface, bridge, state.id)

    def port(self, owner: Key, port: Port) -> Iterator[Entry]:
        """Yield the veth pair of a port and the bridge it hangs on."""
        bridge = device_name(BRIDGE_DEVICE, port.network_id)
        yield Bridge(bridge, port.network_id)
        yield Link(port.device, port.mac, port.mtu, True, device_name(TAP_DEVICE, port.id), bridge)
