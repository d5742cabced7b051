# SPDX-License-Identifier: Apache-2.0
"""Bridges of the host namespace, and the alias that marks a managed one."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.plan.kinds.base import Batches, NodeEntry, Operation

#: Parts of the alias that marks a managed bridge (shown by ``ip link``): prefix, id of the network, and for a physical
#: port the infix and its name. All other ports of the bridge belong to other programs.
_BRIDGE_ALIAS, _PORT_INFIX = "l3agent:network:", ":card:"


@dataclass(frozen=True, slots=True)
class Bridge(NodeEntry):
    """A bridge in the host namespace, marked with the id of its network.

    No plan removes one: a bridge goes by itself soon after its last port (see ``GarbageCollector.collect``).

    :param is_isolated: the host stack ignores the bridge; True for a bridge that l3agent did not create.
    :param is_marked: the alias of the bridge names its network; True for a bridge that l3agent did not create.
    """

    kind: ClassVar[str] = "bridge"

    name: str
    network_id: str
    up: bool = True
    is_isolated: bool = True
    is_marked: bool = True

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.name

    def node_device(self) -> str:
        """Return the name of the device in the host namespace."""
        return self.name

    def object_id(self, ports: Mapping[str, str]) -> str | None:
        """Return the id of the port or network whose device this is."""
        return self.network_id

    def is_as_desired(self, info: rtnl.LinkInfo, indexes: Mapping[str, int]) -> bool:
        """Return True if the device is as desired."""
        return info.up and (is_foreign(self, info) or (info.is_isolated and is_marked(self, info)))

    @classmethod
    def commands(cls, operation: Operation[Bridge], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        bridge, previous = operation.entry, operation.previous
        alias = "" if previous is not None and previous.is_marked else f" alias {bridge_alias(bridge.network_id)}"
        up = f"ip link set {bridge.name}{alias} up"
        if previous is not None:
            return [up] if previous.is_isolated else [isolate(bridge.name), up]
        return [
            f"ip link add {bridge.name} address {bridge_mac(bridge.network_id)} type bridge mcast_snooping 0",
            isolate(bridge.name),
            up,
        ]

    @classmethod
    def encode(cls, operations: Sequence[Operation[Bridge]], made: Batches) -> None:
        """Add the messages that create bridges and set them up."""
        for operation in operations:
            bridge, previous = operation.entry, operation.previous
            if previous is None:
                made.creations.append((rtnl.new_bridge(bridge.name, bridge_mac(bridge.network_id)), operation))
            if previous is None or not previous.is_isolated:
                made.isolation.append((rtnl.isolate(bridge.name), operation))
            alias = None if previous is not None and previous.is_marked else bridge_alias(bridge.network_id)
            made.additions.append((rtnl.set_link(name=bridge.name, up=True, alias=alias), operation))


def isolate(device: str) -> str:
    """Return the command that makes the host stack ignore a device of the host namespace."""
    ipv4, ipv6 = f"net.ipv4.conf.{device}", f"net.ipv6.conf.{device}"
    return f"sysctl -e -w {ipv4}.rp_filter=1 {ipv4}.arp_ignore=8 {ipv6}.disable_ipv6=1"


def bridge_alias(network_id: str, port: str | None = None) -> str:
    """Return the alias of a bridge that l3agent manages."""
    return _BRIDGE_ALIAS + network_id + (f"{_PORT_INFIX}{port}" if port else "")


def parse_bridge_alias(alias: str) -> tuple[str, str] | None:
    """Return network id and physical port (or "") from the alias of a bridge; None if l3agent does not manage it."""
    if not alias.startswith(_BRIDGE_ALIAS):
        return None
    network_id, _, port = alias.removeprefix(_BRIDGE_ALIAS).partition(_PORT_INFIX)
    return network_id, port


def is_foreign(bridge: Bridge, info: rtnl.LinkInfo) -> bool:
    """Return True if a bridge of this name belongs to no or another network: neither alias nor MAC address match.

    A name contains the first 11 characters of a network id, so two networks may have bridges of the same name.
    """
    return not is_marked(bridge, info) and info.mac != bridge_mac(bridge.network_id)


def is_marked(bridge: Bridge, info: rtnl.LinkInfo) -> bool:
    """Return True if the alias of a bridge names its network."""
    ours = parse_bridge_alias(info.alias)
    return ours is not None and ours[0] == bridge.network_id


def bridge_mac(network_id: str) -> str:
    """Return the fixed MAC address of a bridge: locally administered, from its network (IEEE 802, second bit)."""
    return bytes((0x02, *hashlib.sha256(network_id.encode()).digest()[:5])).hex(":")
