# SPDX-License-Identifier: Apache-2.0
"""Reports statuses of floating IPs to the server, apart from updates: a failed report repeats no update."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import eventlet
from eventlet.event import Event
from oslo_log import log as logging

from l3agent.agent.processing_queue import ResourceProcessingQueue
from l3agent.agent.resource_update import PRIORITY_RPC, Action
from l3agent.agent.router_info import DOWN
from l3agent.rpc import FailureLog

LOG = logging.getLogger(__name__)

#: Seconds that the removal of a router waits for its last report. The call expires at the broker after the same time,
#: so that a late one cannot overwrite the report of another node.
_DOWN_S = 5.0


class StatusSender(Protocol):
    """Type of :meth:`l3agent.agent.plugin_api.L3PluginApi.update_floatingip_statuses`."""

    def __call__(self, router_id: str, statuses: Mapping[str, str], *, timeout: float | None = None) -> None:
        """Call the server with the id of a router and statuses by id of the floating IP."""


class FloatingIPStatuses:
    """Reports the latest status of each floating IP: one call at a time, retried until it succeeds.

    One at a time, so that the reports of a floating IP that moves between two routers stay in order.

    :param send: calls the server.
    :param retry_min: seconds before the first retry of a failed call; doubled at each failure.
    :param retry_max: upper bound of the back-off, in seconds.
    """

    def __init__(self, send: StatusSender, *, retry_min: float, retry_max: float) -> None:
        self._send = send
        # A report replaces the dict of its router, so identity shows whether one arrived during a call.
        self._pending: dict[str, dict[str, str]] = {}
        self._router_of: dict[str, str] = {}
        self._queue = ResourceProcessingQueue(retry_min=retry_min, retry_max=retry_max)
        self._in_flight: tuple[str, Event] | None = None
        self._failures = FailureLog(LOG)

    def report(self, router_id: str, statuses: Mapping[str, str] | None) -> None:
        """Schedule a report; it replaces pending statuses of the same floating IPs.

        :param statuses: by id of the floating IP; an empty mapping is a report too. None: nothing to report.
        """
        if statuses is None:
            return
        for fip_id in statuses:
            former = self._router_of.get(fip_id)
            if former is not None:
                self._pending[former].pop(fip_id)
            self._router_of[fip_id] = router_id
        self._pending[router_id] = {**self._pending.get(router_id, {}), **statuses}
        self._queue.add(router_id, Action.UPDATE, PRIORITY_RPC)

    def report_down(self, router_id: str, fip_ids: Iterable[str]) -> None:
        """Report floating IPs DOWN now and once, after a call in flight for the router; a failure is only logged."""
        self.cancel(router_id)
        statuses = dict.fromkeys(fip_ids, DOWN)
        if not statuses:
            return
        try:
            with eventlet.Timeout(_DOWN_S, TimeoutError(f"an earlier report took more than {_DOWN_S:g} s")):
                while self._in_flight is not None and self._in_flight[0] == router_id:
                    self._in_flight[1].wait()
            self._send(router_id, statuses, timeout=_DOWN_S)
        except Exception as exc:
            message = "router %s: %d floating IPs not reported DOWN: %s"
            self._failures.warning(f"DOWN: {exc}", message, router_id, len(statuses), exc)

    @property
    def pending_count(self) -> int:
        """Number of routers with pending reports."""
        return len(self._pending)

    def cancel(self, router_id: str) -> None:
        """Discard the pending report of a removed router: another node may serve its floating IPs now."""
        for fip_id in self._pending.pop(router_id, {}):
            del self._router_of[fip_id]

    def run(self) -> None:
        """Send pending reports, without end."""
        while True:
            router_id = ""
            try:
                with self._queue.each_update_to_next_router() as update:
                    router_id = update.id
                    self._send_pending(router_id)
            except Exception as exc:
                delay = self._queue.seconds_to_retry(router_id)
                message = "router %s: floating IP statuses not reported, retrying in %.1f s: %s"
                self._failures.warning(str(exc), message, router_id, delay, exc)

    def _send_pending(self, router_id: str) -> None:
        sent = self._pending.get(router_id)
        if sent is None:
            return
        statuses, ended = dict(sent), Event()
        self._in_flight = (router_id, ended)
        try:
            self._send(router_id, statuses)
        finally:
            self._in_flight = None
            ended.send()
        pending = self._pending.pop(router_id, None)
        if pending is None:
            return
        left = {fip: status for fip, status in pending.items() if statuses.get(fip) != status}
        for fip_id in pending.keys() - left.keys():
            del self._router_of[fip_id]
        if pending is not sent:
            self._pending[router_id] = left
