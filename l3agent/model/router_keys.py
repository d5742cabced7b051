# SPDX-License-Identifier: Apache-2.0
"""The keys of a router: the only place that relates one router to several states of the data plane. Pure functions.

The agent sends all keys of a router in one request, and merges their reports into one. Reading, resynchronising and
removing a router concern the same keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from l3agent.model.names import ROUTER_KINDS
from l3agent.model.states import Key, NamespaceState, Report, RouterState

#: A state and its key; None removes what has the key.
KeyedState = tuple[Key, NamespaceState | None]


def router_keys(router_id: str, state: RouterState | None, former: Iterable[Key] = ()) -> tuple[Key, ...]:
    """Return the keys that a router may have in the kernel, in the order in which they are applied.

    :param state: the desired state; None if the router should be absent, or is not known.
    :param former: keys of former states of the router that may not have been removed yet.
    """
    own = () if state is None else (one.key for one in state.namespaces)
    # The kernel may have a namespace of any kind: from a former process, or from before the router changed.
    return tuple(dict.fromkeys((*own, *former, *((kind, router_id) for kind in ROUTER_KINDS))))


def keyed_states(router_id: str, state: RouterState | None, former: Iterable[Key] = ()) -> list[KeyedState]:
    """Return what the data plane is sent for a router: the removal of absent keys, then the states in order.

    Removals are sent in reverse order, and first: an address may move from one namespace to another.

    :param former: see :func:`router_keys`.
    """
    states = {} if state is None else {one.key: one for one in state.namespaces}
    absent = [key for key in router_keys(router_id, state, former) if key not in states]
    return [*((key, None) for key in reversed(absent)), *states.items()]


def merge_reports(router_id: str, reports: Sequence[Report]) -> Report:
    """Return the report of a router: the first error, the operations in order, the sums of counts and timings.

    If a router has several reports, the error names the kind of its namespace.
    """
    errors = (one.error if len(reports) == 1 else f"{one.kind}: {one.error}" for one in reports if one.error)
    timings: dict[str, float] = {}
    for report in reports:
        for phase, seconds in report.timings.items():
            timings[phase] = timings.get(phase, 0.0) + seconds
    return Report(
        "router",
        router_id,
        operations=tuple(operation for report in reports for operation in report.operations),
        error=next(errors, None),
        timings=timings,
        count=sum(report.count for report in reports),
    )


def merge_inspections(found: Sequence[Mapping[str, list[dict[str, Any]]]]) -> dict[str, list[dict[str, Any]]]:
    """Return the desired and the actual entries of a router, from those of its keys."""
    return {side: [entry for one in found for entry in one[side]] for side in ("desired", "actual")}


def merge_counters(found: Iterable[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Return the traffic counters of a router, from those of its keys; None if no namespace of it exists.

    Devices of one router have different names. A floating IP is counted in one of its namespaces; None if none counts.
    """
    present = [one for one in found if one is not None]
    if not present:
        return None
    counted = [one["floating_ips"] for one in present if one["floating_ips"] is not None]
    return {
        "devices": {name: value for one in present for name, value in one["devices"].items()},
        "floating_ips": {address: value for one in counted for address, value in one.items()} if counted else None,
    }


def router_ids(inventory: Mapping[str, Iterable[str]]) -> set[str]:
    """Return the ids of all routers that have a namespace.

    :param inventory: ids of the objects in the kernel by kind.
    """
    return {router_id for kind in ROUTER_KINDS for router_id in inventory.get(kind, ())}
