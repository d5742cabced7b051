# SPDX-License-Identifier: Apache-2.0
"""Names of interface drivers: the values of the option ``interface_driver``."""

from __future__ import annotations

from l3agent.exceptions import ConfigError

NAMES = ("bridge", "linuxbridge", "openvswitch")
#: Last part of the class path of each Neutron driver, as configuration files of old releases name it.
_CLASSES = {"BridgeInterfaceDriver": "linuxbridge", "OVSInterfaceDriver": "openvswitch"}


def driver_name(value: str) -> str:
    """Return the driver name for an option value: a driver name, or the class path of a Neutron driver.

    :raises ConfigError: the driver is unknown.
    """
    name = _CLASSES.get(value.rpartition(".")[2], value)
    if name not in NAMES:
        raise ConfigError(f"interface_driver: {value!r}: unknown; known are {', '.join(NAMES)}")
    return name
