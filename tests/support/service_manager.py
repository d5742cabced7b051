# SPDX-License-Identifier: Apache-2.0
"""The listening end of ``NOTIFY_SOCKET``, as systemd has it."""

from __future__ import annotations

import socket
import time


class ServiceManager:
    """The listening end of ``NOTIFY_SOCKET``."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def receive(self, beginning: str = "", timeout: float = 60) -> str:
        """Return the next message with this beginning; skip others."""
        self._sock.settimeout(timeout)
        while not (message := self._sock.recv(1000).decode()).startswith(beginning):
            pass
        return message

    def receive_all(self, *beginnings: str) -> list[str]:
        """Return the next message with each beginning, received in any order."""
        found: dict[str, str] = {}
        while len(found) < len(beginnings):
            message = self.receive()
            found.update({one: message for one in beginnings if message.startswith(one) and one not in found})
        return [found[one] for one in beginnings]

    def receive_within(self, seconds: float) -> list[str]:
        """Return all messages received within a time; also those that arrive before this process wakes up."""
        messages, end = [], time.monotonic() + seconds
        while True:
            try:
                messages.append(self.receive(timeout=max(0, end - time.monotonic())))
            except (TimeoutError, BlockingIOError):
                return messages
