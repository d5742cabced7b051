# SPDX-License-Identifier: Apache-2.0
"""The listening end of ``NOTIFY_SOCKET``, as systemd has it."""

from __future__ import annotations

import socket
import time


class ServiceManager:
    """The listening end of ``NOTIFY_SOCKET``."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def told(self, beginning: str = "", timeout: float = 60) -> str:
        """Return the next message that begins so; those before are passed over."""
        self._sock.settimeout(timeout)
        while not (message := self._sock.recv(1000).decode()).startswith(beginning):
            pass
        return message

    def told_all(self, *beginnings: str) -> list[str]:
        """Return the next message of each kind, in whatever order they come."""
        found: dict[str, str] = {}
        while len(found) < len(beginnings):
            message = self.told()
            found.update({one: message for one in beginnings if message.startswith(one) and one not in found})
        return [found[one] for one in beginnings]

    def told_within(self, seconds: float) -> list[str]:
        """Return what comes in that time; nothing of it is left for the next, however late this process wakes."""
        messages, end = [], time.monotonic() + seconds
        while True:
            try:
                messages.append(self.told(timeout=max(0, end - time.monotonic())))
            except (TimeoutError, BlockingIOError):
                return messages
