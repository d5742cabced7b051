# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.service.processes import Process


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start the program; it ends with the test at the latest."""
    processes: list[Process] = []

    def start(mode: str = "plain", workers: int = 1, **settings: str) -> Process:
        processes.append(Process(tmp_path, mode, workers, **settings))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


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


@pytest.fixture
def service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        monkeypatch.chdir(tmp_path)  # the path of a socket has at most 107 bytes
        sock.bind("notify")
        monkeypatch.chdir(os.sep)
        yield ServiceManager(sock)
