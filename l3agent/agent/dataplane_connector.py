# SPDX-License-Identifier: Apache-2.0
"""Keeps a connection to the data-plane process: connects, starts the process, reconnects with back-off.

States and transitions:

===========  ==========================  ===============================================================
state        ``cause``                   leaves it by
===========  ==========================  ===============================================================
connected    None                        end of the stream, invalid frame, broken frame, :meth:`stop`
absent       ``absent``                  next attempt: a process listens and answers ``hello``
rejected     ``rejected``                next attempt: the process, its privilege or its file was corrected
===========  ==========================  ===============================================================

One greenthread connects and reads; only it closes a socket. Any greenthread may send.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import eventlet
from eventlet.event import Event
from oslo_log import log as logging

from l3agent.agent.dataplane_connection import INVALID_FRAME, DataplaneConnection, open_connection
from l3agent.agent.dataplane_hello import Hello, request_hello, require_protocol
from l3agent.agent.dataplane_process import DataplaneProcess
from l3agent.agent.dataplane_requests import PendingRequests
from l3agent.exceptions import (
    ConfigError,
    DataplaneRejected,
    DataplaneUnavailable,
    L3AgentError,
    PermissionMissing,
)

LOG = logging.getLogger(__name__)

_BACKOFF_MIN_S, _BACKOFF_MAX_S = 0.1, 5.0
#: Seconds that a request waits for the connection; the deadline of the request includes them.
_CONNECTING_S = 5.0

#: Class of the reason for a missing connection: no process serves the socket, or one side rejected the other.
Cause = Literal["absent", "rejected"]


class Connector:
    """A connection that is restored whenever it is lost.

    :param path: unix socket of the process.
    :param timeout: seconds for one attempt to connect.
    :param process: started if no process listens; None if another program starts it.
    :param pending: requests in flight, which get the answers and fail with the connection.
    """

    def __init__(
        self, path: str, *, timeout: float, process: DataplaneProcess | None, pending: PendingRequests
    ) -> None:
        self._path = path
        self._timeout = timeout
        self._child_process = process
        self._pending = pending
        self._connection: DataplaneConnection | None = None
        self._connected = Event()
        self._greenthread: Any = None
        self._reason = "not started"
        self._cause: Cause = "absent"
        self._callbacks: list[Callable[[], None]] = []
        #: The last accepted answer to ``hello``; None before the first.
        self.accepted: Hello | None = None
        #: Version of the data plane that answered last, also of a rejected one; None before the first.
        self.version: str | None = None

    @property
    def connected(self) -> bool:
        """True while a connection exists."""
        return self._connection is not None

    @property
    def cause(self) -> Cause | None:
        """Class of the reason for a missing connection; None while connected."""
        return None if self.connected else self._cause

    @property
    def reason(self) -> str | None:
        """Reason for a missing connection, one line; None while connected."""
        return None if self.connected else self._reason

    def on_new_process(self, callback: Callable[[], None]) -> None:
        """Register a callback, run in a greenthread after a connection to a new process."""
        self._callbacks.append(callback)

    def start(self) -> None:
        """Connect, start the process if none listens, and reconnect from now on. Idempotent.

        :raises PermissionMissing, ConfigError: see :func:`open_connection`.
        """
        if self._greenthread is not None:
            return
        try:
            connection = self._connect()
        except DataplaneUnavailable as exc:
            LOG.warning("%s; retrying", exc)
            self._record_failure(exc)
            connection = None
        self._greenthread = eventlet.spawn(self._run, connection)

    def stop(self) -> None:
        """Close the connection and stop the process that this object started. Idempotent."""
        if self._greenthread is None:
            return
        greenthread, self._greenthread = self._greenthread, None
        greenthread.kill()
        self._disconnect("the client is stopped")
        if self._child_process is not None:
            self._child_process.stop(eventlet.sleep)

    def wait(self) -> None:
        """Wait until there is a connection.

        :raises DataplaneUnavailable: there is none in time.
        """
        if not self.connected:
            self._connected.wait(timeout=_CONNECTING_S)
        if not self.connected:
            raise self.unavailable()

    def unavailable(self) -> DataplaneUnavailable:
        """Return the error for a missing connection."""
        return DataplaneUnavailable(f"no connection to l3-dataplane: {self._reason}")

    def send(self, frame: bytes) -> None:
        """Send a frame; a greenthread killed in mid-frame costs the connection.

        :raises DataplaneUnavailable: there is no connection, or it is lost.
        """
        connection = self._connection
        if connection is None:
            raise self.unavailable()
        try:
            connection.send(frame)
        except OSError as exc:
            raise DataplaneUnavailable(f"l3-dataplane at {self._path}: {exc}") from exc
        except BaseException:
            if connection.is_broken and connection is self._connection:
                self._disconnect("a request was interrupted in mid-frame")
            raise

    # The greenthread

    def _run(self, connection: DataplaneConnection | None) -> None:
        delay = _BACKOFF_MIN_S
        while True:
            if connection is not None:
                delay = _BACKOFF_MIN_S
                self._serve(connection)
                LOG.warning("The connection to l3-dataplane is lost: %s; the kernel state remains", self._reason)
            try:
                connection = self._connect()
            except L3AgentError as exc:
                connection = None
                if str(exc) != self._reason:
                    LOG.warning("%s; retrying", exc)
                self._record_failure(exc)
                eventlet.sleep(delay)
                delay = min(delay * 2, _BACKOFF_MAX_S)

    def _record_failure(self, exc: L3AgentError) -> None:
        self._reason = str(exc)
        self._cause = "rejected" if isinstance(exc, DataplaneRejected | PermissionMissing | ConfigError) else "absent"

    def _connect(self) -> DataplaneConnection:
        """Open the connection and complete the handshake."""
        late = DataplaneUnavailable(f"l3-dataplane at {self._path}: no connection")
        with eventlet.Timeout(self._timeout, late):
            connection = open_connection(self._path, self._child_process)
            try:
                hello = request_hello(connection, self._path)
                self.version = hello.version
                require_protocol(hello, self._path)
            except BaseException:
                connection.close()
                raise
        former, self.accepted = self.accepted, hello
        self._connection = connection
        self._connected.send()
        LOG.info("Connected to l3-dataplane, process %d", hello.pid)
        if former is not None and former.process != hello.process:
            for callback in self._callbacks:
                eventlet.spawn_n(callback)
        return connection

    def _serve(self, connection: DataplaneConnection) -> None:
        """Dispatch answers until the connection ends."""
        try:
            self._disconnect(self._read(connection))
        finally:
            connection.close()

    def _read(self, connection: DataplaneConnection) -> str:
        """Dispatch answers; return the reason for the end of the stream."""
        try:
            for frame in connection.frames():
                self._pending.resolve(frame)
        except OSError as exc:
            return str(exc)
        except INVALID_FRAME as exc:
            return f"invalid frame: {exc!r}"
        return "the peer closed the connection" if self.connected else self._reason

    def _disconnect(self, reason: str) -> None:
        self._reason, self._cause = reason, "absent"
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._connected = Event()
        connection.shut_down()
        self._pending.fail_all(reason)
