# SPDX-License-Identifier: Apache-2.0
"""Timers of a ``ThreadGroup``: oslo.service's, without drift, and with a report when an error ends them."""

from __future__ import annotations

import math
import time
from typing import Any

from greenlet import GreenletExit
from oslo_log import log as logging
from oslo_service import loopingcall
from oslo_utils import reflection

from l3agent.service.crash import CrashHandler

LOG = logging.getLogger(__name__)


class _CrashReporting:
    """A looping call that reports the error that ends it."""

    #: Called with the error; None: ``wait`` raises it, as in oslo.service.
    on_crash: CrashHandler | None = None

    def _run_loop(self, *args: Any, **kwargs: Any) -> None:
        """Run, and report errors that are no ``Exception``; the original handles the others."""
        try:
            super()._run_loop(*args, **kwargs)  # type: ignore[misc]
        except GreenletExit:
            raise
        except BaseException as error:
            if self.on_crash is None:
                raise
            if not isinstance(error, SystemExit):
                LOG.exception("Timer %s died", reflection.get_callable_name(self.f))  # type: ignore[attr-defined]
            self.on_crash(error)

    def _send_exception(self, exc_type: Any, exc_value: BaseException, tb: Any) -> None:
        super()._send_exception(exc_type, exc_value, tb)  # type: ignore[misc]
        if self.on_crash is not None:
            self.on_crash(exc_value)


class Timer(_CrashReporting, loopingcall.FixedIntervalLoopingCall):  # type: ignore[misc]
    """Calls a function at fixed points in time, and stops without waiting.

    Each call is due one interval after the due time of the last, regardless of its duration. Points in time that pass
    during a call are skipped and counted in ``overruns``.
    """

    overruns = 0

    def start(self, interval: float, initial_delay: float | None = None, stop_on_exception: bool = True) -> Any:
        """Start calling: first after ``initial_delay`` seconds, then every ``interval`` seconds.

        :param stop_on_exception: an error of the function ends the timer; False: log it and continue.
        :returns: an event that is sent at the end.
        """
        due = time.monotonic() + (initial_delay or 0)

        def idle_for(_result: Any, _elapsed: float) -> float:
            nonlocal due
            now = time.monotonic()
            intervals = max(1, math.ceil((now - due) / interval))
            self.overruns += intervals - 1
            due += interval * intervals
            return max(0.0, due - now)

        return self._start(idle_for, initial_delay=initial_delay, stop_on_exception=stop_on_exception)


class DynamicTimer(_CrashReporting, loopingcall.DynamicLoopingCall):  # type: ignore[misc]
    """Calls a function, which returns the seconds until its next call."""
