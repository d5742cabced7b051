# SPDX-License-Identifier: Apache-2.0
"""Encodes a plan as netlink messages, grouped by socket and by phase of sending. Pure: values to bytes.

Each kind encodes its own operations (:mod:`l3agent.dataplane.plan.kinds`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from l3agent.dataplane.plan.kinds.base import Batch, Batches, Entry, Inside, Outside
from l3agent.dataplane.plan.kinds.bridge import Bridge
from l3agent.dataplane.plan.kinds.link import Link, new_devices
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.dataplane.plan.order import REMOVED, implementing
from l3agent.dataplane.plan.plan import Plan
from l3agent.model.states import NextHop

_OUTSIDE, _EARLY, _RULES = implementing("encode_outside"), implementing("encode_early"), implementing("encode_rules")
_SETTINGS, _ADDITIONS = implementing("settings"), implementing("encode_additions")
_REMOVALS = implementing("encode_removals", REMOVED)
#: The kinds with messages that precede the rules, and those with settings of devices.
BEFORE_RULES: frozenset[type[Entry]] = frozenset((Bridge, *_OUTSIDE, *_EARLY))
SETTINGS: frozenset[type[Entry]] = frozenset(_SETTINGS)


def bridge_messages(plan: Plan) -> Batches:
    """Return the messages that create bridges and set them up; they precede ports, which name a bridge by its index."""
    made = Batches()
    Bridge.encode(plan.of(Bridge), made)
    return made


def host_messages(plan: Plan, *, namespace_fd: int | None, bridge_index: Mapping[str, int]) -> Batches:
    """Return the other messages for the host namespace: veth pairs, taps, physical ports.

    :param namespace_fd: the namespace in which the kernel creates the inner ends.
    """
    made, target = Batches(), Outside(namespace_fd, bridge_index)
    for kind, operations in plan.by_kind(_OUTSIDE):
        kind.encode_outside(operations, made, target)
    return made


def rule_messages(plan: Plan) -> Batch:
    """Return the atomic nf_tables batch; additions to a map share few messages, and so do removals."""
    made: Batch = []
    for kind, operations in plan.by_kind(_RULES):
        kind.encode_rules(operations, made)
    return made


def early_messages(plan: Plan, index: Mapping[str, int]) -> Batches:
    """Return the messages for the namespace that precede the rules.

    They remove replaced devices and Neutron's routes (``early_removals``), and set links down (``shutdowns``).

    :param index: index of each existing device.
    """
    made, target = Batches(), Inside(index)
    for kind, operations in plan.by_kind(_EARLY):
        kind.encode_early(operations, made, target)
    return made


def device_settings(plan: Plan) -> list[Sysctl]:
    """Return the settings of devices to write before the devices come up and solicit routers."""
    return [one for kind, operations in plan.by_kind(_SETTINGS) for one in kind.settings(operations)]


def namespace_messages(plan: Plan, index: Mapping[str, int], advertised: Collection[NextHop] = ()) -> Batches:
    """Return the messages for the router or host namespace behind the rules.

    :param index: index of each existing device.
    :param advertised: next hops of IPv6 default routes from router advertisements.
    """
    made, target = Batches(), Inside(index, frozenset(new_devices(plan.of(Link))), advertised)
    for kind, operations in plan.by_kind(_ADDITIONS):
        kind.encode_additions(operations, made, target)
    for kind, operations in plan.by_kind(_REMOVALS):
        kind.encode_removals(operations, made, target)
    return made
