# SPDX-License-Identifier: Apache-2.0
"""Tells the server the statuses of floating IPs, apart from the work on routers: a failed call repeats no router."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oslo_log import log as logging

from l3agent.agent.processing_queue import ResourceProcessingQueue
from l3agent.agent.resource_update import PRIORITY_RPC, Action

LOG = logging.getLogger(__name__)


class FloatingIPStatuses:
    """Statuses on their way to the server: the newest of each floating IP, one call at a time, again until it worked.

    One at a time, so that a floating IP that moves between two routers is not told of in the wrong order.

    :param tell: calls the server with the id of a router and statuses by id of the floating IP.
    :param retry_min: seconds before a failed call is tried again the first time; doubled at each failure.
    :param retry_max: upper bound of that, in seconds.
    """

    def __init__(self, tell: Callable[[str, Mapping[str, str]], None], *, retry_min: float, retry_max: float) -> None:
        self._tell = tell
        self._pending: dict[str, dict[str, str]] = {}
        self._router_of: dict[str, str] = {}
        self._queue = ResourceProcessingQueue(retry_min=retry_min, retry_max=retry_max)

    def report(self, router_id: str, statuses: Mapping[str, str]) -> None:
        """Have the server told; what was to be said of the same floating IPs before is forgotten."""
        if not statuses:
            return
        for fip_id in statuses:
            former = self._router_of.get(fip_id)
            if former is not None:
                self._pending[former].pop(fip_id)
            self._router_of[fip_id] = router_id
        self._pending.setdefault(router_id, {}).update(statuses)
        self._queue.add(router_id, Action.UPDATE, PRIORITY_RPC)

    @property
    def untold(self) -> int:
        """Return of how many routers there is something to tell."""
        return len(self._pending)

    def forget(self, router_id: str) -> None:
        """Say nothing more of a router that is no longer here: another node may serve its floating IPs now."""
        for fip_id in self._pending.pop(router_id, {}):
            del self._router_of[fip_id]

    def run(self) -> None:
        """Tell the server what there is to tell, for ever."""
        while True:
            router_id = ""
            try:
                with self._queue.each_update_to_next_router() as update:
                    router_id = update.id
                    self._tell_of(router_id)
            except Exception as exc:
                delay = self._queue.seconds_to_retry(router_id)
                LOG.warning(
                    "router %s: floating IP statuses not told, trying again in %.1f s: %s", router_id, delay, exc
                )

    def _tell_of(self, router_id: str) -> None:
        told = dict(self._pending.get(router_id, {}))
        if told:
            self._tell(router_id, told)
        pending = self._pending.pop(router_id, {})
        left = {fip: status for fip, status in pending.items() if told.get(fip) != status}
        for fip_id in pending.keys() - left.keys():
            del self._router_of[fip_id]
        if left:
            self._pending[router_id] = left
