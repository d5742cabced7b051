# SPDX-License-Identifier: Apache-2.0
"""The driver ``openvswitch``: ports of the integration bridge, which Neutron's Open vSwitch agent wires.

A port is an internal port, whose device ovs-vswitchd creates (a tap with a userspace datapath) and which is moved into
the namespace; with ``ovs_use_veth`` it is the outer end of a veth pair. The Open vSwitch agent identifies its ports by
``external_ids``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.switch_port import OWNER, SwitchPort
from l3agent.model.names import EXTERNAL_DEVICES, TAP_DEVICE, device_name
from l3agent.model.states import Key, NetworkState, Port


@dataclass(frozen=True, slots=True)
class OpenVSwitchDriver:
    """Attaches ports to Open vSwitch.

    :param integration_bridge: the bridge whose ports the L2 agent wires.
    :param external_bridge: bridge of the gateway ports in old deployments, where no agent wires them; empty for none.
    :param use_veth: use veth pairs instead of internal ports.
    """

    integration_bridge: str = "br-int"
    external_bridge: str = ""
    use_veth: bool = False

    def bridge(self, network_id: str) -> str | None:
        """Return None: the driver manages no Linux bridge."""
        return None

    def network(self, state: NetworkState) -> Iterator[Entry]:
        """Yield nothing."""
        yield from ()

    def port(self, owner: Key, port: Port) -> Iterator[Entry]:
        """Yield the port of the switch and its link."""
        outside = bool(self.external_bridge) and port.device.startswith(EXTERNAL_DEVICES)
        name = device_name(TAP_DEVICE, port.id) if self.use_veth else port.device
        ids = {"iface-id": port.id, "iface-status": "active", "attached-mac": port.mac, OWNER: owner[1]}
        yield SwitchPort(
            name=name,
            bridge=self.external_bridge if outside else self.integration_bridge,
            type="" if self.use_veth else "internal",
            ids=frozenset(ids.items()),
            # No agent wires ports of the external bridge.
            has_tag=None if outside else True,
        )
        # A userspace datapath reads packets from the pair without completing their checksums.
        yield Link(port.device, port.mac, port.mtu, True, name, None, offload=not self.use_veth)
