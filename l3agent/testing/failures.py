# SPDX-License-Identifier: Apache-2.0
"""Scheduled failures of a fake."""

from __future__ import annotations

from collections import defaultdict, deque


class Failures:
    """Errors to raise, by the name of the operation."""

    def __init__(self) -> None:
        self._scheduled: defaultdict[str, deque[BaseException]] = defaultdict(deque)

    def schedule(self, name: str, error: BaseException, times: int) -> None:
        """Schedule an error for the next ``times`` uses of an operation, after the errors scheduled before."""
        self._scheduled[name].extend([error] * times)

    def raise_next(self, name: str) -> None:
        """Raise the next error scheduled for an operation, if any."""
        if self._scheduled[name]:
            raise self._scheduled[name].popleft()
