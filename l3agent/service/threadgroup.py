# SPDX-License-Identifier: Apache-2.0
"""The greenthreads and timers of one service.

oslo.service's ``ThreadGroup`` with these differences: the number of threads is not limited, the death of a thread is
always reported, timers do not drift, and a stop can drain: wait for work in progress until a deadline, then kill and
log the remainder.
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

    :param thread_pool_size: maximum number of threads, beyond which ``add_thread`` waits; default: unlimited.
    :param on_crash: called with an error that ends a thread or timer. By default the error ends the process; a
        ``Services`` container to which the group's service is added replaces it by an orderly stop.
    """

    def __init__(self, thread_pool_size: int = sys.maxsize, *, on_crash: CrashHandler | None = None) -> None:
        super().__init__(thread_pool_size)
        self.on_crash: CrashHandler = on_crash or end_process

    def add_thread(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function in a new greenthread; return its ``Thread`` without waiting for it."""
        thread = super().add_thread(self._run_guarded, callback, *args, **kwargs)
        thread.name = reflection.get_callable_name(callback)
        thread.runs_forever = getattr(callback, "runs_forever", False)
        return thread

    def _run_guarded(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return callback(*args, **kwargs)
        except GreenletExit:
            return None
        except SystemExit as exit_:
            self.on_crash(exit_)
        except BaseException as error:  # eventlet.Timeout is no Exception
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
        """Stop all timers and threads except the calling one.

        :param graceful: wait for threads and timers in progress, except for functions with an attribute
            ``runs_forever``, which ``restart_on_crash`` sets; False: kill all at once.
        :param timeout: seconds until the remainder is killed; None: no limit.
        :returns: names of killed threads and timers.
        """
        timers = list(self.timers)
        self.stop_timers()
        if graceful:
            self._drain(timers, timeout)
        killed = self._kill(timers)
        if killed and graceful:
            LOG.error("Killed after %s s: %s", timeout, ", ".join(killed))
        return killed

    def wait(self) -> None:
        """Wait for all timers and threads; return at once if there are none, for which the original needs 100 us."""
        if self.threads or self.timers:
            super().wait()

    def _drain(self, timers: list[Any], timeout: float | None) -> None:
        for thread in [thread for thread in self.threads if thread.runs_forever]:
            if thread.thread is not greenthread.getcurrent():
                thread.stop()
        for timer in self._running_timers(timers):
            if getattr(timer.f, "runs_forever", False):
                greenthread.kill(timer._thread)
        with suppress(TimeoutError), time_limit(timeout):
            self._wait_threads()
            for timer in self._running_timers(timers):
                timer._thread.wait()

    def _kill(self, timers: list[Any]) -> list[str]:
        current = greenthread.getcurrent()
        threads = [thread for thread in self.threads if thread.thread is not current]
        running = self._running_timers(timers)
        for greenlet_ in [thread.thread for thread in threads] + [timer._thread for timer in running]:
            greenthread.kill(greenlet_)
        return [thread.name for thread in threads] + [reflection.get_callable_name(timer.f) for timer in running]

    @staticmethod
    def _running_timers(timers: list[Any]) -> list[Any]:
        return [timer for timer in timers if timer._thread not in (None, greenthread.getcurrent())]
