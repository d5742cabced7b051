# SPDX-License-Identifier: Apache-2.0
"""Interface drivers: how a port is plugged into its network. Pure: a driver names entries, it sends nothing."""

from __future__ import annotations

from typing import Protocol

from l3agent.dataplane.drivers.bridge import BridgeDriver
from l3agent.dataplane.plan import Bridge, Card, Link
from l3agent.exceptions import ConfigError
from l3agent.model.states import NetworkState, Port


class InterfaceDriver(Protocol):
    """What the data plane asks of a driver."""

    def network(self, network_id: str) -> Bridge:
        """Return the switch of a network."""

    def card(self, state: NetworkState) -> Card | None:
        """Return the real network card that a network needs, if any."""

    def link(self, port: Port) -> Link:
        """Return the link that plugs a port in."""


_DRIVERS = {"bridge": BridgeDriver}
NAMES = tuple(_DRIVERS)


def load_driver(name: str) -> InterfaceDriver:
    """Return the driver of a name.

    :raises ConfigError: there is none of that name.
    """
    try:
        return _DRIVERS[name]()
    except KeyError:
        raise ConfigError(f"interface_driver: {name!r}: unknown; known are {', '.join(NAMES)}") from None
