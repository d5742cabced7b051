# SPDX-License-Identifier: Apache-2.0
"""Runs a long computation in a native thread, so that the hub serves the other greenthreads meanwhile.

The interpreter passes its lock to the thread of the hub within 5 ms (``sys.getswitchinterval``).
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from eventlet import patcher, tpool

R = TypeVar("R")


def run_in_native_thread(call: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """Return the result of a pure function, or raise its exception; the calling greenthread waits."""
    use_native_locks()
    result: R = tpool.execute(call, *args, **kwargs)
    return result


def use_native_locks() -> None:
    """Replace the locks of the cached properties of ``ipaddress`` by native ones. Idempotent.

    Before Python 3.12 each has one lock for all networks of the process, and eventlet replaces existing locks with
    green ones when it patches. A native thread that holds one cannot wake a greenthread, which then waits forever. No
    holder yields, so the wait for a native lock lasts a few instructions.
    """
    for one in vars(ipaddress._BaseNetwork).values():
        if isinstance(getattr(one, "lock", None), threading._RLock):
            one.lock = patcher.original("_thread").RLock()
