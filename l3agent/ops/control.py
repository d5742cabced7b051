# SPDX-License-Identifier: Apache-2.0
"""The control socket: one JSON object a line in, one out, on a unix socket that only the agent's user can open.

Who connects is asked of the kernel too (SO_PEERCRED, unix(7)): root and the agent's own user are served, whatever
somebody made of the mode of the file.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import eventlet
from eventlet.green import socket
from oslo_log import log as logging

from l3agent.exceptions import AlreadyRunning, ConfigError, InternalError, L3AgentError, PermissionMissing
from l3agent.ops.admission import Admission
from l3agent.ops.control_client import error_answer

LOG = logging.getLogger(__name__)

#: A request takes a line of this many bytes at most.
_LINE_BYTES = 65536
_CLIENTS = 32
#: Seconds that a client may take for its next request, and for reading an answer.
_IDLE_S, _SEND_S = 60.0, 10.0
#: Seconds that an agent may take to let another one in who only looks whether it is there.
_PROBE_S = 1.0
#: Seconds until it is tried again to take a client, when there was no file descriptor left for it.
_ACCEPT_RETRY_S = 0.5

#: Answers one request; what it raises as L3AgentError is told to who asked.
Operation = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class ControlSocket:
    """A service that answers questions about the agent.

    :param path: of the socket; a file that nobody listens on any more is replaced, that of an agent at work is not.
    :param operations: by the name that requests carry as ``op``.
    """

    def __init__(self, path: str, operations: Mapping[str, Operation]) -> None:
        self._path = path
        self._operations = operations
        # With room for connections that were closed to make room and have not ended yet.
        self._clients = eventlet.GreenPool(2 * _CLIENTS)
        self._admission = Admission(_CLIENTS)
        self._listener: Any = None
        self._acceptor: Any = None
        self._bound: tuple[int, int] | None = None

    def start(self) -> None:
        """Listen from now on.

        :raises ConfigError: the socket cannot be made.
        :raises AlreadyRunning: another agent has it.
        :raises PermissionMissing: it is that of another user.
        """
        require_no_other_agent(self._path)
        self._listener = self._listen()
        self._acceptor = eventlet.spawn(self._accept)

    def stop(self) -> None:
        """Listen no more and hang up."""
        if self._listener is None:
            return
        self._acceptor.kill()
        for client in list(self._clients.coroutines_running):
            eventlet.kill(client)
        with suppress(FileNotFoundError):  # somebody cleaned up before us
            # As long as the socket is open no other file has its number.
            if _inode(self._path) == self._bound:
                os.unlink(self._path)
        self._listener.close()
        self._listener = None

    def wait(self) -> None:
        """Return: nothing goes on after ``stop``."""

    def reset(self) -> None:
        """Do nothing: there is no option to take over."""

    def _listen(self) -> Any:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            # Bound under another name and moved over: whoever sees the file can connect, and no one else ever could.
            fresh = f"{self._path}.{os.getpid()}"
            with suppress(FileNotFoundError):  # left by one that died here and had the same process id
                os.unlink(fresh)
            os.fchmod(listener.fileno(), 0o600)  # the mode that bind(2) gives the file (unix(7))
            listener.bind(fresh)
            listener.listen(_CLIENTS)
            self._bound = _inode(fresh)
            os.rename(fresh, self._path)
        except OSError as exc:
            listener.close()
            raise ConfigError(f"state_path: {self._path}: no socket can be made there: {exc}") from exc
        return listener

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError as exc:
                LOG.warning("Control socket: no client can be taken: %s", exc)
                eventlet.sleep(_ACCEPT_RETRY_S)
                continue
            pid, uid, _ = _peer_credentials(client)
            if self._admission.admit(client, pid):
                self._clients.spawn_n(self._serve, client, uid)
            else:
                LOG.warning("Control socket: %d requests are in progress; refused process %d", _CLIENTS, pid)
                client.close()

    def _serve(self, client: Any, uid: int) -> None:
        try:
            with client, client.makefile("rb") as lines:
                if uid not in (0, os.geteuid()):
                    LOG.warning("Control socket: refused user %d", uid)
                    error = PermissionMissing(f"user {uid} may not ask; run this as the user of l3-agent, or as root")
                    client.sendall(json.dumps(error_answer(error)).encode() + b"\n")
                    return
                while line := _read_line(lines):
                    # Its own time is what the operation takes; only the sending depends on who asked.
                    self._admission.set_busy(client, True)
                    answer = json.dumps(self._process_line(line)).encode() + b"\n"
                    self._admission.set_busy(client, False)
                    with eventlet.Timeout(_SEND_S, OSError("the answer is not read")):
                        client.sendall(answer)
        except OSError as exc:
            LOG.debug("Control socket: %s", exc)
        finally:
            self._admission.release(client)

    def _process_line(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = json.loads(line)
            operation = self._operations[request["op"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            known = ", ".join(sorted(self._operations))
            return error_answer(
                L3AgentError(f"not a request: a line with a JSON object is expected, its op one of: {known}")
            )
        try:
            return operation(request)
        except L3AgentError as exc:
            return error_answer(exc)
        except Exception as exc:
            LOG.exception("Control socket: %s", request["op"])
            return error_answer(InternalError(f"{type(exc).__name__}: {exc}; see the log of the agent"))


def require_no_other_agent(path: str) -> None:
    """Make sure that no agent listens on a control socket.

    :raises AlreadyRunning: one does.
    :raises PermissionMissing: one of another user may.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(_PROBE_S)
        try:
            trial.connect(path)
        except TimeoutError:  # it is too busy to take us
            pass
        except PermissionError as exc:
            raise PermissionMissing(
                f"{path}: belongs to another user, whose l3-agent may be at work; if there is none, remove the file"
            ) from exc
        except OSError:
            return
    raise AlreadyRunning(f"another l3-agent listens on {path}: stop it, or use another state_path")


def _inode(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _read_line(lines: Any) -> bytes:
    with eventlet.Timeout(_IDLE_S, OSError("nothing was asked")):
        line: bytes = lines.readline(_LINE_BYTES)
    return line


def _peer_credentials(client: Any) -> tuple[int, int, int]:
    """Return process, user and group id of the other end (SO_PEERCRED, unix(7))."""
    pid, uid, gid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid, gid
