# SPDX-License-Identifier: Apache-2.0
"""Input and output of the transition of a router: what happened, and what must be done. Immutable values.

Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from l3agent.agent.results import ResultStatus
from l3agent.agent.router_info import RouterInfo
from l3agent.exceptions import RouterError, TransientError
from l3agent.model.router_keys import KeyedState
from l3agent.model.states import Report, RouterState

# Events


@dataclass(frozen=True, slots=True)
class PayloadReceived:
    """The server has sent the payload of a router.

    :param outcome: the desired state of the payload, or why it has none.
    :param sequence: sequence number of the payload (see the queue).
    :param alive_since: time since which the server has considered this agent alive; infinite if it may not.
    :param at: time of the event.
    """

    payload: Mapping[str, Any]
    outcome: RouterState | RouterError
    sequence: int
    alive_since: float
    at: float


@dataclass(frozen=True, slots=True)
class StateRestored:
    """The state cache has a payload of an earlier process, which has reported the statuses of its floating IPs."""

    payload: Mapping[str, Any]
    state: RouterState


@dataclass(frozen=True, slots=True)
class ReapplyRequested:
    """The desired state must be applied again."""


@dataclass(frozen=True, slots=True)
class RemovalRequested:
    """The router must leave this node.

    :param alive_since: see :class:`PayloadReceived`; infinite also if the server has deleted the router.
    """

    alive_since: float


@dataclass(frozen=True, slots=True)
class RequestSucceeded:
    """The data plane has performed the last request.

    :param is_removal: see :class:`Transition`.
    :param timings: seconds by phase of the whole update.
    """

    report: Report
    is_removal: bool
    timings: Mapping[str, float]
    at: float


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """The data plane has not performed the last request, or not answered.

    :param is_removal: see :class:`Transition`.
    """

    error: TransientError
    is_removal: bool
    at: float


Event = PayloadReceived | StateRestored | ReapplyRequested | RemovalRequested | RequestSucceeded | RequestFailed

# Changes of the state cache


@dataclass(frozen=True, slots=True)
class StorePayload:
    """Store a payload."""

    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RetainFloatingIPs:
    """Remove the floating IPs with other ids from the stored payload."""

    ids: Set[str]


@dataclass(frozen=True, slots=True)
class DiscardPayload:
    """Discard the stored payload."""


CacheChange = StorePayload | RetainFloatingIPs | DiscardPayload
#: A line of the log: level, format, arguments.
LogLine = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Transition:
    """The new state of a router, and what must be done, in the order of the fields. A default is nothing to do.

    :param info: the new state; None if this agent has none of the router any more, or never had.
    :param log: a line of the log; empty if there is none.
    :param warnings: new warnings of the desired state.
    :param cache: change of the state cache.
    :param must_fetch: the router must be fetched again.
    :param released: ids of the floating IPs to report DOWN, once; pending reports of the router are cancelled, also if
        there are none. None: the router stays.
    :param statuses: statuses of floating IPs to report, by id; an empty mapping is a report, too.
    :param request: what the data plane must be sent, all keys of the router; its result is the next event.
    :param is_removal: the request removes the router.
    :param drift_repair: the desired state did not change, so that any operation of the request repairs drift.
    :param result: of the update, once the request has succeeded.
    :param error: why a payload was rejected.
    """

    info: RouterInfo | None
    log: LogLine = ()
    warnings: tuple[str, ...] = ()
    cache: CacheChange | None = None
    must_fetch: bool = False
    released: Set[str] | None = None
    statuses: Mapping[str, str] | None = None
    request: tuple[KeyedState, ...] | None = None
    is_removal: bool = False
    drift_repair: bool = False
    result: ResultStatus = "ok"
    error: str | None = None
