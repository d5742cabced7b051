# SPDX-License-Identifier: Apache-2.0
"""Connections to haproxy, and the answer while it is not running."""

from __future__ import annotations

import os
import socket
from struct import Struct

from l3agent.metadata.log import log, log_limited

#: struct ucred (unix(7)): process, user and group.
_UCRED = Struct("iII")
_BODY = b"The metadata proxy of this node is not running.\n"
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


class Upstream:
    """The unix socket of haproxy.

    :ivar error: why the last connection failed, or None.
    """

    def __init__(self) -> None:
        self.error: str | None = None
        self._is_error_logged = False
        self._users = (0, os.geteuid())

    def connect(self, path: str, header: bytes, data: bytes) -> socket.socket | None:
        """Return a connection on which the header and the data have been sent; None if haproxy is not running.

        Nothing is sent to a process of another user than root and that of this process.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(path)
            _, user, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
            if user not in self._users:
                raise PermissionError(f"user {user} listens there")
            # The buffer of a new unix socket is far greater (net.core.wmem_default).
            if sock.sendmsg([header, data]) != len(header) + len(data):
                raise BlockingIOError("its buffer is full")
        except OSError as exc:
            sock.close()
            self._set_error(path, f"{path}: {exc}")
            return None
        self._set_error(path, None)
        return sock

    def _set_error(self, path: str, error: str | None) -> None:
        """Record the state; log its changes, but not each of a socket that is full now and then."""
        if error == self.error:
            return
        self.error = error
        if error is not None:
            text = f"haproxy: {error}; requests are answered with 503"
            self._is_error_logged = log_limited("haproxy", text) or self._is_error_logged
        elif self._is_error_logged:
            self._is_error_logged = False
            log(f"haproxy: {path}: available again")
