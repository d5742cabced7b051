# SPDX-License-Identifier: Apache-2.0
"""Names of kernel objects, equal to Neutron's, so that operators and a former agent recognise them.

Source: L3 agent and linux bridge driver of Neutron (device prefix + 11 characters of the id); a device name has at most
15 bytes (``IFNAMSIZ`` is 16 with the NUL, ``linux/if.h``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from l3agent.model.states import Kind, NamespaceKind

INTERNAL_DEVICE = "qr-"
GATEWAY_DEVICE = "qg-"
#: The end of a veth pair that stays in the host namespace.
TAP_DEVICE = "tap"
BRIDGE_DEVICE = "brq"
#: The only device of a standalone host.
HOST_DEVICE = "eth0"

_ID_CHARACTERS = 11


@dataclass(frozen=True, slots=True)
class NamespaceNames:
    """The names that belong to a kind of namespace.

    :param prefix: prefix of the name of the namespace; the id of the state follows.
    :param internal: prefix of the devices of internal ports, or the name of the only device.
    :param external: prefix of the device of the gateway port; None if there is none.
    """

    prefix: str
    internal: str
    external: str | None = None


#: The names of each kind of namespace.
NAMESPACES: Mapping[NamespaceKind, NamespaceNames] = {
    "router": NamespaceNames("qrouter-", INTERNAL_DEVICE, GATEWAY_DEVICE),
    "host": NamespaceNames("l3host-", HOST_DEVICE),
}
#: Kinds of all states, in the order of removal: the data plane removes only bridges without ports.
KINDS: tuple[Kind, ...] = (*NAMESPACES, "network")
#: Kinds of namespaces that a router has; the id of each is that of the router.
ROUTER_KINDS: tuple[NamespaceKind, ...] = ("router",)
#: Prefixes of all devices in managed namespaces.
DEVICE_PREFIXES = tuple(
    name for names in NAMESPACES.values() for name in (names.internal, names.external) if name is not None
)
#: Prefixes of the devices of internal ports, and of gateway ports, in all namespaces of routers.
INTERNAL_DEVICES = tuple(NAMESPACES[kind].internal for kind in ROUTER_KINDS)
EXTERNAL_DEVICES = tuple(name for kind in ROUTER_KINDS if (name := NAMESPACES[kind].external) is not None)


def namespace_name(kind: Kind, state_id: str) -> str:
    """Return the name of the network namespace of a router or of a standalone host."""
    if kind == "network":
        raise ValueError(f"network {state_id} has no namespace")
    return NAMESPACES[kind].prefix + state_id


def parse_namespace(name: str) -> tuple[NamespaceKind, str] | None:
    """Return kind and id of the state that a namespace belongs to; None if its name has another form."""
    for kind, names in NAMESPACES.items():
        if name.startswith(names.prefix):
            return kind, name.removeprefix(names.prefix)
    return None


def is_router_namespace(name: str) -> bool:
    """Return True if a namespace has the name of one of a router."""
    parsed = parse_namespace(name)
    return parsed is not None and parsed[0] in ROUTER_KINDS


def device_name(prefix: str, object_id: str) -> str:
    """Return the name of the device of a port, or of the bridge of a network: prefix and 11 characters of the id."""
    return prefix + object_id[:_ID_CHARACTERS]


def port_device(prefix: str, port_id: str) -> str:
    """Return the name of the device of a port in a namespace, given ``internal`` or ``external`` of its kind."""
    return HOST_DEVICE if prefix == HOST_DEVICE else device_name(prefix, port_id)
