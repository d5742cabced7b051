# SPDX-License-Identifier: Apache-2.0
"""Polling without eventlet, whose import takes seconds in a guest (tests/kernels).

Where eventlet runs, tests wait with :func:`l3agent.testing.wait_until`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_MIN_INTERVAL_S = 0.005
_MAX_INTERVAL_S = 0.2

_T = TypeVar("_T")


def poll(predicate: Callable[[], _T], timeout: float = 10.0, *, interval: float | None = None) -> _T:
    """Call a predicate until it returns a true value, and return that.

    :param timeout: seconds.
    :param interval: seconds between two calls; by default 2 % of the time waited so far, from 5 to 200 ms.
    :raises TimeoutError: it returned none; the message has the last value.
    """
    start = time.monotonic()
    while not (result := predicate()):
        waited = time.monotonic() - start
        if waited > timeout:
            raise TimeoutError(f"still {result!r} after {timeout:g} s")
        time.sleep(interval or min(max(waited / 50, _MIN_INTERVAL_S), _MAX_INTERVAL_S))
    return result
