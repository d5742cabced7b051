# SPDX-License-Identifier: Apache-2.0
"""The greenthreads that a server works its messages off in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from eventlet.greenpool import GreenPool
from oslo_log import log as logging

LOG = logging.getLogger(__name__)


class MessagePool:
    """An executor as oslo.messaging's servers want it: a message a greenthread, so many at a time, the others in turn.

    futurist's, which they take of themselves, makes a future for each message, with its condition and its locks, that
    nobody ever asks; without them a small call costs an eighth less.

    :param max_workers: most messages in work at a time.
    """

    def __init__(self, max_workers: int) -> None:
        self._pool = GreenPool(max_workers)
        self._waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def submit(self, work: Callable[..., object], *args: Any) -> None:
        """Have a message worked off; never waits."""
        self._waiting.append((work, args))
        if self._pool.free() > 0:
            self._pool.spawn_n(self._process_waiting)

    def _process_waiting(self) -> None:
        while self._waiting:
            work, args = self._waiting.popleft()
            try:
                work(*args)
            except BaseException:  # the server sees to any Exception; what is none must not cost the next message
                LOG.exception("A message was not worked off")

    @property
    def in_flight(self) -> int:
        """How many messages are in work or wait for it."""
        return int(self._pool.running()) + len(self._waiting)

    def shutdown(self, wait: bool = True) -> None:
        """Wait until all messages are worked off; nobody brings more by then."""
        if wait:
            self._pool.waitall()
