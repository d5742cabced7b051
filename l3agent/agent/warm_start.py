# SPDX-License-Identifier: Apache-2.0
"""Warm start: without an answer of the server, the routers of the state cache are served.

The state cache never causes a removal, and an answer of the server always wins over it.
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
from l3agent.model.router_keys import router_ids
from l3agent.rpc import FailureLog

LOG = logging.getLogger(__name__)


class WarmStart:
    """Applies the routers of the state cache.

    :param is_needed: returns True until a full sync is complete; False ends the wait for the data plane.
    :param retry_interval: seconds between attempts to reach the data plane.
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
        """Restore the routers of the state cache, and enqueue the routers that exist in the kernel."""
        for payload in self._state_cache.load():
            try:
                self._routers.restore(payload)
            except RouterError as exc:
                LOG.warning("router %s: its cached state is ignored: %s", payload["id"], exc)
        if waiting := self._waiting():
            LOG.info("State cache: %d routers restored", len(waiting))
            in_kernel = self._wait_for_inventory()
            self._reapply([info for info in self._waiting() if info.id in in_kernel])

    def reapply_all(self) -> None:
        """Enqueue also routers that the kernel lacks: the server, which may have moved them, does not answer."""
        self._reapply(self._waiting())

    def _reapply(self, chosen: list[RouterInfo]) -> None:
        for info in chosen:
            self._queue.add(info.id, Action.REAPPLY, PRIORITY_FULL_SYNC, sequence=info.sequence)

    def _waiting(self) -> list[RouterInfo]:
        return [info for info in self._routers.info.values() if info.sequence == 0 and info.status == "pending"]

    def _wait_for_inventory(self) -> set[str]:
        while self._is_needed():
            try:
                return router_ids(self._dataplane.inventory())
            except TransientError as exc:
                self._failures.warning(str(exc), "State cache: the restored routers wait for the data plane: %s", exc)
                eventlet.sleep(self._retry_interval)
        return set()
