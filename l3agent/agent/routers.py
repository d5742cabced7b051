# SPDX-License-Identifier: Apache-2.0
"""The routers of this node: performs what their transitions require.

::

    ResourceUpdate -> event -> transition()  pure        l3agent.agent.router_transition
                                  |
                               Transition
                                  |  store the new state      before anything that yields
                                  |  log, cache, refetch, DOWN, statuses
                                  |  request to the data plane
                                  v
                   event: RequestSucceeded | RequestFailed -> transition() -> ... -> UpdateResult

Only :meth:`Routers._change` stores a state. It reads the former one, computes and stores without a switch to another
greenthread, so that a reader sees the state before the event or the state after it. A worker that is killed during a
request leaves the state from before it: the desired state with the keys to remove, which the retry requests again.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Set
from functools import partial
from ipaddress import IPv6Address
from types import MappingProxyType
from typing import Any, Protocol

import eventlet
from oslo_log import log as logging

from l3agent.agent.fip_statuses import FloatingIPStatuses
from l3agent.agent.native_thread import run_in_native_thread
from l3agent.agent.resource_update import Action, ResourceUpdate
from l3agent.agent.results import UpdateResult
from l3agent.agent.router_events import (
    DiscardPayload,
    Event,
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
from l3agent.agent.router_info import UNKNOWN, RouterInfo
from l3agent.agent.router_transition import transition
from l3agent.agent.server_contact import ServerContact
from l3agent.agent.state_cache import StateCache
from l3agent.agent.warning_log import WarningLog
from l3agent.exceptions import ApplyError, InvalidRouter, RouterError, TransientError
from l3agent.model.desired import desired_state
from l3agent.model.router_keys import KeyedState, merge_reports, router_keys
from l3agent.model.states import Key, Report, RouterState, State

LOG = logging.getLogger(__name__)

_REMOVED_KEPT = 100
#: Floating IPs from which on a state is computed in a native thread: each takes 25 us.
_MANY_FLOATING_IPS = 1000


class Dataplane(Protocol):
    """The methods that the agent needs of :class:`l3agent.agent.dataplane_client.DataplaneClient`."""

    def reconcile(self, states: Iterable[tuple[Key, State | None]], *, dry_run: bool = False) -> list[Report]:
        """Apply states to the kernel; None removes."""

    def inventory(self) -> dict[str, list[str]]:
        """Return the ids of all managed namespaces in the kernel, by kind."""

    def unmanage(self, keys: Iterable[Key]) -> None:
        """Stop the drift repair of states; they remain unchanged until they are applied again."""

    def on_new_process(self, callback: Any) -> None:
        """Register a callback for a new data-plane process."""


class Routers:
    """The routers of this node, and the steps of an update.

    A step raises :class:`~l3agent.exceptions.TransientError` if it must be retried.

    :param conf: the parsed options.
    :param dataplane: applies states to the kernel.
    :param statuses: reports statuses of floating IPs to the server.
    :param state_cache: keeps payloads for the next start.
    :param refetch: schedules another fetch of a router.
    :param contact: since when the server has considered this agent alive.
    """

    def __init__(
        self,
        conf: Any,
        dataplane: Dataplane,
        statuses: FloatingIPStatuses,
        state_cache: StateCache,
        refetch: Callable[[str], None],
        contact: ServerContact,
    ) -> None:
        self._conf = conf
        self._dataplane = dataplane
        self._statuses = statuses
        self._warnings = WarningLog(LOG)
        self._state_cache = state_cache
        self._refetch = refetch
        self._contact = contact
        self._info: dict[str, RouterInfo] = {}
        #: By id; a view that changes with the routers.
        self.info: Mapping[str, RouterInfo] = MappingProxyType(self._info)
        #: The last removals, newest last: id, operations, timings.
        self.recent_removals: deque[dict[str, Any]] = deque(maxlen=_REMOVED_KEPT)
        #: Routers whose request to the data plane is in flight, by the greenthread that waits.
        self.in_kernel_work: dict[Any, str] = {}

    def desired_state(self, router_id: str, payload: Mapping[str, Any]) -> RouterState:
        """Return the desired state of a payload.

        :raises InvalidRouter: the payload breaks the contract, or is that of another router.
        :raises RouterNotCompatible: the router is of a kind that this agent does not serve.
        :raises RouterNotWanted: the router should not be here now.
        """
        compute = partial(
            desired_state,
            payload,
            handle_internal_only_routers=self._conf.handle_internal_only_routers,
            ipv6_gateway=IPv6Address(self._conf.ipv6_gateway) if self._conf.ipv6_gateway else None,
            metadata_proxy=self._conf.enable_metadata_proxy,
        )
        state = run_in_native_thread(compute) if _is_large(payload) else compute()
        if state.id != router_id:
            raise InvalidRouter("id", state.id, f"expected {router_id}, which was fetched")
        return state

    def is_managed(self, router_id: str) -> bool:
        """Return True if this agent has a desired state of a router; another router belongs to another agent."""
        info = self._info.get(router_id)
        return info is not None and info.state is not None

    def rank(self, router_id: str) -> int:
        """Return the rank of a router (see :func:`~l3agent.agent.router_info.importance`)."""
        info = self._info.get(router_id)
        return UNKNOWN if info is None else info.rank

    def keys(self, router_id: str) -> tuple[Key, ...]:
        """Return the keys that a router may have in the data plane."""
        info = self._info.get(router_id)
        return router_keys(router_id, None) if info is None else info.keys

    # Steps

    def restore(self, payload: Mapping[str, Any]) -> None:
        """Restore a router from a cached payload; the kernel is not changed.

        :raises RouterError: it cannot be served.
        """
        state = self.desired_state(payload["id"], payload)
        self._change(state.id, StateRestored(payload, state))

    def update(self, update: ResourceUpdate, timings: dict[str, float]) -> UpdateResult:
        """Apply the payload of an update to the kernel."""
        payload = update.resource or {}
        outcome: RouterState | RouterError
        try:
            outcome = self.desired_state(update.id, payload)
        except RouterError as exc:
            outcome = exc
        event = PayloadReceived(payload, outcome, update.sequence, self._contact.alive_since, time.monotonic())
        return self._process(update, event, timings)

    def reapply(self, update: ResourceUpdate, timings: dict[str, float]) -> UpdateResult:
        """Apply the desired state of a router to the kernel; skip a router without one."""
        return self._process(update, ReapplyRequested(), timings)

    def remove(self, update: ResourceUpdate, timings: dict[str, float]) -> UpdateResult:
        """Remove a router; report its floating IPs DOWN unless the router is deleted."""
        alive_since = math.inf if update.action is Action.DELETE else self._contact.alive_since
        return self._process(update, RemovalRequested(alive_since), timings)

    def remove_from_kernel(self, router_id: str) -> None:
        """Remove a router from the kernel and from this agent, without a report to the server."""
        change = self._change(router_id, RemovalRequested(math.inf))
        self._request(router_id, change.request or (), is_removal=True, timings={})

    # Effects

    def _process(self, update: ResourceUpdate, event: Event, timings: dict[str, float]) -> UpdateResult:
        """Perform the transition of an event and its request; return the result of the update."""
        change = self._change(update.id, event)
        if change.result == "skipped":
            return UpdateResult(update.id, update.action.value, "skipped", context=update.context)
        operations = 0
        if change.request is not None:
            report = self._request(update.id, change.request, is_removal=change.is_removal, timings=timings)
            operations = report.count
        return UpdateResult(
            update.id,
            (Action.DELETE if change.is_removal else update.action).value,
            change.result,
            timings=timings,
            operations=operations,
            drift_repair=change.drift_repair,
            name="" if change.info is None else change.info.name,
            error=change.error,
            context=update.context,
        )

    def _change(self, router_id: str, event: Event) -> Transition:
        """Store the new state of a router, and perform what its transition requires, except for the request."""
        change = transition(router_id, self._info.get(router_id), event)
        if change.info is None:
            self._info.pop(router_id, None)
        else:
            self._info[router_id] = change.info
        if change.log:
            LOG.log(*change.log)
        self._warnings.log(router_id, change.warnings)
        match change.cache:
            case StorePayload(payload):
                self._state_cache.store(router_id, payload)
            case RetainFloatingIPs(ids):
                self._state_cache.retain_floating_ips(router_id, ids)
            case DiscardPayload():
                self._state_cache.discard(router_id)
        if change.must_fetch:
            self._refetch(router_id)
        if change.released is not None:
            self._statuses.report_down(router_id, change.released - self._served_elsewhere(change.released))
        self._statuses.report(router_id, change.statuses)
        return change

    def _served_elsewhere(self, fip_ids: Set[str]) -> set[str]:
        """Return the floating IPs that another router of this node has by now; the router itself has released them."""
        return {one for info in self._info.values() for one in fip_ids & info.floating_ips.keys()} if fip_ids else set()

    def _request(
        self, router_id: str, states: Iterable[KeyedState], *, is_removal: bool, timings: dict[str, float]
    ) -> Report:
        """Send all keys of a router to the data plane, and perform the transition of the result; raise a failure.

        :param timings: gets the seconds of each phase.
        """
        self.in_kernel_work[eventlet.getcurrent()] = router_id
        try:
            report = merge_reports(router_id, self._dataplane.reconcile(states))
            if report.error:
                raise ApplyError(report.error)
        except TransientError as exc:
            self._change(router_id, RequestFailed(exc, is_removal, time.monotonic()))
            raise
        finally:
            del self.in_kernel_work[eventlet.getcurrent()]
        timings |= report.timings
        for operation in report.operations:
            LOG.debug("router %s: %s", router_id, operation)
        self._change(router_id, RequestSucceeded(report, is_removal, dict(timings), time.monotonic()))
        if is_removal:
            operations = list(report.operations)
            removal = {"id": router_id, "operations": operations, "count": report.count, "timings": timings}
            self.recent_removals.append(removal)
        return report


def _is_large(payload: Mapping[str, Any]) -> bool:
    floating_ips = payload.get("_floatingips")
    return isinstance(floating_ips, list) and len(floating_ips) > _MANY_FLOATING_IPS
