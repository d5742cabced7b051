# SPDX-License-Identifier: Apache-2.0
"""Interface drivers: render the entries that attach a port to its network. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from l3agent.dataplane.plan.drivers.bridge import BridgeDriver
from l3agent.dataplane.plan.drivers.linuxbridge import LinuxBridgeDriver
from l3agent.dataplane.plan.drivers.openvswitch import OpenVSwitchDriver
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.model.interface_drivers import driver_name
from l3agent.model.states import Key, NetworkState, Port


class InterfaceDriver(Protocol):
    """Interface of a driver.

    Besides MAC address and MTU, a driver sets the fields of its entries that depend on how a port is attached:

    * ``Link.is_isolated`` and ``Bridge.is_isolated``: the host stack ignores the devices that the driver creates in the
      host namespace (IPv6 disabled, ``arp_ignore`` 8, ``rp_filter`` 1) before they come up. All drivers isolate.
    * ``Link.offload``: the inner end leaves transmit checksums to the other end. It must be False if no kernel
      completes them: Open vSwitch with a userspace datapath reads packets from a veth pair without checksums.

    All other properties of the inner device (``arp``, ``multicast``, ``forwarding``, ``arp_ignore``, ``accept_ra``)
    are equal for all drivers, and rendered with the state.
    """

    def bridge(self, network_id: str) -> str | None:
        """Return the name of the managed bridge of a network; None if the driver manages none."""

    def network(self, state: NetworkState) -> Iterator[Entry]:
        """Yield the entries of a network that exist without a port."""

    def port(self, owner: Key, port: Port) -> Iterator[Entry]:
        """Yield the link of a port of a router or host, and the bridge or switch port of the link."""


def load_driver(
    value: str, *, integration_bridge: str = "br-int", external_bridge: str = "", use_veth: bool = False
) -> InterfaceDriver:
    """Return the driver for a value of ``interface_driver``; the other arguments apply to Open vSwitch.

    :raises ConfigError: the driver is unknown.
    """
    match driver_name(value):
        case "openvswitch":
            return OpenVSwitchDriver(integration_bridge, external_bridge, use_veth)
        case "linuxbridge":
            return LinuxBridgeDriver()
        case _:
            return BridgeDriver()
