# SPDX-License-Identifier: Apache-2.0
"""One data plane per directory of namespaces, also where containers see the directory through bind mounts.

The directory itself cannot be locked: ``ip netns add`` takes an exclusive flock(2) of it (lib/namespace.c of iproute2)
and would wait for ever. A lock file beside it is private to a container, and one inside it would be listed as a
namespace. So there are two guards, both released by the kernel when the process ends: a lock file beside the directory,
and an abstract unix socket (unix(7)) named by the directory's device and inode, which all data planes of one network
namespace share, and those of different ones do not work on the same devices.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
import time
from contextlib import suppress

from l3agent.exceptions import AlreadyRunning, ConfigError

#: Seconds to wait for another data plane of the same directory to end, and between two tries.
_WAIT_S, _PAUSE_S = 5.0, 0.02
#: Seconds for a connection to a socket that may be served.
_CONNECT_S = 1.0


class DirectoryGuard:
    """Exclusive right to a directory of namespaces, until the end of a ``with`` block or of this process.

    :raises ConfigError: the directory does not exist and cannot be created.
    :raises AlreadyRunning: another data plane holds the right.
    """

    def __init__(self, path: str) -> None:
        try:
            os.makedirs(path, exist_ok=True)
            self._file = os.open(path.rstrip("/") + ".l3agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            found = os.stat(path)
        except OSError as exc:
            raise ConfigError(f"[dataplane] netns_path: {path!r}: {exc.strerror}") from exc
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._name = f"\0l3agent-dataplane-{found.st_dev:x}-{found.st_ino:x}"
        deadline = time.monotonic() + _WAIT_S
        while not self._acquire():
            if time.monotonic() > deadline:
                self._close()
                raise AlreadyRunning(f"another data plane serves {path}")
            time.sleep(_PAUSE_S)

    def __enter__(self) -> DirectoryGuard:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._close()

    def _close(self) -> None:
        self._socket.close()
        os.close(self._file)

    def _acquire(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            self._socket.bind(self._name)
            self._socket.listen()
        except OSError:
            # Any user may bind an abstract name, but a data plane runs as root; it has ended if none listens.
            return peer_user(self._name) not in (None, 0, os.geteuid())
        threading.Thread(target=self._accept_probes, name="guard", daemon=True).start()
        return True

    def _accept_probes(self) -> None:
        """Accept each connection, so that a data plane that starts later can read the user id of this process."""
        with suppress(OSError):  # the socket is closed
            while True:
                self._socket.accept()[0].close()


def peer_user(path: str) -> int | None:
    """Return the user id of the process that listens on a unix socket, -1 if it does not accept in time.

    :returns: None if no process listens.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as trial:
        trial.settimeout(_CONNECT_S)
        try:
            trial.connect(path)
        except TimeoutError:
            return -1
        except OSError:
            return None
        _, user, _ = struct.unpack("3i", trial.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(user)
