# SPDX-License-Identifier: Apache-2.0
"""Makes oslo.log's mutex for the asyncio hub a context manager, as ``logging`` of Python 3.13 requires.

No other module uses these private names of oslo.log.
"""

from __future__ import annotations

from typing import Any

from eventlet import hubs


def complete_log_mutex() -> None:
    """Add the missing methods to the mutex of the asyncio hub; call it before ``oslo_log.log.setup``. Idempotent.

    ``logging.Handler.handle`` calls ``acquire`` and ``release`` up to Python 3.12, and ``__enter__`` and ``__exit__``
    since 3.13. oslo.log 8.3 lacks the latter on its pipe mutex, so the first record of a process raises.
    """
    if type(hubs.get_hub()).__module__ != "eventlet.hubs.asyncio":
        return
    from oslo_log import pipe_mutex

    mutex = pipe_mutex.PipeMutex
    if not hasattr(mutex, "__enter__"):
        mutex.__enter__ = _enter
        mutex.__exit__ = _exit


def _enter(mutex: Any) -> Any:
    mutex.acquire()
    return mutex


def _exit(mutex: Any, *exc_info: object) -> None:
    mutex.release()
