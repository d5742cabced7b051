# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.service_manager import ServiceManager
from tests.support.service_process import Process


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start the program; it ends with the test at the latest."""
    processes: list[Process] = []

    def start(mode: str = "plain", workers: int = 1, **settings: Any) -> Process:
        processes.append(Process(tmp_path, mode, workers, **settings))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


@pytest.fixture
def service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        monkeypatch.chdir(tmp_path)  # the path of a socket has at most 107 bytes
        sock.bind("notify")
        monkeypatch.chdir(os.sep)
        yield ServiceManager(sock)
