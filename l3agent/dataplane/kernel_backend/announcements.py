# SPDX-License-Identifier: Apache-2.0
"""Announcements to the neighbours of a router after a change: which of its addresses are new to them."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel_backend.announcer import Announcer
from l3agent.dataplane.plan.kinds.address import DeviceAddress
from l3agent.dataplane.plan.kinds.base import Entry, select
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.plan import Plan
from l3agent.dataplane.plan.render import link_local
from l3agent.model.names import ROUTER_KINDS
from l3agent.model.states import Address, NamespaceState, Port, State


class Announcements:
    """Announces changed addresses to the neighbours of all routers; used by the kernel thread.

    :param announcer: sends the packets.
    """

    def __init__(self, kernel: Kernel, announcer: Announcer) -> None:
        self._kernel = kernel
        self._announcer = announcer

    def on_idle(self) -> None:
        """Start the announcements that were added since the last call."""
        self._announcer.wake()

    def announce_changes(
        self, handle: NamespaceHandle, state: State | None, plan: Plan, present: Collection[Entry]
    ) -> None:
        """Announce what is new and present; at first sight of a namespace that was found, announce all of it."""
        if not isinstance(state, NamespaceState) or state.kind not in ROUTER_KINDS:
            self._announcer.withdraw(handle.name)
            return
        if not plan and not handle.cache.is_newly_adopted:
            return
        adopted = handle.cache.mark_announced()
        open_packet = partial(self._kernel.packet_socket, handle)
        for one in plan.of(DeviceAddress):
            if one.verb == "remove":
                self._announcer.withdraw(handle.name, one.entry.device, one.entry.interface.ip)
        for change in plan.of(Link):
            # The kernel removes its addresses with it; the plan does not list them.
            if change.verb == "remove" or not change.entry.up:
                self._announcer.withdraw(handle.name, change.entry.device)
        moved, fresh = _new_addresses(plan)
        if not (adopted or moved or fresh):
            return
        present_keys = set(map(_key, select(present, DeviceAddress)))
        for port in state.all_ports():
            if adopted or port.device in moved:
                addresses_to_announce = _addresses(state, port) & {
                    address for device, address in present_keys if device == port.device
                }
            else:
                addresses_to_announce = {address for device, address in present_keys & fresh if device == port.device}
                if addresses_to_announce:
                    addresses_to_announce.discard(link_local(port.mac).ip)
            if addresses_to_announce:
                self._announcer.announce(
                    handle.name, port.device, port.mac, addresses_to_announce, open_packet=open_packet
                )


def _addresses(state: NamespaceState, port: Port) -> set[Address]:
    """Return the addresses of a port that neighbours resolve, floating IPs included."""
    own: set[Address] = {interface.ip for interface in port.addresses}
    return own | {fip.floating for fip in state.floating_ips} if port is state.gateway else own


def _new_addresses(plan: Plan) -> tuple[set[str], set[tuple[str, Address]]]:
    """Return the devices with a new MAC address or network, and device and address of new addresses."""
    return (
        {one.entry.device for one in plan.of(Link) if one.verb == "change"},
        {_key(one.entry) for one in plan.of(DeviceAddress) if one.verb != "remove"},
    )


def _key(address: DeviceAddress) -> tuple[str, Address]:
    return address.device, address.interface.ip
