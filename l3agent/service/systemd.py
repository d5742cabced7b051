# SPDX-License-Identifier: Apache-2.0
"""Messages to the service manager, by the protocol of sd_notify(3) and sd_watchdog_enabled(3).

oslo.service's implementation reports readiness before ``start()`` has run and then removes the address of the socket,
so that no later message is possible.
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
    """Send assignments (``READY=1``, ``STATUS=...``, ``WATCHDOG=1``, ``STOPPING=1``), one per line.

    :returns: True if a service manager received them; a failure is logged and raises nothing.
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
        LOG.debug("Cannot notify the service manager at %s of %r: %s", address, state, error)
        return False
    return True


@dataclass(frozen=True, slots=True)
class Watchdog:
    """The watchdog of a process: a peer that ends it when notifications stop.

    :param interval: maximum seconds between two calls of ``feed``; None: there is no watchdog.
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
    """Remove the service manager's variables in a forked child: only the parent sends notifications."""
    for name in (SOCKET, WATCHDOG_USEC, WATCHDOG_PID):
        os.environ.pop(name, None)
