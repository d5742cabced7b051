# SPDX-License-Identifier: Apache-2.0
"""Failures that a fake is told to have."""

from __future__ import annotations

from collections import defaultdict, deque


class Failures:
    """Errors to raise, by the name of what shall fail."""

    def __init__(self) -> None:
        self._planned: defaultdict[str, deque[BaseException]] = defaultdict(deque)

    def schedule(self, name: str, error: BaseException, times: int) -> None:
        """Have the next ``times`` uses of ``name`` fail, after those planned before."""
        self._planned[name].extend([error] * times)

    def raise_next(self, name: str) -> None:
        """Raise the error that is next for this name, if any."""
        if self._planned[name]:
            raise self._planned[name].popleft()
