# SPDX-License-Identifier: Apache-2.0
"""A start without a server: the routers that were here last are served until the server says otherwise.

Nothing is removed for what is remembered, and nothing remembered wins over an answer of the server.
"""

from __future__ import annotations

from collections.abc import Callable

import eventlet
from oslo_log import log as logging

from l3agent.agent.processing_queue import ResourceProcessingQueue
from l3agent.agent.resource_update import PRIORITY_FULL_SYNC, Action
from l3agent.agent.router_info import RouterInfo
from l3agent.agent.routers import Dataplane, Routers
from l3agent.agent.state_cache import StateCache
from l3agent.exceptions import RouterError, TransientError
from l3agent.rpc import FailureLog

LOG = logging.getLogger(__name__)


class WarmStart:
    """Brings routers known from before to the data plane.

    :param is_needed: tells whether the server still has not told all; False ends the waiting for the data plane.
    :param retry_interval: seconds between two tries to reach the data plane.
    """

    def __init__(
        self,
        routers: Routers,
        state_cache: StateCache,
        queue: ResourceProcessingQueue,
        dataplane: Dataplane,
        *,
        is_needed: Callable[[], bool],
        retry_interval: float,
    ) -> None:
        self._routers = routers
        self._state_cache = state_cache
        self._queue = queue
        self._dataplane = dataplane
        self._is_needed = is_needed
        self._retry_interval = retry_interval
        self._failures = FailureLog(LOG)

    def run(self) -> None:
        """Take the routers that were here last, and bring those in order that the kernel has too."""
        for payload in self._state_cache.load():
            try:
                self._routers.restore(payload)
            except RouterError as exc:
                LOG.warning("router %s: what was known of it is of no use: %s", payload["id"], exc)
        if waiting := self._waiting():
            LOG.info("%d routers are known from before", len(waiting))
            in_kernel = self._wait_for_inventory()
            self._reapply([info for info in self._waiting() if info.id in in_kernel])

    def reapply_all(self) -> None:
        """Bring back also what the kernel does not have, for the server, which may have moved it, does not answer."""
        self._reapply(self._waiting())

    def _reapply(self, chosen: list[RouterInfo]) -> None:
        for info in chosen:
            self._queue.add(info.id, Action.REAPPLY, PRIORITY_FULL_SYNC, sequence=info.sequence)

    def _waiting(self) -> list[RouterInfo]:
        return [info for info in self._routers.info.values() if info.sequence == 0 and info.status == "pending"]

    def _wait_for_inventory(self) -> set[str]:
        while self._is_needed():
            try:
                return set(self._dataplane.inventory()["router"])
            except TransientError as exc:
                self._failures.warning(str(exc), "Routers known from before wait for the data plane: %s", exc)
                eventlet.sleep(self._retry_interval)
        return set()
