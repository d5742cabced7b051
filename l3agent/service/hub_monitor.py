# SPDX-License-Identifier: Apache-2.0
"""Monitors the lag of the eventlet hub and logs the stack of code that blocks it.

All greenthreads of a process share one native thread. Code that computes, or waits in a call that eventlet has not
patched, stops all of them: heartbeats to the broker, timers, answers. A greenthread with a periodic timer measures the
lag; a native thread, which runs while the hub is blocked, captures the stack.
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

#: Seconds: at most a tenth of the time that a broker allows between two heartbeats of a connection.
HUB_LIMIT_S = 1.0
# Probes per limit, so that a block is detected before it lasts twice the limit.
_PROBES_PER_LIMIT = 4
# A block of this many limits may never end: its stack is written to stderr, which needs no lock.
_STUCK_FACTOR = 10

# The native functions; eventlet has patched the imported ones.
_thread: Any = patcher.original("_thread")
_now = patcher.original("time").monotonic


class HubMonitor:
    """Measures the lag of this thread's hub and logs the stack of code that blocks it.

    :param limit: seconds of a block after which its stack is captured; 0 disables the monitor.
    """

    def __init__(self, limit: float = HUB_LIMIT_S) -> None:
        #: Lag of the last probe, in seconds.
        self.lag_s = 0.0
        #: Maximum lag so far, in seconds.
        self.max_lag_s = 0.0
        #: Number of blocks that exceeded the limit.
        self.blocks = 0
        #: Called with each measured lag, in seconds.
        self.observers: list[Callable[[float], object]] = []
        self._limit = limit
        self._due = 0.0
        # Stack of the blocking code, due time of the probe that it delayed, and lag of that probe at the capture.
        self._stack: tuple[str, float, float] | None = None
        self._probe: Any = None
        self._stop_lock: Any = None

    def start(self) -> None:
        """Start monitoring; call it in the thread of the hub. Idempotent."""
        if not self._limit or self._probe is not None:
            return
        self._due = _now() + self._limit / _PROBES_PER_LIMIT
        self._stop_lock = _thread.allocate_lock()
        self._stop_lock.acquire()
        self._probe = eventlet.spawn(self._measure)
        _thread.start_new_thread(self._monitor, (_thread.get_ident(), self._stop_lock))

    def stop(self) -> None:
        """Stop monitoring without waiting. Idempotent."""
        if self._probe is not None:
            self._probe.kill()
            self._probe = None
            self._stop_lock.release()

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
                # The native thread may store a block that has just ended and that an earlier probe measured.
                self._report(stack, max(late_s, self.lag_s) if blocked_due == due else late_s)

    def _report(self, stack: str, lag_s: float) -> None:
        """Log a block; not in the native thread, which must not acquire a patched lock of a log handler."""
        self._stack = None
        self.blocks += 1
        LOG.warning("The hub was blocked for %.1f s (limit %s s) by:\n%s", lag_s, self._limit, stack)

    def _monitor(self, hub_thread: int, stop_lock: Any) -> None:
        reported_due = 0.0
        while not stop_lock.acquire(timeout=self._limit / _PROBES_PER_LIMIT):
            due = self._due
            late = _now() - due
            if late > self._limit and self._stack is None:
                self._stack = _stack(hub_thread), due, late
            if late > self._limit * _STUCK_FACTOR and due != reported_due and self._stack is not None:
                reported_due = due
                os.write(2, f"The hub has been blocked for {late:.1f} s by:\n{self._stack[0]}".encode())


def _stack(thread: int) -> str:
    frame = sys._current_frames().get(thread)
    return "".join(traceback.format_stack(frame)) if frame else "the thread has ended\n"
