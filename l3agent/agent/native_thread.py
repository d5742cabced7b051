# SPDX-License-Identifier: Apache-2.0
"""Runs a long computation in a native thread, so that the hub serves the other greenthreads meanwhile.

The interpreter gives its lock to the hub's thread within 5 ms (``sys.getswitchinterval``).
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from eventlet import patcher, tpool

R = TypeVar("R")


def run_in_native_thread(call: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """Return or raise what a pure function does; the calling greenthread waits."""
    use_native_locks()
    result: R = tpool.execute(call, *args, **kwargs)
    return result


def use_native_locks() -> None:
    """Give the cached properties of ``ipaddress`` native locks; doing it twice is harmless.

    Until Python 3.12 each has a lock for all networks of the process, and eventlet makes those green that it finds when
    it patches. A native thread that holds one cannot wake a greenthread: it would wait for ever. Nothing yields while
    it holds one, so a native lock is never waited for longer than for a few instructions.
    """
    for one in vars(ipaddress._BaseNetwork).values():
        if isinstance(getattr(one, "lock", None), threading._RLock):
            one.lock = patcher.original("_thread").RLock()
