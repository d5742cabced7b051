# SPDX-License-Identifier: Apache-2.0
"""Logs failures by cause: the first at once, repetitions as one line with a count at growing intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import eventlet

#: Seconds from the first line of a cause to the second one, and between the following ones. Ten minutes are six lines.
FIRST_S, THEN_S = 10.0, 120.0
#: Maximum number of causes that are counted separately; further causes share one count.
_CAUSES_MAX = 100
_OTHER = "other causes"


class FailureLog:
    """Coalesces the log lines of failures that have one cause.

    :param log: the logger, with the methods of ``oslo_log``.
    :param first: seconds from the first line of a cause to the second one.
    :param then: seconds between the following ones; a cause is forgotten after such a time without a failure.
    """

    def __init__(self, log: Any, *, first: float = FIRST_S, then: float = THEN_S) -> None:
        self._log = log
        self._first = first
        self._then = then
        self._counts: dict[str, int] = {}
        self._last: dict[str, tuple[str, tuple[Any, ...]]] = {}

    def warning(self, cause: str, message: str, *args: Any, **kwargs: Any) -> None:
        """Log a failure as a warning, or count it.

        :param cause: text that is equal for failures of one cause.
        :param kwargs: for the logger.
        """
        self._record(cause, self._log.warning, message, args, kwargs)

    def exception(self, cause: str, message: str, *args: Any, **kwargs: Any) -> None:
        """Log an unexpected exception with its traceback, or count it."""
        self._record(cause, self._log.exception, message, args, kwargs)

    def _record(
        self, cause: str, emit: Callable[..., None], message: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if cause not in self._counts and len(self._counts) >= _CAUSES_MAX:
            cause = _OTHER
        if cause in self._counts:
            self._counts[cause] += 1
            self._last[cause] = message, args
            return
        self._counts[cause] = 0
        emit(message, *args, **kwargs)
        eventlet.spawn_n(self._summarise, cause)

    def _summarise(self, cause: str) -> None:
        """Log the count of a cause at each interval, until there was no failure for a whole one."""
        eventlet.sleep(self._first)
        self._log_count(cause, self._first)
        while True:
            eventlet.sleep(self._then)
            if not self._log_count(cause, self._then):
                break
        del self._counts[cause]

    def _log_count(self, cause: str, interval: float) -> int:
        count, self._counts[cause] = self._counts[cause], 0
        if count:
            message, args = self._last.pop(cause)
            self._log.warning("%d more failures in %g s, the last one: %s", count, interval, message % args)
        return count
