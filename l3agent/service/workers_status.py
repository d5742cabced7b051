# SPDX-License-Identifier: Apache-2.0
"""What the parent of workers reports to the service manager: readiness, slow starts, and the watchdog."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import eventlet

from l3agent.service import systemd
from l3agent.service.services import name_of
from l3agent.service.worker import Heartbeat

READY_LOOK_S = 0.05


class WorkersStatus:
    """The state of all workers, for the service manager.

    :param wraps: the services and the processes of each, as oslo.service keeps them; changed by the launcher.
    :param heartbeats: of the workers, by process; changed by the launcher.
    :param start_timeout: seconds after which a service that has not started is named.
    """

    def __init__(self, wraps: Sequence[Any], heartbeats: Mapping[int, Heartbeat], start_timeout: float) -> None:
        self.watchdog = systemd.watchdog()
        #: Whether READY=1 was sent.
        self.announced = False
        self._wraps = wraps
        self._heartbeats = heartbeats
        self._start_timeout = start_timeout

    def announce(self) -> None:
        """Report READY=1 once each worker is ready, and feed the watchdog from then on."""
        named: list[str] = []
        while not self._all_ready():
            if (slow := self._slow_starts()) and slow != named:
                systemd.notify(f"STATUS=starting, not started within {self._start_timeout:g} s: {', '.join(slow)}")
            named = slow
            eventlet.sleep(READY_LOOK_S)
        systemd.notify(f"READY=1\nSTATUS=running, {len(self._heartbeats)} workers")
        self.announced = True
        while interval := self.watchdog.interval:
            if self._all_there() and all(beat.age() < interval for beat in self._heartbeats.values()):
                self.watchdog.feed()
            eventlet.sleep(interval / 3)

    def _slow_starts(self) -> list[str]:
        """Return the services, and their workers, whose start takes too long."""
        latest = time.monotonic() - self._start_timeout
        return sorted(
            f"{name_of(wrap.service)} (worker {pid})"
            for wrap in self._wraps
            for pid in wrap.children
            if self._start_timeout and not self._heartbeats[pid].started and self._heartbeats[pid].forked_at < latest
        )

    def _all_ready(self) -> bool:
        return self._all_there() and all(beat.ready for beat in self._heartbeats.values())

    def _all_there(self) -> bool:
        """Return True if each worker that there shall be lives; some may have died a moment ago."""
        return all(len(wrap.children) == wrap.workers for wrap in self._wraps)
