# SPDX-License-Identifier: Apache-2.0
"""Limits the log lines of one statement, so that a client or another program cannot fill the disk or hide a line."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

#: Lines of one statement of the source that are written at once, and seconds until one more may be.
_BURST, _PAUSE_S = 100, 1.0
_VERDICT = "l3agent_is_written"


class LineLimit(logging.Filter):
    """Drops lines of a statement that logs too often; its next written line has the number of dropped lines.

    Lines of level DEBUG are not limited. One limit may serve several handlers.

    :param clock: returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        #: By file and line: the time at which its burst is paid off, and the lines dropped since the last one written.
        self._spent: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if a line is to be written; add the number of dropped lines to it."""
        if record.levelno <= logging.DEBUG:
            return True
        if not hasattr(record, _VERDICT):
            setattr(record, _VERDICT, self._count(record))
        return bool(getattr(record, _VERDICT))

    def _count(self, record: logging.LogRecord) -> bool:
        key = record.pathname, record.lineno
        with self._lock:
            now = self._clock()
            until, dropped = self._spent.get(key, (now, 0))
            until = max(until, now) + _PAUSE_S
            if until > now + _BURST * _PAUSE_S:
                self._spent[key] = until - _PAUSE_S, dropped + 1
                return False
            self._spent[key] = until, 0
        if dropped:
            record.msg, record.args = f"{record.getMessage()} ({dropped} more like this were not logged)", ()
        return True
