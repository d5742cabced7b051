# SPDX-License-Identifier: Apache-2.0
"""A thread for slow closing calls: nf_tables and packet sockets wait for RCU grace periods."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

LOG = logging.getLogger(__name__)


class DeferredCloser:
    """Runs closing calls in order, off the hot path."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._deferred: list[Callable[[], None]] = []
        threading.Thread(target=self._run, name="closer", daemon=True).start()

    def close(self, call: Callable[[], None]) -> None:
        """Schedule ``call``."""
        self._calls.put(call)

    def close_on_idle(self, call: Callable[[], None]) -> None:
        """Schedule ``call`` for the next :meth:`on_idle`; for the thread that calls that."""
        self._deferred.append(call)

    def on_idle(self) -> None:
        """Start the deferred calls."""
        later, self._deferred = self._deferred, []
        for call in later:
            self._calls.put(call)

    def _run(self) -> None:
        while True:
            call = self._calls.get()
            try:
                call()
            except OSError:
                LOG.exception("closing a socket failed")
