# SPDX-License-Identifier: Apache-2.0
"""Applies the flushes of a plan: deletes the flows that its removals and additions make obsolete."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from ipaddress import IPv4Address

from l3agent.dataplane.kernel import flows
from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.netlink import routes
from l3agent.dataplane.plan.kinds.address import DeviceAddress
from l3agent.dataplane.plan.kinds.pending_flush import PendingFlush, delete_journal
from l3agent.dataplane.plan.plan import Plan
from l3agent.model.names import EXTERNAL_DEVICES

#: Route look-ups per send: their answers fit the buffer of the socket.
_LOOKUPS = 256


def split_edges(plan: Plan) -> tuple[list[PendingFlush], list[PendingFlush]]:
    """Return the edges whose flows are dropped before the addresses come, and those at the end."""
    found = [one.entry for one in plan.of(PendingFlush) if one.verb == "remove"]
    return [one for one in found if not one.is_journalled], [one for one in found if one.is_journalled]


def without_addresses(plan: Plan, edges: Collection[PendingFlush]) -> Plan:
    """Return the plan without the floating addresses whose flows could not be dropped."""
    missing = {edge.original for edge in edges}
    addresses = [one.entry for one in plan.of(DeviceAddress)]
    return plan.without_additions({one for one in addresses if one.interface.ip in missing})


def apply_flushes(
    kernel: Kernel, handle: NamespaceHandle, edges: Sequence[PendingFlush], devices: Mapping[str, int]
) -> None:
    """Delete the conntrack entries of some edges, and remove these edges from the journal.

    :param devices: indexes of the devices inside.
    :raises ApplyError: the kernel refused it.
    """
    if not edges:
        return
    with kernel.counters.batch("conntrack"):
        via_gateway = partial(_via_gateway, handle, devices)
        flows.delete_entries(handle.netfilter, edges, via_gateway, by_filter=kernel.features.deletes_by_filter)
    if done := [edge for edge in edges if edge.is_journalled]:
        with kernel.counters.batch("nft"):
            handle.netfilter.nft_batch(delete_journal(done))


def _via_gateway(handle: NamespaceHandle, devices: Mapping[str, int], addresses: Collection[int]) -> set[int]:
    """Return the IPv4 addresses that the namespace routes through a gateway device."""
    gateways = {index for name, index in devices.items() if name.startswith(EXTERNAL_DEVICES)}
    found, listed = set(), list(addresses)
    for at in range(0, len(listed), _LOOKUPS):
        part = listed[at : at + _LOOKUPS]
        answers = handle.route.query([routes.get_route(IPv4Address(one)) for one in part])
        found |= {one for one, answer in zip(part, answers, strict=True) if routes.parse_device(answer) in gateways}
    return found
