# SPDX-License-Identifier: Apache-2.0
"""The order table: all kinds, and when plans add and remove their entries.

To add a kind, write its file in :mod:`l3agent.dataplane.plan.kinds` and a row here. The order of the rows is that of
JSON, and that of the messages of one phase of sending; removals are sent in the order of their phases.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from l3agent.dataplane.plan.kinds.accept_ra import AcceptRA
from l3agent.dataplane.plan.kinds.address import DeviceAddress
from l3agent.dataplane.plan.kinds.base import Entry, NodeEntry, Operation, Phase
from l3agent.dataplane.plan.kinds.bridge import Bridge
from l3agent.dataplane.plan.kinds.connected_route import ConnectedRoute
from l3agent.dataplane.plan.kinds.device_settings import DeviceSettings
from l3agent.dataplane.plan.kinds.element import Element
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.neighbour import KernelNeighbour
from l3agent.dataplane.plan.kinds.neutron import NeutronRoute, NeutronRules
from l3agent.dataplane.plan.kinds.observation import Dump
from l3agent.dataplane.plan.kinds.pending_flush import PendingFlush
from l3agent.dataplane.plan.kinds.physical_port import PhysicalPort
from l3agent.dataplane.plan.kinds.route import KernelRoute
from l3agent.dataplane.plan.kinds.rule import KernelRule
from l3agent.dataplane.plan.kinds.stray_tap import StrayTap
from l3agent.dataplane.plan.kinds.switch_port import SwitchPort
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.dataplane.plan.kinds.table import Table

#: A dump, with the kind of its entries.
KindDump = tuple[type[Entry], Dump]


@dataclass(frozen=True, slots=True)
class Row:
    """One kind.

    :param added: phase of additions and changes; None for a kind that is never desired.
    :param removed: phase of removals; None for a kind that no plan removes.
    :param exception: returns the phase of an operation that differs from these, and False if it precedes the others of
        that phase.
    """

    kind: type[Entry]
    added: Phase | None
    removed: Phase | None
    exception: Callable[[Operation[Any], Collection[str]], tuple[Phase, bool] | None] | None = None


ORDER = (
    Row(Namespace, Phase.NAMESPACE, Phase.OLD_NAMESPACE),
    Row(Sysctl, Phase.SYSCTLS, Phase.OLD_TABLES),
    Row(Bridge, Phase.BRIDGES, Phase.OLD_BRIDGES),
    Row(PhysicalPort, Phase.PORTS, Phase.BRIDGES),
    Row(SwitchPort, Phase.PORTS, Phase.OLD_LINKS),
    Row(Link, Phase.LINKS, Phase.OLD_LINKS, Link.phase),
    Row(StrayTap, None, Phase.BRIDGES),
    Row(AcceptRA, Phase.BEFORE_ADDRESSES, Phase.OLD_SETTINGS),
    Row(DeviceSettings, Phase.BEFORE_ADDRESSES, None),
    Row(DeviceAddress, Phase.ADDRESSES, Phase.OLD_ADDRESSES),
    Row(KernelNeighbour, Phase.ADDRESSES, Phase.OLD_ADDRESSES),
    Row(ConnectedRoute, Phase.BEFORE_ADDRESSES, None),
    Row(KernelRoute, Phase.ROUTES, Phase.OLD_ROUTES),
    Row(KernelRule, Phase.ROUTES, Phase.OLD_ROUTES),
    Row(Table, Phase.TABLES, Phase.OLD_TABLES),
    Row(Element, Phase.ELEMENTS, Phase.OLD_RULES),
    Row(NeutronRoute, None, Phase.LINKS),
    Row(NeutronRules, None, Phase.OLD_RULES),
    Row(PendingFlush, Phase.ELEMENTS, Phase.FLUSHES, PendingFlush.phase),
)

#: All kinds, in the order of the rows, and the rows by kind.
KINDS: tuple[type[Entry], ...] = tuple(row.kind for row in ORDER)
ROWS: dict[type[Entry], Row] = {row.kind: row for row in ORDER}
#: The kinds that plans remove, in the order of the removals.
REMOVED: tuple[type[Entry], ...] = tuple(
    kind
    for _, kind in sorted(((row.removed, row.kind) for row in ORDER if row.removed is not None), key=lambda one: one[0])
)
_DUMPS = [(kind, dump) for kind in KINDS for dump in kind.dumps]
#: The dumps that every observation needs, and the others, with the kinds of their entries.
COMMON_DUMPS = tuple(one for one in _DUMPS if one[1].is_needed is None)
RARE_DUMPS = tuple(one for one in _DUMPS if one[1].is_needed is not None)
#: The kinds of the entries of the rare dumps.
RARE_KINDS: tuple[type[Entry], ...] = tuple({kind: None for kind, _ in RARE_DUMPS})


def implementing(hook: str, kinds: Sequence[type[Entry]] = KINDS) -> tuple[type[Entry], ...]:
    """Return the kinds that implement a hook, in order; for the others it does nothing.

    A plan of a floating IP has three kinds, and calls that do nothing cost as much as others when caches are cold.
    """
    return tuple(kind for kind in kinds if getattr(kind, hook).__func__ is not getattr(Entry, hook).__func__)


#: The kinds that the dump of the links has.
LINK_KINDS: tuple[type[Entry], ...] = implementing("read_links")
#: The kinds that are devices of the host namespace.
NODE_KINDS: tuple[type[NodeEntry], ...] = tuple(kind for kind in KINDS if issubclass(kind, NodeEntry))
#: The kinds that the kernel makes by itself.
KERNEL_MADE: frozenset[type[Entry]] = frozenset(kind for kind in KINDS if kind.is_kernel_made)


def needed_dumps(entries: Collection[Entry]) -> set[KindDump]:
    """Return the dumps of :data:`RARE_DUMPS` that may have one of some entries."""
    present = frozenset(map(type, entries))
    if present.isdisjoint(RARE_KINDS):
        return set()
    # The dumps of the two IP versions share one test.
    tests = {dump.is_needed for kind, dump in RARE_DUMPS if kind in present}
    needed = {test for test in tests if test is not None and test(entries)}
    return {one for one in RARE_DUMPS if one[1].is_needed in needed}


def position(operation: Operation[Entry], replaced: Collection[str]) -> tuple[Any, ...]:
    """Return the sort key of an operation in a plan.

    :param replaced: the devices that the plan replaces.
    """
    entry = operation.entry
    row = ROWS[type(entry)]
    if row.exception is not None and (exception := row.exception(operation, replaced)) is not None:
        return *exception, *entry.sort_key()
    return row.removed if operation.verb == "remove" else row.added, True, *entry.sort_key()
