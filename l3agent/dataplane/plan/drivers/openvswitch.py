# SPDX-License-Identifier: Apache-2.0
"""The driver ``openvswitch``: ports of the integration bridge, which Neutron's Open vSwitch agent wires.

A port is an internal one, whose device the switch makes (a tap where its datapath is in user space) and which is moved
into the namespace; with ``ovs_use_veth`` the outer end of a veth pair. The names of ``external_ids`` are those by which
that agent knows its ports.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from l3agent.dataplane.ovsdb.rows import OWNER
from l3agent.dataplane.plan.entries import Entry, Link, SwitchPort
from l3agent.model.names import GATEWAY_DEVICE, TAP_DEVICE, device_name
from l3agent.model.states import Key, NetworkState, Port


@dataclass(frozen=True, slots=True)
class OpenVSwitchDriver:
    """Plug ports into Open vSwitch.

    :param integration_bridge: the bridge whose ports the L2 agent wires.
    :param external_bridge: where ports of gateways go instead, unwired, as in deployments of old; empty for none.
    :param use_veth: veth pairs instead of internal ports.
    """

    integration_bridge: str = "br-int"
    external_bridge: str = ""
    use_veth: bool = False

    def bridge(self, network_id: str) -> str | None:
        """Return None: no Linux bridge is ours."""
        return None

    def network(self, state: NetworkState) -> Iterator[Entry]:
        """Yield nothing."""
        yield from ()

    def port(self, owner: Key, port: Port) -> Iterator[Entry]:
        """Yield the port of the switch and the link that it is."""
        outside = bool(self.external_bridge) and port.device.startswith(GATEWAY_DEVICE)
        name = device_name(TAP_DEVICE, port.id) if self.use_veth else port.device
        ids = {"iface-id": port.id, "iface-status": "active", "attached-mac": port.mac, OWNER: owner[1]}
        yield SwitchPort(
            name=name,
            bridge=self.external_bridge if outside else self.integration_bridge,
            type="" if self.use_veth else "internal",
            ids=frozenset(ids.items()),
            # Nobody wires what is on the external bridge.
            has_tag=None if outside else True,
        )
        # A datapath in user space reads packets off the pair as they are: nothing completes their checksums.
        yield Link(port.device, port.mac, port.mtu, True, name, None, offload=not self.use_veth)
