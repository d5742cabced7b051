# SPDX-License-Identifier: Apache-2.0
"""Reports of the parent of workers to the service manager: readiness, slow starts, and the watchdog."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import eventlet

from l3agent.service import systemd
from l3agent.service.service_calls import name_of
from l3agent.service.worker import Heartbeat

READY_POLL_S = 0.05


class WorkersStatus:
    """Reports the state of all workers to the service manager.

    :param wraps: oslo.service's wrappers of the services with their processes; the launcher changes them.
    :param heartbeats: heartbeats of the workers by process id; the launcher changes them.
    :param start_timeout: seconds after which a service that has not started is reported.
    """

    def __init__(self, wraps: Sequence[Any], heartbeats: Mapping[int, Heartbeat], start_timeout: float) -> None:
        self.watchdog = systemd.watchdog()
        #: True if READY=1 was sent.
        self.is_ready_sent = False
        self._wraps = wraps
        self._heartbeats = heartbeats
        self._start_timeout = start_timeout

    def report_readiness(self) -> None:
        """Send READY=1 when each worker is ready; notify the watchdog from then on. Run it in a greenthread."""
        reported: list[str] = []
        while not self._all_ready():
            if (slow := self._slow_starts()) and slow != reported:
                systemd.notify(f"STATUS=starting, not started within {self._start_timeout:g} s: {', '.join(slow)}")
            reported = slow
            eventlet.sleep(READY_POLL_S)
        systemd.notify(f"READY=1\nSTATUS=running, {len(self._heartbeats)} workers")
        self.is_ready_sent = True
        while interval := self.watchdog.interval:
            if self._all_running() and all(beat.age() < interval for beat in self._heartbeats.values()):
                self.watchdog.feed()
            eventlet.sleep(interval / 3)

    def _slow_starts(self) -> list[str]:
        """Return the services whose start exceeds ``start_timeout``, each with its worker."""
        latest = time.monotonic() - self._start_timeout
        return sorted(
            f"{name_of(wrap.service)} (worker {pid})"
            for wrap in self._wraps
            for pid in wrap.children
            if self._start_timeout and not self._heartbeats[pid].started and self._heartbeats[pid].forked_at < latest
        )

    def _all_ready(self) -> bool:
        return self._all_running() and all(beat.ready for beat in self._heartbeats.values())

    def _all_running(self) -> bool:
        """Return True if each service has all of its workers; a recently dead one may still be counted."""
        return all(len(wrap.children) == wrap.workers for wrap in self._wraps)
