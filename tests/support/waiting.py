# SPDX-License-Identifier: Apache-2.0
"""Waiting without eventlet, whose import takes seconds in a guest (tests/kernels)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_INTERVAL_S = 0.005

_T = TypeVar("_T")


def wait_until(predicate: Callable[[], _T], timeout: float = 10.0) -> _T:
    """Wait until a predicate returns something true, and return that.

    :param timeout: seconds.
    :raises TimeoutError: it did not.
    """
    deadline = time.monotonic() + timeout
    while not (result := predicate()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {result!r} after {timeout:g} s")
        time.sleep(_INTERVAL_S)
    return result
