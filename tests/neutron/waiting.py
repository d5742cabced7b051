# SPDX-License-Identifier: Apache-2.0
"""Waiting for what takes seconds, without eating the processor that it needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def wait_for(predicate: Callable[[], _T], timeout: float, *, every: float = 0.2) -> _T:
    """Look every few tenths of a second until a predicate says something true, and return that.

    :param timeout: seconds.
    :param every: seconds between two looks.
    :raises TimeoutError: it did not; the message has what it said last.
    """
    deadline = time.monotonic() + timeout
    while not (result := predicate()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {result!r} after {timeout:g} s")
        time.sleep(every)
    return result
