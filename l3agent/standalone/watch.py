# SPDX-License-Identifier: Apache-2.0
"""Follows a topology file: reads it again when it changes, and keeps the last good one when it is bad."""

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

#: A file that was just written is read after it stayed the same this long: half of a topology is a valid one, too.
_SETTLE_S = 0.05


class TopologyWatch:
    """Looks at the file at an interval.

    :param interval: seconds between two looks.
    :param on_change: gets each topology that was read well after the first.
    """

    def __init__(self, path: Path, interval: float, on_change: Callable[[Topology], None]) -> None:
        self._path = path
        self._interval = interval
        self._on_change = on_change
        self._asked = Event()
        self._signature: Any = None

    def read_first(self) -> Topology:
        """Read the file at the start.

        :raises ConfigError: it is bad.
        """
        self._signature = _signature(self._path)
        return load(self._path)

    def read_again(self) -> None:
        """Have the file read now, changed or not."""
        if not self._asked.ready():
            self._asked.send()

    def run(self) -> None:
        """Follow the file until killed."""
        while True:
            self._asked.wait(timeout=self._interval)
            if self._asked.ready() or _signature(self._path) != self._signature:
                self._asked = Event()
                self._settle()
                self._read()

    def _settle(self) -> None:
        latest = _signature(self._path)
        self._signature = None
        while latest != self._signature:
            self._signature = latest
            eventlet.sleep(_SETTLE_S)
            latest = _signature(self._path)

    def _read(self) -> None:
        # A native thread: parsing takes 6 ms a router, and the hub must not wait for that. The function is pure.
        found = run_in_native_thread(_topology_or_problems, self._path)
        if isinstance(found, Topology):
            self._on_change(found)
            return
        for problem in found.splitlines():
            LOG.error("%s", problem)
        LOG.error("%s: not taken over, the topology stays as it was", self._path)


def _topology_or_problems(path: Path) -> Topology | str:
    """Return what a file describes, or what is wrong with it, one line each."""
    try:
        return load(path)
    except ConfigError as exc:
        return str(exc)


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is written or replaced; None where it cannot be looked at."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
