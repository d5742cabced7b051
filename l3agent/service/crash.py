# SPDX-License-Identifier: Apache-2.0
"""What the death of a thread does to its process.

``fatal``, the default: the services stop, in order, and the process ends with status 70. A half-dead agent looks alive
to everybody who could restart it. ``restart``: a thread whose function is wrapped in :func:`restart_on_crash` begins
again.
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
    """Return the exit status a process ends with when a thread of it died of ``error``."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return EX_SOFTWARE


def end_process(error: BaseException) -> None:
    """End the process by what its main greenthread waits in; eventlet carries SystemExit there."""
    raise SystemExit(status_of(error)) from error


def restart_on_crash(
    function: Callable[..., Any], *, delay_min: float = 1.0, delay_max: float = 60.0
) -> Callable[..., Any]:
    """Return a function that calls this one again whenever it dies.

    Use it as ``tg.add_thread(restart_on_crash(self.listen))``.


    The first time after ``delay_min`` seconds, then after twice the time each, up to ``delay_max``; a run that lasted
    that long begins anew with ``delay_min``. It ends when the function returns, is killed, or raises SystemExit. A stop
    of its group does not wait for it: what begins again for ever has no end to wait for.
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
            except BaseException:  # a stray eventlet.Timeout is none of Exception's
                if time.monotonic() - started >= delay_max:
                    delay = delay_min
                LOG.exception("%s died, begins again in %.3g s", reflection.get_callable_name(function), delay)
            eventlet.sleep(delay)
            delay = min(2 * delay, delay_max)

    run.runs_forever = True  # type: ignore[attr-defined]
    return run
