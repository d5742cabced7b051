# SPDX-License-Identifier: Apache-2.0
"""Interface drivers: how a port is plugged into its network. Pure: a driver names entries, it sends nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from l3agent.dataplane.plan.drivers.bridge import BridgeDriver
from l3agent.dataplane.plan.drivers.linuxbridge import LinuxBridgeDriver
from l3agent.dataplane.plan.drivers.openvswitch import OpenVSwitchDriver
from l3agent.dataplane.plan.entries import Entry
from l3agent.model.interface_drivers import driver_name
from l3agent.model.states import Key, NetworkState, Port


class InterfaceDriver(Protocol):
    """What the data plane asks of a driver.

    Besides MAC address and MTU a driver is responsible, by the fields of its entries, for what depends on how a port is
    plugged in:

    * ``Link.is_isolated`` and ``Bridge.is_isolated``: the host stack ignores the devices that the driver creates in the
      host namespace (IPv6 disabled, ``arp_ignore`` 8, ``rp_filter`` 1) before they come up. All drivers isolate.
    * ``Link.offload``: the inner end leaves transmit checksums to the other end. It must be False if no kernel
      completes them: Open vSwitch with a userspace datapath reads packets from a veth pair without checksums.

    Everything else of the inner device (``arp``, ``multicast``, ``forwarding``, ``arp_ignore``, ``accept_ra``) is the
    same with all drivers, and rendered with the state.
    """

    def bridge(self, network_id: str) -> str | None:
        """Return the name of the bridge of a network; None when there is none of ours."""

    def network(self, state: NetworkState) -> Iterator[Entry]:
        """Yield what a network needs by itself, without a port."""

    def port(self, owner: Key, port: Port) -> Iterator[Entry]:
        """Yield the link that plugs in a port of a router or host, and what the link hangs on."""


def load_driver(
    value: str, *, integration_bridge: str = "br-int", external_bridge: str = "", use_veth: bool = False
) -> InterfaceDriver:
    """Return the driver that an option means; the others are for Open vSwitch.

    :raises ConfigError: there is none of that name.
    """
    match driver_name(value):
        case "openvswitch":
            return OpenVSwitchDriver(integration_bridge, external_bridge, use_veth)
        case "linuxbridge":
            return LinuxBridgeDriver()
        case _:
            return BridgeDriver()
