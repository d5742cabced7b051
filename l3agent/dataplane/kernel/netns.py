# SPDX-License-Identifier: Apache-2.0
"""Context manager that enters a network namespace and always switches back."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from l3agent.dataplane.kernel import syscalls

LOG = logging.getLogger(__name__)

#: The network namespace of the calling thread.
OWN_NAMESPACE = "/proc/thread-self/ns/net"


def own_namespace() -> int:
    """Return a descriptor of the namespace that the calling thread is in."""
    return os.open(OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def enter(home: int, fd: int | None) -> Iterator[None]:
    """Move the calling thread into a network namespace (a new one if ``fd`` is None) and always switch back.

    The process ends if it cannot: no later call may act in a wrong namespace.

    :param home: descriptor of the namespace to return to.
    """
    if fd is None:
        syscalls.unshare_net()
    else:
        syscalls.setns(fd)
    try:
        yield
    finally:
        try:
            syscalls.setns(home)
        except OSError:
            LOG.critical("cannot switch back to the own network namespace; exiting")
            os._exit(70)
