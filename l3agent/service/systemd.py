# SPDX-License-Identifier: Apache-2.0
"""Messages to the service manager that started us, by the protocol of sd_notify(3).

oslo.service's own reports readiness before ``start()`` has run and then forgets the socket, so no later word can
follow.
"""

from __future__ import annotations

import os
import socket

from oslo_log import log as logging

LOG = logging.getLogger(__name__)

SOCKET = "NOTIFY_SOCKET"


def notify(state: str) -> bool:
    """Send one or more assignments (``READY=1``, ``STATUS=...``, ``RELOADING=1``, ``STOPPING=1``), a line each.

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
