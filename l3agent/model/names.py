# SPDX-License-Identifier: Apache-2.0
"""Names of kernel objects, equal to Neutron's, so that operators and a former agent recognise them.

Source: L3 agent and linux bridge driver of Neutron (device prefix + 11 characters of the id); a device name has at most
15 bytes (``IFNAMSIZ`` is 16 with the NUL, ``linux/if.h``).
"""

from __future__ import annotations

ROUTER_NAMESPACE = "qrouter-"
HOST_NAMESPACE = "l3host-"
INTERNAL_DEVICE = "qr-"
GATEWAY_DEVICE = "qg-"
#: The end of a veth pair that stays in the host namespace.
TAP_DEVICE = "tap"
BRIDGE_DEVICE = "brq"
#: The only device of a standalone host.
HOST_DEVICE = "eth0"

_ID_CHARACTERS = 11

_NAMESPACE = {"router": ROUTER_NAMESPACE, "host": HOST_NAMESPACE}


def namespace_name(kind: str, state_id: str) -> str:
    """Return the name of the network namespace of a router or of a standalone host."""
    return _NAMESPACE[kind] + state_id


def device_name(prefix: str, object_id: str) -> str:
    """Return the name of the device of a port, or of the bridge of a network: prefix and 11 characters of the id."""
    return prefix + object_id[:_ID_CHARACTERS]
