# SPDX-License-Identifier: Apache-2.0
"""Names of interface drivers: the values of the option ``interface_driver``."""

from __future__ import annotations

from l3agent.exceptions import ConfigError

NAMES = ("bridge", "linuxbridge", "openvswitch")
#: The last part of the class paths by which files of old releases name Neutron's drivers.
_CLASSES = {"BridgeInterfaceDriver": "linuxbridge", "OVSInterfaceDriver": "openvswitch"}


def driver_name(value: str) -> str:
    """Return which driver an option means, by its name or by the class path of Neutron's.

    :raises ConfigError: there is none of that name.
    """
    name = _CLASSES.get(value.rpartition(".")[2], value)
    if name not in NAMES:
        raise ConfigError(f"interface_driver: {value!r}: unknown; known are {', '.join(NAMES)}")
    return name
