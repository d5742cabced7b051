# SPDX-License-Identifier: Apache-2.0
"""What each worker has in hand, and whether it moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import eventlet


@dataclass(slots=True)
class _Work:
    """A router that a worker has: since when, and since when nothing of the server is missing for it."""

    router_id: str
    since: float
    goes_on_since: float


class InHand:
    """The routers in the hands of workers, by their greenthreads.

    :param limit: seconds that a worker may take that has what it needs of the server; one beyond them is stuck.
    :param is_awaited: tells of a router whether its worker waits for the server. That has an end, since each call has,
        but there may be calls of others before its own.
    """

    def __init__(self, limit: float, is_awaited: Callable[[str], bool]) -> None:
        self.limit = limit
        self._is_awaited = is_awaited
        self._work: dict[Any, _Work] = {}

    def __len__(self) -> int:
        return len(self._work)

    def take(self, router_id: str) -> None:
        """The calling worker has a router from now on."""
        now = time.monotonic()
        self._work[eventlet.getcurrent()] = _Work(router_id, now, now)

    def go_on(self) -> None:
        """The calling worker has what it waited for of the server."""
        self._work[eventlet.getcurrent()].goes_on_since = time.monotonic()

    def lay_down(self) -> None:
        """The calling worker has no router any more; safe also where it never had one."""
        self._work.pop(eventlet.getcurrent(), None)

    def ages(self) -> dict[str, float]:
        """Return for how many seconds each router is in the hand of a worker."""
        now = time.monotonic()
        return {work.router_id: now - work.since for work in self._work.values()}

    def stuck(self) -> list[str]:
        """Return in words what does not move any more."""
        now = time.monotonic()
        return [
            f"router {work.router_id}: its worker is busy for {now - work.goes_on_since:.0f} s"
            for work in self._work.values()
            if now - work.goes_on_since > self.limit and not self._is_awaited(work.router_id)
        ]
