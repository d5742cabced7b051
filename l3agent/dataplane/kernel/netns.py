# SPDX-License-Identifier: Apache-2.0
"""Be in another network namespace for a moment."""

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
def visiting(home: int, fd: int | None) -> Iterator[None]:
    """Have the calling thread in a namespace, a new one for None; it always returns home, or the process ends.

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
            LOG.critical("cannot return to the own network namespace; exiting before anything lands in a wrong one")
            os._exit(70)
