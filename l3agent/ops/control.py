# SPDX-License-Identifier: Apache-2.0
"""The control socket: one JSON object per line in each direction, on a unix socket that only the agent's user can open.

The kernel reports the user of each client (SO_PEERCRED, unix(7)): root and the agent's own user are served, even if the
mode of the file admits others.
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

#: Maximum length of a request in bytes.
_LINE_BYTES = 65536
_CLIENTS = 32
#: Seconds that a client has for its next request, and for reading an answer.
_IDLE_S, _SEND_S = 60.0, 10.0
#: Seconds for a connection that probes for another agent.
_PROBE_S = 1.0
#: Seconds between two calls of accept(2) while no file descriptor is free.
_ACCEPT_RETRY_S = 0.5

#: Answers one request; an L3AgentError becomes the answer.
Operation = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class ControlSocket:
    """A service that executes the operations of the agent.

    :param path: path of the socket. A stale file is replaced, the socket of a running agent is not.
    :param operations: operations by name, the member ``op`` of a request.
    """

    def __init__(self, path: str, operations: Mapping[str, Operation]) -> None:
        self._path = path
        self._operations = operations
        # Twice the limit: evicted connections that have not ended yet count as well.
        self._clients = eventlet.GreenPool(2 * _CLIENTS)
        self._admission = Admission(_CLIENTS)
        self._listener: Any = None
        self._acceptor: Any = None
        self._bound: tuple[int, int] | None = None

    def start(self) -> None:
        """Start to listen.

        :raises ConfigError: the socket cannot be created.
        :raises AlreadyRunning: another agent listens on it.
        :raises PermissionMissing: it belongs to another user.
        """
        require_no_other_agent(self._path)
        self._listener = self._listen()
        self._acceptor = eventlet.spawn(self._accept)

    def stop(self) -> None:
        """Stop listening and close all connections."""
        if self._listener is None:
            return
        self._acceptor.kill()
        for client in list(self._clients.coroutines_running):
            eventlet.kill(client)
        with suppress(FileNotFoundError):  # it was removed before
            # No other file has its inode number while the socket is open.
            if _inode(self._path) == self._bound:
                os.unlink(self._path)
        self._listener.close()
        self._listener = None

    def wait(self) -> None:
        """Return immediately: ``stop`` has ended all greenthreads."""

    def reset(self) -> None:
        """Do nothing: no option changes on reload."""

    def _listen(self) -> Any:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            # Bound under a temporary name and renamed: the file never exists without a listener or with another mode.
            fresh = f"{self._path}.{os.getpid()}"
            with suppress(FileNotFoundError):  # left by a crashed process with the same process id
                os.unlink(fresh)
            os.fchmod(listener.fileno(), 0o600)  # the mode that bind(2) gives the file (unix(7))
            listener.bind(fresh)
            listener.listen(_CLIENTS)
            self._bound = _inode(fresh)
            os.rename(fresh, self._path)
        except OSError as exc:
            listener.close()
            raise ConfigError(f"state_path: {self._path}: cannot create the socket: {exc}") from exc
        return listener

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError as exc:
                LOG.warning("Control socket: cannot accept a connection: %s", exc)
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
                    error = PermissionMissing(f"user {uid} has no access; run this as the user of l3-agent, or as root")
                    client.sendall(json.dumps(error_answer(error)).encode() + b"\n")
                    return
                while line := _read_line(lines):
                    # The deadline covers the transmission, which depends on the client, not the operation.
                    self._admission.set_busy(client, True)
                    answer = json.dumps(self._process_line(line)).encode() + b"\n"
                    self._admission.set_busy(client, False)
                    with eventlet.Timeout(_SEND_S, OSError("the client does not read the answer")):
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
                L3AgentError(f"invalid request: expected a line with a JSON object whose op is one of: {known}")
            )
        try:
            return operation(request)
        except L3AgentError as exc:
            return error_answer(exc)
        except Exception as exc:
            LOG.exception("Control socket: %s", request["op"])
            return error_answer(InternalError(f"{type(exc).__name__}: {exc}; see the log of the agent"))


def require_no_other_agent(path: str) -> None:
    """Check that no agent listens on a control socket.

    :raises AlreadyRunning: an agent listens.
    :raises PermissionMissing: the socket belongs to another user, whose agent may listen.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(_PROBE_S)
        try:
            trial.connect(path)
        except TimeoutError:  # its backlog is full, so it listens
            pass
        except PermissionError as exc:
            raise PermissionMissing(
                f"{path}: belongs to another user, whose l3-agent may be running; if it is not, remove the file"
            ) from exc
        except OSError:
            return
    raise AlreadyRunning(f"another l3-agent listens on {path}: stop it, or use another state_path")


def _inode(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _read_line(lines: Any) -> bytes:
    with eventlet.Timeout(_IDLE_S, OSError("no request in time")):
        line: bytes = lines.readline(_LINE_BYTES)
    return line


def _peer_credentials(client: Any) -> tuple[int, int, int]:
    """Return process, user and group id of the peer (SO_PEERCRED, unix(7))."""
    pid, uid, gid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid, gid
