# SPDX-License-Identifier: Apache-2.0
"""Notifies the service manager that this process is ready, by the protocol of sd_notify(3).

``l3agent.service.systemd`` notifies of more, but belongs to a library on eventlet.
"""

from __future__ import annotations

import logging
import os
import socket

LOG = logging.getLogger(__name__)


def notify_ready() -> None:
    """Send READY=1 if a service manager expects it; remove its socket from the environment of helper programs."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.send(b"READY=1")
    except OSError as exc:
        LOG.warning("cannot notify the service manager at %s: %s", address, exc)
