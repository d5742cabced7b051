# SPDX-License-Identifier: Apache-2.0
"""Privileges of the data plane: descriptor limit, access to files as another user, capabilities."""

from __future__ import annotations

import fcntl
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from l3agent.dataplane.kernel import syscalls
from l3agent.exceptions import PermissionMissing

LOG = logging.getLogger(__name__)

#: linux/capability.h: KILL 5, SETGID 6, SETUID 7 (helper programs), NET_BROADCAST 11 (events of all namespaces),
#: NET_ADMIN 12, NET_RAW 13, SYS_ADMIN 21 (namespaces and their pins).
_KEPT = frozenset((5, 6, 7, 11, 12, 13, 21))
#: Four descriptors per namespace; this is enough for ten thousand of them.
_DESCRIPTORS = 65536


def check_root() -> None:
    """Check that the user id is 0.

    :raises PermissionMissing: it is not; the message has advice.
    """
    if os.geteuid() != 0:
        raise PermissionMissing("l3-dataplane makes network namespaces and must be started as root (user id 0)")


def raise_descriptor_limit() -> None:
    """Raise the limit of open descriptors as far as possible, and log a limit that is low."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(hard, _DESCRIPTORS) if hard != resource.RLIM_INFINITY else _DESCRIPTORS
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except (PermissionError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if hard < _DESCRIPTORS:
            LOG.warning("at most %d open descriptors (RLIMIT_NOFILE): enough for about %d routers", hard, hard // 4)
    _preallocate_descriptors()


def _preallocate_descriptors() -> None:
    """Make the kernel allocate the largest table of descriptors, by using the last one for a moment.

    Once there are threads, each doubling of the table waits for an RCU grace period.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as file:
        os.close(fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, min(limit, _DESCRIPTORS) - 1))


@contextmanager
def impersonate(user: int, group: int) -> Iterator[None]:
    """Set the file system ids of the calling thread to another user, so that a symlink leads to no file of a third one.

    Other threads keep their ids, but lose supplementary groups, which they do not need.

    :raises OSError: this user namespace has no such user or group.
    """
    own_user, own_group, own_groups = os.geteuid(), os.getegid(), os.getgroups()
    if user == own_user:
        yield
        return
    try:
        os.setgroups([])
        syscalls.set_file_ids(user, group)
        yield
    finally:
        syscalls.set_file_ids(own_user, own_group)
        os.setgroups(own_groups)
        # The kernel writes no core of a process that had the ids of another user.
        syscalls.allow_core()


def drop_capabilities() -> None:
    """Drop all capabilities that the operations do not need."""
    syscalls.keep_capabilities(_KEPT)
