# SPDX-License-Identifier: Apache-2.0
"""Deadlines: every wait has one.

``eventlet.Timeout`` is no ``Exception`` and passes through most handlers, so it ends here: outside of
:func:`time_limit` a wait that took too long is a ``TimeoutError``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import eventlet


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Interrupt the body, wherever it waits, when it takes longer than ``seconds``; None: never.

    :raises TimeoutError: it took longer.
    """
    limit = eventlet.Timeout(seconds)
    try:
        yield
    except eventlet.Timeout as expired:
        if expired is not limit:  # a limit further out ran down, and is converted there
            raise
        raise TimeoutError(f"not done within {seconds:.3g} s") from None
    finally:
        limit.cancel()


class Deadline:
    """A point in time that several steps share.

    :param seconds: from now; None: never.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def remaining(self, at_least: float = 0.0) -> float | None:
        """Return the seconds left, not less than ``at_least``; None: no deadline."""
        return None if self._end is None else max(at_least, self._end - time.monotonic())

    def limit(self, at_least: float = 0.0) -> AbstractContextManager[None]:
        """Return a :func:`time_limit` of what is left, not less than ``at_least`` seconds."""
        return time_limit(self.remaining(at_least))
