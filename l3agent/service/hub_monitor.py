# SPDX-License-Identifier: Apache-2.0
"""How late the hub is, and what blocks it.

All greenthreads of a process share one native thread. Whatever computes, or waits in a way that eventlet has not
patched, stops all of them: heartbeats to the broker, timers, answers. A greenthread that looks at the clock measures
the lag; a native thread, which still runs when the hub does not, takes the stack of the culprit.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import eventlet
from eventlet import patcher
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

#: Seconds. A tenth of what a broker gives a connection between two heartbeats, at the least.
HUB_LIMIT_S = 1.0
# Looks within one limit, so that a block is seen before it is twice as long.
_PROBES_PER_LIMIT = 4
# A block that lasts so many limits may never end: what is known then goes to stderr, where no lock can be in the way.
_STUCK_FACTOR = 10

# Natively, not as eventlet has patched them.
_thread: Any = patcher.original("_thread")
_now = patcher.original("time").monotonic


class HubMonitor:
    """Measures the lag of the hub of this thread, and names what blocks it in the log. Never raises into it.

    :param limit: seconds that the hub may be blocked before its stack is taken; 0: no watch.
    """

    def __init__(self, limit: float = HUB_LIMIT_S) -> None:
        #: How late the last look of the greenthread came, in seconds.
        self.lag_s = 0.0
        #: How late one ever came.
        self.max_lag_s = 0.0
        #: How many times the hub was blocked for longer than the limit.
        self.blocks = 0
        #: Called with each lag that was measured, in seconds.
        self.observers: list[Callable[[float], object]] = []
        self._limit = limit
        self._due = 0.0
        # Stack of what blocked the hub, when the probe that it delayed was due, and how late that probe was then.
        self._stack: tuple[str, float, float] | None = None
        self._probe: Any = None
        self._running: Any = None

    def start(self) -> None:
        """Begin; called in the thread of the hub."""
        if not self._limit or self._probe is not None:
            return
        self._due = _now() + self._limit / _PROBES_PER_LIMIT
        self._running = _thread.allocate_lock()
        self._running.acquire()
        self._probe = eventlet.spawn(self._measure)
        _thread.start_new_thread(self._watch, (_thread.get_ident(), self._running))

    def stop(self) -> None:
        """End, at once."""
        if self._probe is not None:
            self._probe.kill()
            self._probe = None
            self._running.release()

    def _measure(self) -> None:
        while True:
            eventlet.sleep(max(0.0, self._due - _now()))
            due = self._due
            self.lag_s = max(0.0, _now() - due)
            self.max_lag_s = max(self.max_lag_s, self.lag_s)
            for observer in self.observers:
                observer(self.lag_s)
            self._due = _now() + self._limit / _PROBES_PER_LIMIT
            if self._stack is not None:
                stack, blocked_due, late_s = self._stack
                # The other thread may record a block that has just ended and that an earlier probe measured.
                self._report(stack, max(late_s, self.lag_s) if blocked_due == due else late_s)

    def _report(self, stack: str, lag_s: float) -> None:
        """Log here, not in the native thread: a patched lock of a log handler does not bear one."""
        self._stack = None
        self.blocks += 1
        LOG.warning("The hub was blocked for %.1f s (limit %s s) by:\n%s", lag_s, self._limit, stack)

    def _watch(self, hub_thread: int, running: Any) -> None:
        told = 0.0
        while not running.acquire(timeout=self._limit / _PROBES_PER_LIMIT):
            due = self._due
            late = _now() - due
            if late > self._limit and self._stack is None:
                self._stack = _stack(hub_thread), due, late
            if late > self._limit * _STUCK_FACTOR and due != told and self._stack is not None:
                told = due
                os.write(2, f"The hub has been blocked for {late:.1f} s by:\n{self._stack[0]}".encode())


def _stack(thread: int) -> str:
    frame = sys._current_frames().get(thread)
    return "".join(traceback.format_stack(frame)) if frame else "a thread that is gone\n"
