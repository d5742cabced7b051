# SPDX-License-Identifier: Apache-2.0
"""Deadlines of waits.

``eventlet.Timeout`` is no ``Exception`` and passes through most handlers. :func:`time_limit` converts it: its callers
see ``TimeoutError``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import eventlet


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Interrupt the body at any wait after ``seconds``; None: never.

    :raises TimeoutError: the time has expired.
    """
    limit = eventlet.Timeout(seconds)
    try:
        yield
    except eventlet.Timeout as expired:
        if expired is not limit:  # an outer limit has expired, which converts it
            raise
        raise TimeoutError(f"not done within {seconds:.3g} s") from None
    finally:
        limit.cancel()


class Deadline:
    """A point in time that limits several steps together.

    :param seconds: seconds from now; None: no deadline.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def remaining(self, at_least: float = 0.0) -> float | None:
        """Return the remaining seconds, not less than ``at_least``; None: no deadline."""
        return None if self._end is None else max(at_least, self._end - time.monotonic())

    def limit(self, at_least: float = 0.0) -> AbstractContextManager[None]:
        """Return a :func:`time_limit` of the remaining time, not less than ``at_least`` seconds."""
        return time_limit(self.remaining(at_least))
