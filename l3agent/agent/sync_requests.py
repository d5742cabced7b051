# SPDX-License-Identifier: Apache-2.0
"""Requests for full syncs, and the progress of the last one.

Requests are numbered, and three marks order them: ``done <= due <= requested``.

=============  ==================================================  ===============================
mark           meaning                                             moved by
=============  ==================================================  ===============================
``requested``  the last request                                    :meth:`SyncRequests.request`
``due``        the last request whose delay has expired            a timer of that request
``done``       the last request that a complete full sync covers   :meth:`SyncRequests.finish`
=============  ==================================================  ===============================

A full sync covers all requests that were due when it began. It restarts if another one becomes due meanwhile.
"""

from __future__ import annotations

import eventlet
from eventlet.event import Event
from oslo_log import log as logging

LOG = logging.getLogger(__name__)


class SyncRequests:
    """The requested full syncs, and the routers of the last full sync that no worker has processed yet."""

    def __init__(self) -> None:
        #: Full syncs completed since the start of the process.
        self.completed = 0
        self._requested = self._due = self._done = 0
        self._more_due = Event()
        self._reasons: list[str] = []
        self._unprocessed: set[str] = set()

    @property
    def in_sync(self) -> bool:
        """Return True if a full sync is complete, none is requested, and each router it enqueued was processed."""
        return self.completed > 0 and self._done == self._requested and not self._unprocessed

    def request(self, reason: str, *, delay: float = 0.0) -> None:
        """Request a full sync. One in progress restarts, as its results may be stale; a delayed request is shared.

        :param delay: seconds to wait first, so that the agents of a site do not call at once.
        """
        if delay and self._requested > self._due:
            LOG.debug("A full sync is already scheduled: %s", reason)
            return
        LOG.debug("Full sync in %.1f s: %s", delay, reason)
        self._requested += 1
        self._reasons.append(reason)
        eventlet.spawn_after(delay, self._mark_due, self._requested)

    def cancel_all(self) -> None:
        """Cancel all requests, the due ones included."""
        self._requested = self._due = self._done

    def mark_enqueued(self, router_id: str) -> None:
        """Record that a full sync has enqueued a router."""
        self._unprocessed.add(router_id)

    def mark_processed(self, router_id: str) -> None:
        """Record that a router was processed, successfully or not."""
        self._unprocessed.discard(router_id)

    # The full sync

    def next_due(self) -> int:
        """Wait for a request that is due and not done; return its number."""
        while self._done >= self._due:
            self._more_due.wait()
        return self._due

    def is_superseded(self, request: int) -> bool:
        """Return True if another request has become due since."""
        return self._due > request

    def wait_for_more(self, seconds: float) -> None:
        """Wait until another request is due, at most for some seconds."""
        self._more_due.wait(timeout=seconds)

    def finish(self, request: int) -> None:
        """Record that a complete full sync covers a request and all earlier ones."""
        self._done = request
        self.completed += 1

    def pop_reasons(self) -> str:
        """Return the reasons of the requests since the last call, each once."""
        reasons, self._reasons = dict.fromkeys(self._reasons), []
        return "; ".join(reasons)

    def _mark_due(self, request: int) -> None:
        if request > self._requested:
            return  # cancelled
        self._due = max(self._due, request)
        more_due, self._more_due = self._more_due, Event()
        more_due.send()
