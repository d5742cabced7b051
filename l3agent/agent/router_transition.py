# SPDX-License-Identifier: Apache-2.0
"""The transition of a router: its state and an event give its new state and what must be done. Pure functions.

The states of a router in the agent (``RouterInfo.status``; "leaving" is the state after the release of its floating
IPs). A valid payload, a reapplication, and a removal lead to a request, whose result is the next event. One worker at a
time has the router, so its events are serial::

    (unknown) --- payload valid, or restored ---> pending --- success ---> active
        |                                            |                      |  ^
        |                                            |  payload rejected,   |  |  success, if the last
        |                                            |  or failure          |  |  payload is valid
        |                                            v                      |  |
        +------------ payload rejected ----------> error <------------------+  |
                                                     |                         |
                                                     +-------------------------+

    any --- removal, or payload not wanted ---> leaving --- success ---> (unknown)
                                                   |
                                                   +------- payload valid ---> request, as above

==========================  ==================================  ==================================================
event                       new state                           to do
==========================  ==================================  ==================================================
payload, older revision     the revision is recorded            fetch again
payload, valid              desired state replaced; its keys    log new warnings, store the payload, request
                            are former keys until a success
payload, not wanted; not    no floating IPs                     report them DOWN, request the removal
compatible and managed
payload, rejected           the rejection; floating IPs that    remove these from the cache, report ERROR,
                            the payload lacks are removed       request the former desired state
reapplication               unchanged                           request
removal                     no floating IPs                     report them DOWN, request the removal
restored state              desired state, if unknown           nothing
success                     no former keys                      report ACTIVE, unless the payload was rejected
success of a removal        unknown                             discard the cached payload
failure                     error; all else stays               report ERROR if the kernel refused a state
==========================  ==================================  ==================================================

Invariants: a request has all keys that the kernel may have of the router, so nothing stays behind. Statuses name only
floating IPs of the router. A removal releases the floating IPs before its request, so a later failure or retry reports
nothing of them. A rejected payload adds no part to the desired state.

Review: does a failure between two events lose a key or a status? Can an older payload replace a newer one?
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from l3agent.agent.router_events import (
    DiscardPayload,
    Event,
    LogLine,
    PayloadReceived,
    ReapplyRequested,
    RemovalRequested,
    RequestFailed,
    RequestSucceeded,
    RetainFloatingIPs,
    StateRestored,
    StorePayload,
    Transition,
)
from l3agent.agent.router_info import ACTIVE, DOWN, ERROR, RouterInfo
from l3agent.exceptions import ApplyError, InvalidRouter, RouterNotCompatible, RouterNotWanted
from l3agent.model.desired import floating_ips_by_id
from l3agent.model.router_keys import KeyedState, keyed_states
from l3agent.model.states import FloatingIP, RouterState


def transition(router_id: str, info: RouterInfo | None, event: Event) -> Transition:
    """Return the new state of a router after an event, and what must be done.

    :param info: the state; None if this agent has none of the router.
    """
    match event:
        case PayloadReceived():
            return _receive(router_id, info, event)
        case StateRestored():
            return Transition(_restore(RouterInfo(router_id), event) if info is None else info)
        case RemovalRequested():
            return _remove(router_id, info, event.alive_since)
        case RequestSucceeded() if event.is_removal:
            return Transition(None, cache=DiscardPayload())
    if info is None or (info.state is None and isinstance(event, ReapplyRequested)):
        # A failed removal of a router that only the kernel has, or a reapplication of a router without a state.
        return Transition(info, result="skipped")
    match event:
        case RequestSucceeded():
            return _succeed(info, event)
        case RequestFailed():
            return _fail(info, event)
        case ReapplyRequested():
            return Transition(info, request=_request(info), drift_repair=info.updates > 0)


def _receive(router_id: str, known: RouterInfo | None, event: PayloadReceived) -> Transition:
    info, revision = known or RouterInfo(router_id), _revision(event.payload)
    # The same older revision twice is accepted: a server with a restored database counts from an older one.
    if revision is not None and revision < info.revision and revision != info.older_revision:
        older = (logging.INFO, "router %s: an answer older than revision %d; fetching again", router_id, info.revision)
        return Transition(replace(info, older_revision=revision), log=older, must_fetch=True, result="skipped")
    if info.older_revision is not None:
        info = replace(info, older_revision=None)
    match event.outcome:
        case RouterState():
            return _accept(info, event, event.outcome)
        case RouterNotCompatible() if info.state is not None:
            log: LogLine = (logging.WARNING, "router %s is no longer served: %s", router_id, event.outcome)
            return replace(_remove(router_id, info, event.alive_since), log=log)
        case RouterNotWanted():
            log = (logging.INFO, "router %s is removed: %s", router_id, event.outcome)
            return replace(_remove(router_id, known and info, event.alive_since), log=log)
        case _:
            # Also a router of another kind that is not managed: its namespace belongs to another agent.
            return _reject(info, event, str(event.outcome))


def _accept(info: RouterInfo, event: PayloadReceived, state: RouterState) -> Transition:
    former_warnings = frozenset(() if info.state is None else info.state.warnings)
    drift_repair = info.status == "active" and info.state == state
    info = _set_desired(info, event.payload, state, sequence=event.sequence, received_at=event.at)
    return Transition(
        info,
        request=_request(info),
        drift_repair=drift_repair,
        warnings=tuple(warning for warning in state.warnings if warning not in former_warnings),
        cache=StorePayload(event.payload),
    )


def _set_desired(
    info: RouterInfo, payload: Mapping[str, Any], state: RouterState, *, sequence: int, received_at: float
) -> RouterInfo:
    floating_ips, has_lost = _payload_statuses(payload), info.has_lost_floating_ips
    if info.state is not None:
        has_lost |= not info.floating_ips.keys() <= floating_ips.keys()
        # A floating IP that is new here has the status of its former node; our ERROR may have crossed the answer.
        # Both must be reported.
        for fip_id in floating_ips:
            known = info.floating_ips.get(fip_id, "")
            if known in ("", ERROR):
                floating_ips[fip_id] = known
    return replace(
        info,
        name=str(payload.get("name") or ""),
        state=state,
        # They stay until a request has succeeded, however many states follow one another.
        former_keys=() if info.state is None else info.keys,
        sequence=sequence,
        floating_ips=floating_ips,
        has_lost_floating_ips=has_lost,
        received_at=received_at,
        revision=_revision(payload) or 0,
        rejection=None,
    )


def _restore(unknown: RouterInfo, event: StateRestored) -> RouterInfo:
    info = _set_desired(unknown, event.payload, event.state, sequence=0, received_at=-math.inf)
    return replace(info, floating_ips=_statuses(info, ACTIVE))


def _reject(info: RouterInfo, event: PayloadReceived, error: str) -> Transition:
    """Keep the desired state until the next payload, except for floating IPs that the payload does not name.

    Another router may have their addresses by now.
    """
    log = (logging.ERROR, "router %s: payload rejected, waiting for the next one: %s", info.id, error)
    info = replace(info, rejection=error, status="error", error=error, updated_at=event.at)
    cache = None
    if event.payload.get("id") == info.id:
        with suppress(InvalidRouter):
            named = floating_ips_by_id(event.payload)
            former, info = info, _retain_floating_ips(info, named)
            if info.state is not None and info.state != former.state:
                served = info.state.floating_ips
                cache = RetainFloatingIPs({fip_id for fip_id, pair in named.items() if pair in served})
    floating_ips, statuses = _new_statuses(info, ERROR)
    info = replace(info, floating_ips=floating_ips)
    request = None if info.state is None else _request(info)
    return Transition(info, log=log, cache=cache, statuses=statuses, request=request, result="rejected", error=error)


def _retain_floating_ips(info: RouterInfo, named: Mapping[str, FloatingIP]) -> RouterInfo:
    """Keep only the floating IPs that are named, with the same addresses, and those of extensions."""
    has_lost = info.has_lost_floating_ips or not info.floating_ips.keys() <= named.keys()
    floating_ips = {fip_id: status for fip_id, status in info.floating_ips.items() if fip_id in named}
    state = info.state
    if state is not None:
        kept = {*named.values(), *state.added_floating_ips}
        namespaces = (replace(one, floating_ips=one.floating_ips & kept) for one in state.namespaces)
        state = replace(state, namespaces=tuple(namespaces))
    return replace(info, state=state, floating_ips=floating_ips, has_lost_floating_ips=has_lost)


def _remove(router_id: str, info: RouterInfo | None, alive_since: float) -> Transition:
    """Release the floating IPs: another node may serve them from now on, so nothing of them is reported any more.

    They are reported DOWN unless the server may have scheduled the router to another node since it sent the payload.
    """
    request = tuple(keyed_states(router_id, None, () if info is None else info.keys))
    if info is None:
        return Transition(None, released=frozenset(), request=request, is_removal=True)
    is_ours = info.received_at >= alive_since
    released = {fip for fip, known in info.floating_ips.items() if known != DOWN} if is_ours else frozenset[str]()
    info = replace(info, floating_ips={}, has_lost_floating_ips=False)
    return Transition(info, released=released, request=request, is_removal=True)


def _succeed(info: RouterInfo, event: RequestSucceeded) -> Transition:
    floating_ips, has_lost, statuses = info.floating_ips, info.has_lost_floating_ips, None
    # A rejected payload remains the error, although the kernel has the former state.
    if info.rejection is None:
        has_lost = False
        floating_ips, statuses = _new_statuses(info, ACTIVE)
    info = replace(
        info,
        status="active" if info.rejection is None else "error",
        error=info.rejection,
        former_keys=(),
        floating_ips=floating_ips,
        has_lost_floating_ips=has_lost,
        updates=info.updates + 1,
        operations=event.report.operations,
        count=event.report.count,
        timings=event.timings,
        updated_at=event.at,
    )
    return Transition(info, statuses=statuses)


def _fail(info: RouterInfo, event: RequestFailed) -> Transition:
    floating_ips, statuses = info.floating_ips, None
    if isinstance(event.error, ApplyError) and not event.is_removal:
        floating_ips, statuses = _new_statuses(info, ERROR)
    info = replace(info, status="error", error=str(event.error), updated_at=event.at, floating_ips=floating_ips)
    return Transition(info, statuses=statuses)


def _request(info: RouterInfo) -> tuple[KeyedState, ...]:
    return tuple(keyed_states(info.id, info.state, info.former_keys))


# Statuses of floating IPs


def _new_statuses(info: RouterInfo, status: str) -> tuple[Mapping[str, str], Mapping[str, str] | None]:
    """Return the statuses of all floating IPs after a change, and those to report, None if none.

    If floating IPs have left the router, a report of ACTIVE contains all others, possibly none. The server then sets
    the floating IPs DOWN that are on no router; the agent cannot see whether they are on another one.
    """
    statuses = _statuses(info, status)
    if status == ACTIVE and info.has_lost_floating_ips:
        return statuses, statuses
    changes = {fip: new for fip, new in statuses.items() if info.floating_ips[fip] != new}
    return statuses, changes or None


def _statuses(info: RouterInfo, status: str) -> dict[str, str]:
    """Return a status for all floating IPs; a floating IP that the state skips has status ``ERROR`` in any case."""
    statuses = dict.fromkeys(info.floating_ips, status)
    if info.state is not None and info.state.unserved_floating_ips:
        statuses |= dict.fromkeys(info.floating_ips.keys() & info.state.unserved_floating_ips, ERROR)
    return statuses


def _payload_statuses(payload: Mapping[str, Any]) -> dict[str, str]:
    """Return by id the status of each associated floating IP; elements without a usable id are skipped."""
    floating_ips = payload.get("_floatingips")
    return {
        fip["id"]: str(fip.get("status") or "")
        for fip in (floating_ips if isinstance(floating_ips, list | tuple) else ())
        if isinstance(fip, Mapping) and isinstance(fip.get("id"), str) and fip["id"] and fip.get("fixed_ip_address")
    }


def _revision(payload: Mapping[str, Any]) -> int | None:
    revision = payload.get("revision_number")
    return revision if isinstance(revision, int) else None
