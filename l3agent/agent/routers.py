# SPDX-License-Identifier: Apache-2.0
"""The routers of this node, and the steps of an update: from a payload to the kernel, or removal from it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from ipaddress import IPv6Address
from typing import Any, Protocol

import eventlet
from oslo_log import log as logging

from l3agent.agent.fip_statuses import FloatingIPStatuses
from l3agent.agent.native_thread import run_in_native_thread
from l3agent.agent.resource_update import Action, ResourceUpdate
from l3agent.agent.results import ResultStatus, UpdateResult
from l3agent.agent.router_info import ACTIVE, ERROR, UNKNOWN, RouterInfo
from l3agent.agent.server_contact import ServerContact
from l3agent.agent.state_cache import StateCache
from l3agent.agent.warning_log import WarningLog
from l3agent.exceptions import (
    ApplyError,
    InvalidRouter,
    RouterError,
    RouterNotCompatible,
    RouterNotWanted,
    TransientError,
)
from l3agent.model.desired import desired_state, floating_ips_by_id
from l3agent.model.router_keys import keyed_states, merge_reports, router_keys
from l3agent.model.states import FloatingIP, Key, Report, RouterState, State

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
        #: By id.
        self.info: dict[str, RouterInfo] = {}
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

    def restore(self, payload: Mapping[str, Any]) -> None:
        """Restore a router from a cached payload; the kernel is not changed.

        :raises RouterError: it cannot be served.
        """
        state = self.desired_state(payload["id"], payload)
        if state.id not in self.info:
            self.info[state.id] = RouterInfo(state.id)
            self.info[state.id].restore(payload, state)

    def is_managed(self, router_id: str) -> bool:
        """Return True if this agent has a desired state of a router; another router belongs to another agent."""
        info = self.info.get(router_id)
        return info is not None and info.state is not None

    def rank(self, router_id: str) -> int:
        """Return the rank of a router (see :func:`~l3agent.agent.router_info.importance`)."""
        info = self.info.get(router_id)
        return UNKNOWN if info is None else info.rank

    def keys(self, router_id: str) -> tuple[Key, ...]:
        """Return the keys that a router may have in the data plane."""
        info = self.info.get(router_id)
        state, former = (None, ()) if info is None else (info.state, info.former_keys)
        return router_keys(router_id, state, former)

    # Steps

    def update(self, update: ResourceUpdate, timings: dict[str, float]) -> UpdateResult:
        """Apply the payload of an update to the kernel."""
        payload = update.resource or {}
        info = self.info.get(update.id)
        if info is not None and info.is_older(payload):
            LOG.info("router %s: an answer older than revision %d; fetching again", update.id, info.revision)
            self._refetch(update.id)
            return _result(update, "skipped")
        try:
            state = self.desired_state(update.id, payload)
        except RouterNotCompatible as exc:
            if not self.is_managed(update.id):
                # A namespace of it belongs to another agent, which may still serve it.
                return self._reject(update, exc, timings)
            LOG.warning("router %s is no longer served: %s", update.id, exc)
            return self.remove(update, timings)
        except RouterNotWanted as exc:
            LOG.info("router %s is removed: %s", update.id, exc)
            return self.remove(update, timings)
        except RouterError as exc:
            return self._reject(update, exc, timings)
        else:
            info = self.info.setdefault(update.id, RouterInfo(update.id))
            drift_repair = info.status == "active" and info.state == state
            info.received_at = time.monotonic()
            self._warnings.log(update.id, info.set_desired(payload, state, update.sequence))
            self._state_cache.store(update.id, payload)
            return self.apply(update, timings, drift_repair=drift_repair)

    def apply(self, update: ResourceUpdate, timings: dict[str, float], *, drift_repair: bool = True) -> UpdateResult:
        """Apply the desired state of a router to the kernel; skip a router without one.

        :param drift_repair: True if the desired state did not change, so that any operation repairs drift.
        """
        info = self.info.get(update.id)
        if info is None or info.state is None:
            return _result(update, "skipped")
        report = self._reconcile(update.id, info.state, timings)
        drift_repair = drift_repair and info.updates > 0
        info.record_success(report, timings, time.monotonic())
        if info.rejection is None:
            self._statuses.report(update.id, info.set_floating_ip_status(ACTIVE))
        operations = report.count
        return _result(update, "ok", timings=timings, operations=operations, name=info.name, drift_repair=drift_repair)

    def remove(self, update: ResourceUpdate, timings: dict[str, float]) -> UpdateResult:
        """Remove a router; report its floating IPs DOWN unless the router is deleted."""
        if update.action is not Action.DELETE:
            self._report_down(update.id)
        name = self.info[update.id].name if update.id in self.info else ""
        operations = self.remove_from_kernel(update.id, timings)
        return _result(replace(update, action=Action.DELETE), "ok", timings=timings, operations=operations, name=name)

    def remove_from_kernel(self, router_id: str, timings: dict[str, float]) -> int:
        """Remove a router from the kernel and from this agent; return the number of kernel operations."""
        if router_id in self.info:
            # No reports from here on: another node may serve them.
            self.info[router_id].release_floating_ips()
        self._statuses.cancel(router_id)
        report = self._reconcile(router_id, None, timings)
        self.info.pop(router_id, None)
        self._state_cache.discard(router_id)
        operations = list(report.operations)
        removal = {"id": router_id, "operations": operations, "count": report.count, "timings": timings}
        self.recent_removals.append(removal)
        return report.count

    def _reject(self, update: ResourceUpdate, error: RouterError, timings: dict[str, float]) -> UpdateResult:
        """Reject a payload: keep the last desired state until the next payload.

        Floating IPs that the payload no longer names are removed: another router may have their addresses by now.
        """
        LOG.error("router %s: payload rejected, waiting for the next one: %s", update.id, error)
        info = self.info.setdefault(update.id, RouterInfo(update.id))
        info.record_rejection(str(error), time.monotonic())
        payload = update.resource or {}
        if payload.get("id") == update.id:
            with suppress(InvalidRouter):
                self._remove_lost_floating_ips(info, floating_ips_by_id(payload))
        self._statuses.report(update.id, info.set_floating_ip_status(ERROR))
        operations = 0
        if info.state is not None:
            report = self._reconcile(update.id, info.state, timings)
            info.record_success(report, timings, time.monotonic())
            operations = report.count
        return _result(update, "rejected", error=str(error), name=info.name, timings=timings, operations=operations)

    def _remove_lost_floating_ips(self, info: RouterInfo, named: Mapping[str, FloatingIP]) -> None:
        """Remove the floating IPs that a payload does not name with these addresses, also from the state cache."""
        former = info.state
        info.retain_floating_ips(named)
        if info.state is not None and info.state != former:
            served = info.state.floating_ips
            kept = {fip_id for fip_id, pair in named.items() if pair in served}
            self._state_cache.retain_floating_ips(info.id, kept)

    def _reconcile(self, router_id: str, state: RouterState | None, timings: dict[str, float]) -> Report:
        """Send all keys of a router to the data plane; record and raise a failure."""
        self.in_kernel_work[eventlet.getcurrent()] = router_id
        try:
            reports = self._dataplane.reconcile(keyed_states(router_id, state, self.keys(router_id)))
            report = merge_reports(router_id, reports)
            if report.error:
                raise ApplyError(report.error)
        except TransientError as exc:
            self._record_failure(router_id, exc)
            raise
        finally:
            del self.in_kernel_work[eventlet.getcurrent()]
        timings |= report.timings
        for operation in report.operations:
            LOG.debug("router %s: %s", router_id, operation)
        return report

    def _record_failure(self, router_id: str, error: TransientError) -> None:
        info = self.info.get(router_id)
        if info is None:
            return
        info.record_failure(str(error), time.monotonic())
        if isinstance(error, ApplyError):
            self._statuses.report(router_id, info.set_floating_ip_status(ERROR))

    def _report_down(self, router_id: str) -> None:
        """Report the floating IPs DOWN, once, of a router that this agent stops serving.

        No report if the server may have scheduled the router to another node since it sent the payload, and none of
        floating IPs that another router of this node has by now.
        """
        info = self.info.get(router_id)
        if info is None or not self._contact.covers(info.received_at):
            return
        released = info.release_floating_ips()
        served = {fip_id for other in self.info.values() for fip_id in released & other.floating_ips.keys()}
        self._statuses.report_down(router_id, released - served)


def _result(update: ResourceUpdate, status: ResultStatus, **values: Any) -> UpdateResult:
    return UpdateResult(update.id, update.action.value, status, context=update.context, **values)


def _is_large(payload: Mapping[str, Any]) -> bool:
    floating_ips = payload.get("_floatingips")
    return isinstance(floating_ips, list) and len(floating_ips) > _MANY_FLOATING_IPS
