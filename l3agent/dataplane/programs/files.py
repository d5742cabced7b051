# SPDX-License-Identifier: Apache-2.0
"""Files of a program: each is complete or unchanged, also on a full disk and after a crash.

All access goes through a descriptor of the directory, which belongs to root, and follows no symbolic link.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress

from l3agent.exceptions import AlreadyRunning

#: Beginning of the names that are not files of the program; a name of those begins with a letter, digit or underscore.
_ASIDE = ".new."
#: Seconds between two attempts to lock.
_LOCK_INTERVAL_S = 0.02
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class ProgramFiles:
    """The directory of one program.

    :param root: directory of the directories of all programs; belongs to root.
    :param name: of the directory.
    """

    def __init__(self, root: str, name: str) -> None:
        self.path = f"{root}/{name}"
        self._root = root
        self._name = name

    def create(self, *, is_public: bool) -> None:
        """Create the directory, with mode 0755 if another user than root has to read its files, else 0700.

        :raises OSError: it cannot be created, or another user can change it.
        """
        with suppress(FileExistsError):
            os.mkdir(self.path, 0o700)
        directory = self.open()
        try:
            os.fchmod(directory, 0o755 if is_public else 0o700)
        finally:
            os.close(directory)

    def open(self) -> int:
        """Return a descriptor of the directory.

        :raises OSError: there is none, or another user can change it.
        """
        directory = os.open(self.path, _DIRECTORY)
        try:
            found = os.fstat(directory)
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise PermissionError(f"{self.path}: another user can change the directory")
        except BaseException:
            os.close(directory)
            raise
        return directory

    def write(self, files: Mapping[str, str], *, is_public: bool) -> None:
        """Write files that do not have the content yet. All are on the disk before the first is replaced.

        :raises OSError: they cannot be written; each has its former content.
        """
        directory = self.open()
        try:
            mode = 0o644 if is_public else 0o600
            changed = [name for name, content in files.items() if not _has(directory, name, content, mode)]
            try:
                for name in changed:
                    _write_aside(directory, name, files[name].encode(), mode)
            except BaseException:
                for name in changed:
                    _unlink(directory, _ASIDE + name)
                raise
            for name in changed:
                os.rename(_ASIDE + name, name, src_dir_fd=directory, dst_dir_fd=directory)
            if changed:
                os.fsync(directory)
        except OSError as exc:
            raise OSError(exc.errno, f"{self.path}: {exc.strerror or exc}") from exc
        finally:
            os.close(directory)

    def read(self, name: str) -> str | None:
        """Return the content of a file, None if there is none.

        :raises OSError: it cannot be read.
        """
        directory = self.open()
        try:
            return _read(directory, name)
        finally:
            os.close(directory)

    def unlink(self, *names: str) -> None:
        """Remove files; a missing one is a success.

        :raises OSError: one cannot be removed.
        """
        directory = self.open()
        try:
            for name in names:
                _unlink(directory, name)
        finally:
            os.close(directory)

    def rename(self, old: str, new: str) -> None:
        """Rename a file, which needs no space on the disk; a missing one is a success.

        :raises OSError: it cannot be renamed.
        """
        directory = self.open()
        try:
            with suppress(FileNotFoundError):
                os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            os.close(directory)

    def open_pipe(self, name: str) -> int:
        """Return a descriptor of a named pipe for reading and writing, which never blocks; create the pipe if needed.

        :raises OSError: it cannot be opened.
        """
        directory = self.open()
        try:
            with suppress(FileExistsError):
                os.mkfifo(name, 0o600, dir_fd=directory)
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            pipe = os.open(name, flags, dir_fd=directory)
        finally:
            os.close(directory)
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            os.close(pipe)
            raise FileExistsError(f"{self.path}/{name} is not a pipe")
        return pipe

    def remove(self) -> None:
        """Remove the directory with its files; a missing one is a success.

        :raises OSError: it cannot be removed, as when it has a directory.
        """
        try:
            directory = self.open()
        except FileNotFoundError:
            return
        try:
            for name in os.listdir(directory):
                _unlink(directory, name)
        finally:
            os.close(directory)
        os.rmdir(self.path)


def lock_directory(root: str, seconds: float) -> int:
    """Create the directory of the directories of programs; return a descriptor that locks it until it is closed.

    A child has the descriptor, too, until it executes its program: so a scan for processes comes after that.

    :param seconds: time limit, as long as another process has the lock.
    :raises AlreadyRunning: another data plane has it.
    :raises OSError: it cannot be created, or another user can change it.
    """
    os.makedirs(root, mode=0o755, exist_ok=True)
    files = ProgramFiles(os.path.dirname(root), os.path.basename(root))
    files.create(is_public=True)
    descriptor = files.open()
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise AlreadyRunning(f"another data plane supervises the programs in {root}") from None
            time.sleep(_LOCK_INTERVAL_S)


def _has(directory: int, name: str, content: str, mode: int) -> bool:
    """Return True if a file has the content and the mode; a symbolic link has neither."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    is_similar = stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == mode
    return is_similar and _read(directory, name) == content


def _read(directory: int, name: str) -> str | None:
    try:
        file = os.open(name, _READ, dir_fd=directory)
    except FileNotFoundError:
        return None
    with open(file, encoding="utf-8", errors="surrogateescape", newline="") as opened:
        return opened.read()


def _write_aside(directory: int, name: str, content: bytes, mode: int) -> None:
    _unlink(directory, _ASIDE + name)
    file = os.open(_ASIDE + name, _CREATE, mode, dir_fd=directory)
    try:
        os.fchmod(file, mode)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
        if os.fstat(file).st_size != len(content):
            raise OSError(f"{name} was not written completely")
    finally:
        os.close(file)


def _unlink(directory: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
