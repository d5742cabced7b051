# SPDX-License-Identifier: Apache-2.0
"""Names of network namespaces: bind mounts of nsfs on files of one directory, as ip-netns(8) creates them.

Other programs leave other objects in their place: a file of mode 0 (ip-netns(8), pyroute2 and so neutron-l3-agent make
it before they mount the namespace on it), a directory, a symbolic link. Nothing here needs the right to read such a
file, for the process does not have CAP_DAC_OVERRIDE, and nothing follows a link.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import tempfile
from contextlib import suppress

from l3agent.dataplane.kernel import syscalls
from l3agent.dataplane.kernel.netns import own_namespace

LOG = logging.getLogger(__name__)

#: ioctl_ns(2), Linux 4.11.
_NS_GET_NSTYPE = 0xB703
#: Maximum number of mounts on one name; more than one is left by a program that did not check.
_LAYERS_MAX = 16

Identity = tuple[int, int]


class Pins:
    """The directory of named namespaces.

    :param path: ``/run/netns``, or the directory of option ``netns_path``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._share()

    def names(self) -> list[str]:
        """Return all names, including those of other files."""
        return os.listdir(self._path)

    def path(self, name: str) -> str:
        """Return the path of a pin."""
        return f"{self._path}/{name}"

    def identity(self, name: str) -> Identity | None:
        """Return device and inode of the file of a name; None if there is none."""
        try:
            return identity(os.stat(self.path(name), follow_symlinks=False))
        except FileNotFoundError:
            return None

    def open(self, name: str) -> int | None:
        """Return a descriptor of the network namespace of a name; None if there is none."""
        try:
            place = os.open(self.path(name), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return _open_namespace(place)
        finally:
            os.close(place)

    def add(self, name: str, fd: int) -> None:
        """Pin a namespace under a name; replace a file there that is no namespace.

        :raises FileExistsError: another namespace has it.
        """
        try:
            self._create(name)
        except FileExistsError:
            self.remove_stale(name)
            self._create(name)
        syscalls.mount(f"/proc/thread-self/fd/{fd}", self.path(name), syscalls.MS_BIND)

    def remove(self, name: str) -> None:
        """Remove a name, of a namespace or any other file; the content of a directory is kept under another name.

        :raises OSError: it cannot be removed.
        """
        path = self.path(name)
        for _ in range(_LAYERS_MAX):
            try:
                syscalls.unmount(path)
            except OSError:
                break
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(path).st_mode):
                _remove_directory(path)
            else:
                os.unlink(path)

    def remove_stale(self, name: str) -> None:
        """Remove the file of a name if it is no network namespace.

        :raises OSError: it cannot be removed.
        """
        fd = self.open(name)
        if fd is not None:
            os.close(fd)
        elif self.identity(name) is not None:
            LOG.warning("%s is not a network namespace; removing it", self.path(name))
            self.remove(name)

    # ---- private ---------------------------------------------------------------------------------------------

    def _create(self, name: str) -> None:
        os.close(os.open(self.path(name), os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o444))

    def _share(self) -> None:
        """Make the directory a shared mount as ip-netns(8) does, so that other programs see the pins made here."""
        os.makedirs(self._path, exist_ok=True)
        try:
            syscalls.mount("", self._path, syscalls.MS_SHARED | syscalls.MS_REC)
        except OSError:
            syscalls.mount(self._path, self._path, syscalls.MS_BIND | syscalls.MS_REC)
            syscalls.mount("", self._path, syscalls.MS_SHARED | syscalls.MS_REC)


def identity(found: os.stat_result) -> Identity:
    """Return the device and inode of a namespace, which identify it."""
    return found.st_dev, found.st_ino


def _open_namespace(place: int) -> int | None:
    """Return a descriptor for setns(2) of the file of an O_PATH descriptor; None if it is no network namespace."""
    own = own_namespace()
    try:
        # All namespaces of all kinds are inodes of one file system, nsfs; nothing else is ever opened.
        if os.fstat(place).st_dev != os.fstat(own).st_dev:
            return None
    finally:
        os.close(own)
    fd = os.open(f"/proc/thread-self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if fcntl.ioctl(fd, _NS_GET_NSTYPE) == syscalls.CLONE_NEWNET:
            return fd
    except OSError:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _remove_directory(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        parent, name = os.path.split(path)
        aside = tempfile.mkdtemp(prefix=f".stale-{name}-", dir=parent)
        os.rename(path, aside)
        LOG.warning("%s is a directory with content; renamed to %s", path, aside)
