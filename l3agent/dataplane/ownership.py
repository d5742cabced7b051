# SPDX-License-Identifier: Apache-2.0
"""Which devices of the node's namespace are ours: what is not provably ours is never deleted, moved or plugged.

The agent is untrusted: it may name the port of a running virtual machine, and so its tap. A tap is ours if it is a veth
whose other end is in one of our namespaces, or that carries the mark which only this process sets. A bridge is ours if
it carries our mark, or the MAC address that follows from its network: a crash may come between the two.
"""

from __future__ import annotations

from collections.abc import Iterable

from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.netlink.rtnl import LinkInfo
from l3agent.dataplane.plan.encode import TAP_MARK, is_foreign
from l3agent.dataplane.plan.entries import Bridge


def foreign_taps(kernel: Kernel, infos: Iterable[LinkInfo]) -> set[str]:
    """Return the names of the devices that stand in the place of wanted taps and are not ours."""
    unmarked = [info for info in infos if not (info.kind == "veth" and info.alias == TAP_MARK)]
    numbers = kernel.our_nsids() if unmarked else frozenset()
    return {info.name for info in unmarked if info.kind != "veth" or info.netnsid not in numbers}


def is_foreign_bridge(wanted: Bridge, info: LinkInfo) -> bool:
    """Return True if the device that stands in the place of a wanted bridge is not ours, or no bridge."""
    return info.kind != "bridge" or is_foreign(wanted, info)


def foreign_device_message(name: str) -> str:
    """Return why a device is not used."""
    return f"{name}: a device of this name exists and is not one of l3agent; it is left alone"


def is_our_tap(info: LinkInfo, index: int | None) -> bool:
    """Return True if a tap of a removed namespace is the one that was there before, of which other ends are unknown.

    :param index: what it had when its namespace was removed, where that is known.
    """
    return info.kind == "veth" and (info.alias == TAP_MARK if index is None else info.index == index)
