# SPDX-License-Identifier: Apache-2.0
"""The methods of a service, and their calls: each under a deadline where it may hang, with errors logged."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from oslo_log import log as logging

from l3agent.exceptions import ConfigError, PermissionMissing, TransientError
from l3agent.rpc.deadline import Deadline, time_limit
from l3agent.service.threadgroup import ThreadGroup

LOG = logging.getLogger(__name__)

EX_NOPERM = 77  # sysexits(3)
EX_CONFIG = 78
#: Errors of a start that are logged as one line without a traceback, and their exit statuses.
_ONE_LINE_ERRORS = ((ConfigError, EX_CONFIG), (PermissionMissing, EX_NOPERM), (TransientError, 1))
# Minimum seconds for the stop of each service, even if earlier ones have used up the time.
MIN_STOP_S = 0.5
# Seconds for healthy() or ready() to return.
ANSWER_LIMIT_S = 1.0


@runtime_checkable
class ServiceLike(Protocol):
    """The four methods of a service, as oslo.service's ``ServiceBase`` names them.

    Two more are optional, ``healthy() -> bool`` and ``ready() -> bool``: see ``Services.list_unhealthy`` and
    ``Services.list_not_ready``.
    """

    def start(self) -> None:
        """Start; return when the service works."""

    def stop(self) -> Any:
        """Stop; safe at any time, also before ``start``."""

    def wait(self) -> None:
        """Wait until the service has stopped.

        Called after ``start`` has returned, again after each reset, and after ``stop``, even without a start.
        """

    def reset(self) -> None:
        """Apply changed options."""


def start_service(service: ServiceLike) -> None:
    """Call ``start()``; see :meth:`l3agent.service.Services.run_service` for the status of a failure."""
    try:
        service.start()
    except (ConfigError, PermissionMissing, TransientError) as error:
        LOG.critical("%s", error)
        raise SystemExit(next(status for kind, status in _ONE_LINE_ERRORS if isinstance(error, kind))) from error
    except Exception as error:
        LOG.exception("Error starting %s", name_of(service))
        raise SystemExit(1) from error


def reset_service(service: ServiceLike) -> None:
    """Reset one service; an error is logged."""
    try:
        service.reset()
    except Exception:
        LOG.exception("Error resetting %s, it continues with its old options", name_of(service))


def stop_service(service: ServiceLike, deadline: Deadline) -> bool:
    """Stop one service and wait for its end; return soon after the deadline in any case.

    :returns: False if ``stop()`` returned False or raised, or the deadline has passed.
    """
    try:
        with deadline.limit(at_least=MIN_STOP_S):
            succeeded = service.stop() is not False
            service.wait()
    except TimeoutError:
        LOG.error("%s did not stop in time; killed: %s", name_of(service), ", ".join(_kill(service)) or "nothing")
        return False
    except Exception:
        LOG.exception("Error stopping %s", name_of(service))
        return False
    return succeeded


def _kill(service: ServiceLike) -> list[str]:
    """Kill the remaining threads and timers of a service; return their names."""
    group = getattr(service, "tg", None)
    return group.stop() if isinstance(group, ThreadGroup) else []


def query_service(service: Any, what: str) -> bool:
    """Return the result of an optional method of a service, True if it has none, False on an error or a timeout."""
    try:
        with time_limit(ANSWER_LIMIT_S):
            return bool(getattr(service, what, lambda: True)())
    except Exception:
        LOG.exception("Error checking if %s is %s", name_of(service), what)
        return False


def name_of(service: ServiceLike) -> str:
    """Return the name of a service for the log: its ``binary``, or its class."""
    return str(getattr(service, "binary", None) or type(service).__name__)
