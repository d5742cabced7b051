# SPDX-License-Identifier: Apache-2.0
"""Runs services for the duration of a block, and waits for conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import eventlet

from l3agent.service.service_calls import ServiceLike
from l3agent.service.services import Services

_POLL_INTERVAL_S = 0.005

_T = TypeVar("_T")


@contextmanager
def running(*services: ServiceLike, timeout: float = 10.0) -> Iterator[Services]:
    """Start services in order, and stop them in reverse order at the end of the block.

    :param timeout: seconds for the start of all, and again for the stop of all.
    :raises TimeoutError: the services have not started in time.
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
    """Poll a predicate until its result is true, and return the result.

    :param timeout: seconds.
    :raises TimeoutError: the result is still false.
    """
    deadline = time.monotonic() + timeout
    while not (result := predicate()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {result!r} after {timeout:g} s")
        eventlet.sleep(_POLL_INTERVAL_S)
    return result
