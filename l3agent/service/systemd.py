# SPDX-License-Identifier: Apache-2.0
"""Messages to the service manager that started us, by the protocol of sd_notify(3) and sd_watchdog_enabled(3).

oslo.service's own reports readiness before ``start()`` has run and then forgets the socket, so no later word can
follow.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from oslo_log import log as logging

LOG = logging.getLogger(__name__)

SOCKET, WATCHDOG_USEC, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


def notify(state: str) -> bool:
    """Send one or more assignments (``READY=1``, ``STATUS=...``, ``WATCHDOG=1``, ``STOPPING=1``), a line each.

    :returns: whether a service manager listens and got it; a failure is not an error.
    """
    address = os.environ.get(SOCKET)
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(address)
            sock.send(state.encode())
    except OSError as error:
        LOG.debug("Service manager at %s did not take %r: %s", address, state, error)
        return False
    return True


@dataclass(frozen=True, slots=True)
class Watchdog:
    """Who ends the process when it hears nothing.

    :param interval: seconds that may pass between two calls of ``feed``; None: nobody waits.
    """

    interval: float | None
    feed: Callable[[], object]


def watchdog() -> Watchdog:
    """Return the watchdog of the service manager that started this process."""
    return Watchdog(_interval(), lambda: notify("WATCHDOG=1"))


def _interval() -> float | None:
    with suppress(KeyError, ValueError):
        if os.environ.get(WATCHDOG_PID, str(os.getpid())) == str(os.getpid()):
            return int(os.environ[WATCHDOG_USEC]) / 1e6 or None
    return None


def remove_environment() -> None:
    """Forget the service manager, in a forked child: the parent alone speaks to it."""
    for name in (SOCKET, WATCHDOG_USEC, WATCHDOG_PID):
        os.environ.pop(name, None)
