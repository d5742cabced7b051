# SPDX-License-Identifier: Apache-2.0
"""The greenthreads and timers of one service.

oslo.service's ``ThreadGroup`` with these differences: it takes any number of threads, a thread that dies is never
silent, timers keep their beat, and a stop can drain: wait for work in hand until a deadline, then kill and name it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from eventlet import greenthread
from greenlet import GreenletExit
from oslo_log import log as logging
from oslo_service import threadgroup
from oslo_utils import reflection

from l3agent.rpc.deadline import time_limit
from l3agent.service.crash import CrashHandler, end_process
from l3agent.service.timers import DynamicTimer, Timer

LOG = logging.getLogger(__name__)

Thread = threadgroup.Thread


class ThreadGroup(threadgroup.ThreadGroup):  # type: ignore[misc]
    """A group of greenthreads and timers.

    :param thread_pool_size: most threads at a time; ``add_thread`` waits for a place. Unlimited when left out.
    :param on_crash: called with the error when a thread or timer dies of one. When left out the process ends with the
        status that fits; a ``Services`` that the group's service is added to puts its own orderly stop here.
    """

    def __init__(self, thread_pool_size: int = sys.maxsize, *, on_crash: CrashHandler | None = None) -> None:
        super().__init__(thread_pool_size)
        self.on_crash: CrashHandler = on_crash or end_process

    def add_thread(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function in a new greenthread; returns its ``Thread`` before it runs."""
        thread = super().add_thread(self._guarded, callback, *args, **kwargs)
        thread.name = reflection.get_callable_name(callback)
        thread.runs_forever = getattr(callback, "runs_forever", False)
        return thread

    def _guarded(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return callback(*args, **kwargs)
        except GreenletExit:
            return None
        except SystemExit as exit_:
            self.on_crash(exit_)
        except BaseException as error:  # a stray eventlet.Timeout is none of Exception's
            LOG.exception("Thread %s died", reflection.get_callable_name(callback))
            self.on_crash(error)
        return None

    def _create_fixed_timer(self, callback: Callable[..., Any], args: Any, kwargs: Any) -> Timer:
        timer = Timer(callback, *args, **kwargs)
        timer.on_crash = self._timer_crashed
        return timer

    def _create_dynamic_timer(self, callback: Callable[..., Any], args: Any, kwargs: Any) -> DynamicTimer:
        timer = DynamicTimer(callback, *args, **kwargs)
        timer.on_crash = self._timer_crashed
        return timer

    def _timer_crashed(self, error: BaseException) -> None:
        self.on_crash(error)

    def stop(self, graceful: bool = False, timeout: float | None = None) -> list[str]:
        """Stop all timers and threads but the calling one.

        :param graceful: wait for threads and timers in progress, except for functions with an attribute
            ``runs_forever``, which ``restart_on_crash`` sets; False: kill all at once.
        :param timeout: seconds until what still runs is killed nevertheless; None: wait for ever.
        :returns: names of what was killed.
        """
        timers = list(self.timers)
        self.stop_timers()
        if graceful:
            self._drain(timers, timeout)
        killed = self._kill(timers)
        if killed and graceful:
            LOG.error("Killed, since not done within %s s: %s", timeout, ", ".join(killed))
        return killed

    def wait(self) -> None:
        """Wait for all timers and threads; at once when there are none, which costs the original 100 us."""
        if self.threads or self.timers:
            super().wait()

    def _drain(self, timers: list[Any], timeout: float | None) -> None:
        for thread in [thread for thread in self.threads if thread.runs_forever]:
            if thread.thread is not greenthread.getcurrent():
                thread.stop()
        for timer in self._running(timers):
            if getattr(timer.f, "runs_forever", False):
                greenthread.kill(timer._thread)
        with suppress(TimeoutError), time_limit(timeout):
            self._wait_threads()
            for timer in self._running(timers):
                timer._thread.wait()

    def _kill(self, timers: list[Any]) -> list[str]:
        current = greenthread.getcurrent()
        threads = [thread for thread in self.threads if thread.thread is not current]
        running = self._running(timers)
        for greenlet_ in [thread.thread for thread in threads] + [timer._thread for timer in running]:
            greenthread.kill(greenlet_)
        return [thread.name for thread in threads] + [reflection.get_callable_name(timer.f) for timer in running]

    @staticmethod
    def _running(timers: list[Any]) -> list[Any]:
        return [timer for timer in timers if timer._thread not in (None, greenthread.getcurrent())]
