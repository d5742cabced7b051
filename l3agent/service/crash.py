# SPDX-License-Identifier: Apache-2.0
"""Consequences of the death of a thread for its process.

By default the services stop in order and the process ends with status 70: a service manager cannot detect an agent
that lacks a thread. A thread whose function is wrapped in :func:`restart_on_crash` runs the function again instead.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import eventlet
from greenlet import GreenletExit
from oslo_log import log as logging
from oslo_utils import reflection

LOG = logging.getLogger(__name__)

EX_SOFTWARE = 70  # sysexits(3): an internal error

CrashHandler = Callable[[BaseException], None]


def status_of(error: BaseException) -> int:
    """Return the exit status of a process after ``error`` ended one of its threads."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return EX_SOFTWARE


def end_process(error: BaseException) -> None:
    """Raise SystemExit, which eventlet passes on to the main greenthread; this ends the process."""
    raise SystemExit(status_of(error)) from error


def restart_on_crash(
    function: Callable[..., Any], *, delay_min: float = 1.0, delay_max: float = 60.0
) -> Callable[..., Any]:
    """Wrap a function so that it is called again after an error, with exponential back-off.

    Use it as ``tg.add_thread(restart_on_crash(self.listen))``. The thread ends when the function returns, is killed, or
    raises SystemExit. A graceful stop of its group kills it without waiting, since the function may run for ever.

    :param delay_min: seconds before the first restart; the delay doubles with each error.
    :param delay_max: upper bound of the delay in seconds; a run of at least this time resets it to ``delay_min``.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        delay = delay_min
        while True:
            started = time.monotonic()
            try:
                return function(*args, **kwargs)
            except (GreenletExit, SystemExit):
                raise
            except BaseException:  # eventlet.Timeout is no Exception
                if time.monotonic() - started >= delay_max:
                    delay = delay_min
                LOG.exception("%s died, restarting in %.3g s", reflection.get_callable_name(function), delay)
            eventlet.sleep(delay)
            delay = min(2 * delay, delay_max)

    run.runs_forever = True  # type: ignore[attr-defined]
    return run
