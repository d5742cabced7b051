# SPDX-License-Identifier: Apache-2.0
"""Ownership of devices in the host namespace: a device that is not provably ours is never deleted, moved or plugged.

The agent is untrusted: it may name the port of a running virtual machine, and so its tap. A tap is ours if it is a veth
whose other end is in one of our namespaces, or that carries the mark which only this process sets. A bridge is ours if
it carries our mark, or the MAC address that follows from its network: a crash may come between the two.
"""

from __future__ import annotations

from collections.abc import Iterable

from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.netlink.rtnl import LinkInfo
from l3agent.dataplane.plan.kinds.bridge import Bridge, is_foreign
from l3agent.dataplane.plan.kinds.link import TAP_ALIAS


def foreign_taps(kernel: Kernel, infos: Iterable[LinkInfo]) -> set[str]:
    """Return the names of foreign devices among devices with the names of desired taps."""
    unmarked = [info for info in infos if not (info.kind == "veth" and info.alias == TAP_ALIAS)]
    numbers = kernel.our_nsids() if unmarked else frozenset()
    return {info.name for info in unmarked if info.kind != "veth" or info.netnsid not in numbers}


def is_foreign_bridge(wanted: Bridge, info: LinkInfo) -> bool:
    """Return True if the device with the name of a desired bridge is foreign, or no bridge."""
    return info.kind != "bridge" or is_foreign(wanted, info)


def foreign_device_message(name: str) -> str:
    """Return the error for a desired device whose name a foreign one has."""
    return f"{name}: a device of this name exists and does not belong to l3agent; it stays unchanged"


def is_our_tap(info: LinkInfo, index: int | None) -> bool:
    """Return True if a tap is that of a removed namespace; its other end is unknown.

    :param index: its index when the namespace was removed, None if unknown.
    """
    return info.kind == "veth" and (info.alias == TAP_ALIAS if index is None else info.index == index)
