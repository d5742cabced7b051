# SPDX-License-Identifier: Apache-2.0
"""Word to the service manager that this process serves, by the protocol of sd_notify(3).

``l3agent.service.systemd`` says more, but belongs to a library on eventlet.
"""

from __future__ import annotations

import logging
import os
import socket

LOG = logging.getLogger(__name__)


def tell_ready() -> None:
    """Send READY=1 where a service manager asks for it; helper programs shall not find its socket."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.send(b"READY=1")
    except OSError as exc:
        LOG.warning("the service manager at %s was not told: %s", address, exc)
