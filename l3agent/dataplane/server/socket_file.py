# SPDX-License-Identifier: Apache-2.0
"""The unix socket of the data plane: bound with the rights of its user, and again when its file is gone.

A file may be removed by a cleanup of /run, or with its directory when another service stops. The kernel reports nothing
of that to the listener, and a client that is connected notices nothing until it connects again.

Review: can a file of another user be reached, or the socket of another data plane be replaced?
"""

from __future__ import annotations

import logging
import os
import socket
import stat
from contextlib import suppress

from l3agent.dataplane.server import privilege
from l3agent.exceptions import AlreadyRunning, ConfigError

LOG = logging.getLogger(__name__)

#: The group of no file (nogroup).
_NO_GROUP = 65534
_BACKLOG = 4


class SocketFile:
    """A listening socket that only one user (and root) can reach.

    It is created with the file system ids of that user, who may replace files there at any moment: so the user owns it
    from the start, and no symlink leads to a file of another user.

    :param path: of its file.
    :param author: the user, where an untrusted file names the path; None for the owner of its directory.
    :ivar user: id of the user.
    :raises AlreadyRunning: another process listens there.
    :raises ConfigError: it cannot be created.
    """

    def __init__(self, path: str, author: int | None) -> None:
        self._path = path
        self._folder = os.path.dirname(path) or "."
        self._last_error = ""
        try:
            if author is None:
                os.makedirs(self._folder, exist_ok=True)
            self.user = os.stat(self._folder).st_uid if author is None else author
            self._is_own_folder = os.stat(self._folder).st_uid == self.user
            self.listener = self._bind()
        except OSError as exc:
            raise ConfigError(f"[dataplane] socket: {path!r}: {exc.strerror or exc}") from exc

    def restore(self) -> bool:
        """Listen on a new socket where the file is gone or another one; return True if there is a new ``listener``.

        A file on which another process listens stays. A failure is logged once, and the next call tries again.
        """
        if self._identity() == self._bound:
            return False
        try:
            if (os.stat(self._folder).st_uid == self.user) != self._is_own_folder:
                raise ConfigError(f"{self._folder}: its owner is another user than before")
            former, self.listener = self.listener, self._bind(is_restored=True)
        except (OSError, ConfigError, AlreadyRunning) as exc:
            if str(exc) != self._last_error:
                LOG.warning("%s: no agent can connect: the file is gone or another one: %s", self._path, exc)
            self._last_error = str(exc)
            return False
        former.close()
        LOG.warning("%s was removed or replaced: listening there again", self._path)
        self._last_error = ""
        return True

    # ---- private ---------------------------------------------------------------------------------------------

    def _bind(self, *, is_restored: bool = False) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            group = os.stat(self._folder).st_gid if self._is_own_folder else _NO_GROUP
            os.fchmod(listener.fileno(), 0o600)  # the mode that bind(2) gives the file (unix(7))
            with privilege.impersonate(self.user, group):
                # A data plane of other namespaces may use this path.
                if _is_served(self._path, unknown=is_restored):
                    raise AlreadyRunning(f"another data plane listens on {self._path}")
                with suppress(FileNotFoundError):
                    os.unlink(self._path)
                listener.bind(self._path)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
        # As long as the socket is open no other file has its number.
        self._bound = self._identity()
        return listener

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.lstat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _is_served(path: str, *, unknown: bool) -> bool:
    """Return True if a process listens on a unix socket; one whose backlog is full counts.

    :param unknown: what to return for a socket of another user.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as trial:
        trial.setblocking(False)
        try:
            trial.connect(path)
        except BlockingIOError:
            return True
        except PermissionError:
            return unknown and stat.S_ISSOCK(os.lstat(path).st_mode)
        except OSError:
            return False
    return True
