# SPDX-License-Identifier: Apache-2.0
"""Maintenance by an operator: pausing routers and draining the node.

No update, full sync or drift repair changes a paused router; updates that arrive meanwhile are kept. A pause persists
over restarts, since an operator may be changing the router manually. A drain does not: a new start ends it.

Review: can anything change a paused router? Are the updates that arrived meanwhile applied after the resume?
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import eventlet
from oslo_log import log as logging

from l3agent.agent.processing_queue import ResourceProcessingQueue
from l3agent.agent.resource_update import PRIORITY_RPC, Action
from l3agent.agent.routers import Dataplane, Routers
from l3agent.exceptions import L3AgentError, TransientError

LOG = logging.getLogger(__name__)

#: Seconds to wait for the update in progress.
_FINISH_S = 60.0
_POLL_S = 0.02


class Maintenance:
    """Pauses routers and drains the node.

    :param path: file with the ids of the paused routers.
    :param mark_processed: called with the id of a paused router, for which no full sync waits any more.
    """

    def __init__(
        self,
        path: str,
        routers: Routers,
        queue: ResourceProcessingQueue,
        dataplane: Dataplane,
        mark_processed: Callable[[str], None],
    ) -> None:
        self._path = Path(path)
        self._routers = routers
        self._queue = queue
        self._dataplane = dataplane
        self._mark_processed = mark_processed
        self._draining = False
        #: Ids of the paused routers.
        self.paused: set[str] = self._read()
        for router_id in self.paused:
            queue.suspend(router_id)

    @property
    def state(self) -> str:
        """``serving``; ``draining`` while updates are scheduled or in progress; ``drained`` when none is left."""
        if not self._draining:
            return "serving"
        counts = self._queue.counts()
        return "draining" if counts["waiting"] or counts["processing"] else "drained"

    def pause(self, router_id: str) -> None:
        """Pause a router as soon as its update in progress ends.

        :raises L3AgentError: there is no such router here.
        :raises TransientError: the update does not end, or the data plane does not answer; the router is not paused.
        """
        if router_id not in self._routers.info:
            raise L3AgentError(f"router {router_id}: not on this node")
        if router_id in self.paused:
            return
        self._queue.suspend(router_id)
        try:
            with eventlet.Timeout(_FINISH_S, TransientError(f"router {router_id}: its update is still in progress")):
                while self._queue.is_processing(router_id):
                    eventlet.sleep(_POLL_S)
            if router_id not in self._routers.info:
                raise L3AgentError(f"router {router_id}: was just removed from this node")
            self._dataplane.unmanage(self._routers.keys(router_id))
            self._write(self.paused | {router_id})
        except BaseException:
            self._queue.resume(router_id)
            raise
        self._mark_processed(router_id)
        LOG.warning("router %s is paused: no change until it is resumed", router_id)

    def resume(self, router_id: str) -> None:
        """Apply the updates of a router that arrived meanwhile, and revert manual changes.

        :raises L3AgentError: it is not paused.
        """
        if router_id not in self.paused:
            raise L3AgentError(f"router {router_id}: not paused")
        self._write(self.paused - {router_id})
        info = self._routers.info.get(router_id)
        if info is not None and info.state is not None:
            self._queue.add(router_id, Action.REAPPLY, PRIORITY_RPC, sequence=info.sequence)
        self._queue.resume(router_id)
        LOG.warning("router %s is resumed", router_id)

    def drain(self) -> None:
        """Schedule no more updates; process the scheduled ones."""
        if not self._draining:
            LOG.warning("Draining: new updates are kept and not processed")
        self._draining = True
        self._queue.close()

    def undrain(self) -> None:
        """End the drain and process the updates that arrived meanwhile."""
        if self._draining:
            LOG.warning("The drain has ended: updates are processed again")
        self._draining = False
        self._queue.open()

    # The file

    def _read(self) -> set[str]:
        try:
            ids = json.loads(self._path.read_text())
            if not isinstance(ids, list):
                raise ValueError("expected a list of ids")
            found = set(map(str, ids))
        except FileNotFoundError:
            return set()
        except (OSError, ValueError, TypeError) as exc:
            LOG.error("%s: the paused routers cannot be read, so none is paused: %s", self._path, exc)
            return set()
        if found:
            LOG.warning("%d routers are paused: %s", len(found), ", ".join(sorted(found)))
        return found

    def _write(self, paused: set[str]) -> None:
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            with fresh.open("w") as file:
                file.write(json.dumps(sorted(paused)) + "\n")
                file.flush()
                os.fsync(file.fileno())  # an empty file after a power loss would pause no router
            os.replace(fresh, self._path)
        except OSError as exc:
            raise L3AgentError(f"{self._path}: {exc.strerror}; nothing is changed") from exc
        self.paused = paused
