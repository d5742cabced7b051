# SPDX-License-Identifier: Apache-2.0
"""The kernel thread: the main thread of the process, which owns all kernel access.

The kernel has one lock for links and addresses (rtnl), so one thread does all kernel work and also reads requests: each
further thread between a request and its answer would add a wait. The loop is in
:class:`~l3agent.dataplane.server.server.DataplaneServer`, which calls the methods below::

    +-> resume()       advance each suspended request whose wait is over
    |   select         until a descriptor is readable, at most for the seconds of wait()
    |   read_events()  note the changes of other programs, and the tasks that the other threads have done
    |   serve()        per request: an overdue repair, an overdue read of the rotation, the request; after 50 ms of
    |                  requests the other threads may work
    |   on_idle()      without a request: one repair; if none is due, the rotation, the other threads and garbage
    +----------------  collection, each when it is due

A request, or a repair, is a generator of waits (:mod:`l3agent.dataplane.work.wait`). It runs until it yields a wait
that is not over; then it is suspended and the loop goes on. Requests come first: repairs run between them, at most one
before each, and garbage collection runs when nothing else is due.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from l3agent.dataplane.kernel_backend.garbage import GarbageCollector
from l3agent.dataplane.operations import Requester, Resources, Step, execute
from l3agent.dataplane.work.wait import Wait
from l3agent.exceptions import L3AgentError

LOG = logging.getLogger(__name__)

#: Seconds between two runs of the garbage collection, and after a run that removed something.
_GARBAGE_PAUSE_S, _GARBAGE_NEXT_S = 0.1, 0.02
#: Seconds without a request after which the other threads may work, and maximum seconds until they may.
_IDLE_S, _MAX_BUSY_S = 0.002, 0.05
#: Suspended requests from which on no more are read; an agent has 8 workers.
_MAX_SUSPENDED = 64


class KernelThread:
    """Executes requests, and between them the work that is due."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._suspended: list[tuple[Wait, Step]] = []
        self._garbage_at = self._yielded_at = 0.0
        self._yield_at: float | None = 0.0

    @property
    def descriptors(self) -> list[int]:
        """Descriptors that become readable when another program changes something, or a wait is over."""
        return [*self._resources.backends.descriptors, self._resources.reconciler.turns.descriptor]

    @property
    def has_room(self) -> bool:
        """Return False if the maximum number of requests is suspended, so that no more should be read."""
        return len(self._suspended) < _MAX_SUSPENDED

    def serve(self, requester: Requester, request: Any) -> None:
        """Execute one request until it has to wait; then check limits and, if due, yield to the other threads."""
        resources = self._resources
        if resources.reconciler.is_repair_overdue():
            self._repair()
        if resources.rotation is not None and resources.rotation.is_overdue(now := time.monotonic()):
            resources.rotation.run(now)
        # A client that is gone needs no answer; its successor sends the request again.
        if requester.connected:
            self._advance(execute(resources, requester, request))
        resources.limits.check(resources.drift.applied.node.max_ports)
        if (now := time.monotonic()) > self._yielded_at + _MAX_BUSY_S:
            self._yield_to_threads(now)

    def read_events(self) -> None:
        """Record the changes of other programs."""
        self._resources.reconciler.turns.clear()
        self._resources.drift.read_events()

    def resume(self) -> None:
        """Continue suspended requests whose wait has ended."""
        suspended, self._suspended = self._suspended, []
        for wait, step in suspended:
            if wait.done:
                self._advance(step)
            else:
                self._suspended.append((wait, step))

    def on_idle(self) -> None:
        """Do background work while no request waits: repairs, the other threads, garbage collection."""
        resources, now = self._resources, time.monotonic()
        if self._repair():
            return
        if resources.rotation is not None and not resources.rotation.wait(now):
            resources.rotation.run(now)
        if self._yield_at is not None and now >= self._yield_at:
            self._yield_to_threads(now)
            self._yield_at = None
        if now >= self._next_garbage_run():
            pause = _GARBAGE_NEXT_S if _collect_garbage(resources.garbage) else _GARBAGE_PAUSE_S
            self._garbage_at = time.monotonic() + pause

    def wait(self) -> float:
        """Return the seconds until something is due."""
        if self._suspended and any(wait.done for wait, _ in self._suspended):
            return 0.0
        garbage_at, due = self._next_garbage_run(), self._resources.reconciler.repair_wait()
        until = garbage_at if self._yield_at is None else min(garbage_at, self._yield_at)
        now = time.monotonic()
        seconds = max(0.0, until - now)
        if self._resources.rotation is not None:
            seconds = min(seconds, self._resources.rotation.wait(now))
        return seconds if due is None else min(seconds, due)

    # ---- private ---------------------------------------------------------------------------------------------

    def _advance(self, step: Step) -> None:
        """Advance work to its end, or to its next wait."""
        for wait in step:
            if not wait.done:
                self._suspended.append((wait, step))
                break
        self._resources.reconciler.run_deferred()
        # Requests, resumed ones and repairs alike may have added announcements.
        self._yield_at = time.monotonic() + _IDLE_S

    def _next_garbage_run(self) -> float:
        return max(self._resources.garbage.next_run(), self._garbage_at)

    def _repair(self) -> bool:
        work = self._resources.reconciler.repair()
        if work is not None:
            self._advance(work)
        return work is not None

    def _yield_to_threads(self, now: float) -> None:
        """Wake the threads that fill the pool, announce and close; they compete for the interpreter's lock."""
        self._yielded_at = now
        self._resources.reconciler.on_idle()


def _collect_garbage(garbage: GarbageCollector) -> bool:
    try:
        return garbage.collect()
    except L3AgentError as exc:
        LOG.warning("garbage collection: %s; next attempt later", exc)
        return False
