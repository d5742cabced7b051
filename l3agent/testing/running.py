# SPDX-License-Identifier: Apache-2.0
"""Services for the time of a block, and waiting for what they do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import eventlet

from l3agent.service.services import ServiceLike, Services

_LOOK_S = 0.005

_T = TypeVar("_T")


@contextmanager
def running(*services: ServiceLike, timeout: float = 10.0) -> Iterator[Services]:
    """Start services in order, and stop them in reverse order when the block ends.

    :param timeout: seconds for all to start, and again for all to stop.
    :raises TimeoutError: they did not start in time.
    """
    container = Services(stop_timeout=timeout)
    for service in services:
        container.add(service)
    try:
        with eventlet.Timeout(timeout, TimeoutError(f"services not started within {timeout:g} s")):
            container.wait_started()
        yield container
    finally:
        container.stop()


def wait_until(predicate: Callable[[], _T], timeout: float = 10.0) -> _T:
    """Wait until a predicate says something true, and return that.

    :param timeout: seconds.
    :raises TimeoutError: it did not.
    """
    deadline = time.monotonic() + timeout
    while not (result := predicate()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {result!r} after {timeout:g} s")
        eventlet.sleep(_LOOK_S)
    return result
