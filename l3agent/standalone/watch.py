# SPDX-License-Identifier: Apache-2.0
"""Follows a topology file: reloads it when it changes, and ignores invalid versions."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import eventlet
from eventlet.event import Event
from oslo_log import log as logging

from l3agent.agent.native_thread import run_in_native_thread
from l3agent.exceptions import ConfigError
from l3agent.standalone.entities import Topology
from l3agent.standalone.topology import load

LOG = logging.getLogger(__name__)

#: Seconds without a change before the file is read: a partly written topology may be valid.
_UNCHANGED_S = 0.05


class TopologyWatch:
    """Polls the file.

    :param interval: seconds between two polls.
    :param on_change: called with each valid topology after the first.
    """

    def __init__(self, path: Path, interval: float, on_change: Callable[[Topology], None]) -> None:
        self._path = path
        self._interval = interval
        self._on_change = on_change
        self._reload_requested = Event()
        self._signature: Any = None

    def load_first(self) -> Topology:
        """Return the topology at the start.

        :raises ConfigError: the file is invalid.
        """
        self._signature = _signature(self._path)
        return load(self._path)

    def request_reload(self) -> None:
        """Schedule a reload now, even if the file has not changed."""
        if not self._reload_requested.ready():
            self._reload_requested.send()

    def run(self) -> None:
        """Follow the file until killed."""
        while True:
            self._reload_requested.wait(timeout=self._interval)
            if self._reload_requested.ready() or _signature(self._path) != self._signature:
                self._reload_requested = Event()
                self._wait_until_unchanged()
                self._reload()

    def _wait_until_unchanged(self) -> None:
        latest = _signature(self._path)
        self._signature = None
        while latest != self._signature:
            self._signature = latest
            eventlet.sleep(_UNCHANGED_S)
            latest = _signature(self._path)

    def _reload(self) -> None:
        # In a native thread, because parsing takes 6 ms per router and would block the hub. The function is pure.
        result = run_in_native_thread(_topology_or_problems, self._path)
        if isinstance(result, Topology):
            self._on_change(result)
            return
        for problem in result.splitlines():
            LOG.error("%s", problem)
        LOG.error("%s: rejected, the topology is unchanged", self._path)


def _topology_or_problems(path: Path) -> Topology | str:
    """Return the topology of a file, or its problems with one line per problem."""
    try:
        return load(path)
    except ConfigError as exc:
        return str(exc)


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Return values that change when the file is written or replaced; None if stat(2) fails."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
