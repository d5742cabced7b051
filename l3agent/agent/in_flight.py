# SPDX-License-Identifier: Apache-2.0
"""Tracks the router each worker processes and detects stuck workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import eventlet


@dataclass(slots=True)
class _Work:
    """A router in a worker: when its processing started, and when the worker last got an answer of the server."""

    router_id: str
    started_at: float
    progress_at: float


class InFlight:
    """The routers that workers process, by greenthread.

    :param limit: seconds after which a worker that waits for no answer of the server is stuck.
    :param is_awaited: returns True if the worker of a router waits for the server. Such a wait ends, since each call
        has a deadline, but other calls may precede it.
    """

    def __init__(self, limit: float, is_awaited: Callable[[str], bool]) -> None:
        self.limit = limit
        self._is_awaited = is_awaited
        self._work: dict[Any, _Work] = {}

    def __len__(self) -> int:
        return len(self._work)

    def start(self, router_id: str) -> None:
        """Record that the calling worker starts to process a router."""
        now = time.monotonic()
        self._work[eventlet.getcurrent()] = _Work(router_id, now, now)

    def record_fetch(self) -> None:
        """Record that the calling worker has received the answer of the server."""
        self._work[eventlet.getcurrent()].progress_at = time.monotonic()

    def finish(self) -> None:
        """Mark the calling worker idle. Idempotent."""
        self._work.pop(eventlet.getcurrent(), None)

    def ages(self) -> dict[str, float]:
        """Return the seconds since the start of its processing, by router id."""
        now = time.monotonic()
        return {work.router_id: now - work.started_at for work in self._work.values()}

    def stuck(self) -> list[str]:
        """Return one message per stuck worker."""
        now = time.monotonic()
        return [
            f"router {work.router_id}: its worker is busy for {now - work.progress_at:.0f} s"
            for work in self._work.values()
            if now - work.progress_at > self.limit and not self._is_awaited(work.router_id)
        ]
