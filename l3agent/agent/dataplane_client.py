# SPDX-License-Identifier: Apache-2.0
"""Client of the data-plane process, for greenthreads: requests multiplexed by id, each with a deadline.

A lost connection fails every request in flight with :class:`~l3agent.exceptions.DataplaneUnavailable`, and the caller
retries. The client reconnects, and restarts the process if it has a ``process``; the kernel state remains meanwhile.

Review: can a request wait without end? Can a killed greenthread leave half a frame on the socket?
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Literal

import eventlet
import msgpack
from eventlet.event import Event
from eventlet.green import socket
from eventlet.semaphore import Semaphore
from oslo_log import log as logging

from l3agent import __version__
from l3agent.agent.dataplane_process import DataplaneProcess
from l3agent.exceptions import (
    ApplyError,
    ConfigError,
    DataplaneRejected,
    DataplaneUnavailable,
    L3AgentError,
    PermissionMissing,
)
from l3agent.model.protocol import PROTOCOL
from l3agent.model.states import Key, Report, State
from l3agent.model.wire import FRAME_BYTES, batches, pack_state, unpack_report

LOG = logging.getLogger(__name__)

_RECEIVE_BYTES = 262144
#: A frame of this size would be tens of thousands of routers: the stream is broken.
_FRAME_BYTES_MAX = 1 << 30
_BACKOFF_MIN_S, _BACKOFF_MAX_S = 0.1, 5.0
#: Operations per report; all of them only for a dry run and a debug log.
_LINES = 10
#: Seconds that a request waits for the connection; the deadline of the request includes them.
_CONNECTING_S = 5.0
_HELLO_S = 5.0

_INVALID_FRAME = (ValueError, TypeError, KeyError, msgpack.UnpackException)
#: Class of the reason for a missing connection: no process serves the socket, or one side rejected the other.
Cause = Literal["absent", "rejected"]
#: A connected socket and its stream of frames, after the handshake.
_Connection = tuple[Any, msgpack.Unpacker]


class DataplaneClient:
    """Applies states through the data-plane process.

    :param socket_path: Unix socket of the process.
    :param timeout: deadline of one request, in seconds.
    :param process: started if no process listens; None if another program starts it.
    """

    def __init__(self, socket_path: str, *, timeout: float, process: DataplaneProcess | None = None) -> None:
        self._path = socket_path
        self._timeout = timeout
        self._child_process = process
        self._ids = itertools.count(1)
        self._waiting: dict[int, Event] = {}
        self._sending = Semaphore()
        self._socket: Any = None
        self._connected = Event()
        self._callbacks: list[Callable[[], None]] = []
        self._connector: Any = None
        self._failure = "not started"
        #: Process id of the last connected data plane; None before the first.
        self.pid: int | None = None
        #: Version of the data plane that answered last, also of a rejected one; None before the first.
        self.version: str | None = None
        self._cause: Cause = "absent"
        self._process: str | None = None

    @property
    def connected(self) -> bool:
        """True while a connection exists."""
        return self._socket is not None

    @property
    def cause(self) -> Cause | None:
        """Class of the reason for a missing connection; None while connected."""
        return None if self.connected else self._cause

    @property
    def reason(self) -> str | None:
        """Reason for a missing connection, one line; None while connected."""
        return None if self.connected else self._failure

    def on_new_process(self, callback: Callable[[], None]) -> None:
        """Register a callback, run in a greenthread after a connection to a new data-plane process.

        Requests in flight to the former process may be partly applied, so all states should be applied again.
        """
        self._callbacks.append(callback)

    # Life cycle

    def start(self) -> None:
        """Connect, start the process if none listens, and reconnect from now on.

        :raises PermissionMissing: the started process lacks a privilege.
        :raises ConfigError: the started process rejects its configuration.
        """
        if self._connector is not None:
            return
        try:
            connection = self._connect()
        except DataplaneUnavailable as exc:
            LOG.warning("%s; retrying", exc)
            self._record_failure(exc)
            connection = None
        self._connector = eventlet.spawn(self._reconnect, connection)

    def stop(self) -> None:
        """Close the connection and stop the process that this client started. The kernel state remains."""
        if self._connector is None:
            return
        connector, self._connector = self._connector, None
        connector.kill()
        self._disconnect("the client is stopped")
        if self._child_process is not None:
            self._child_process.stop(eventlet.sleep)

    # Requests

    def reconcile(self, states: Iterable[tuple[Key, State | None]], *, dry_run: bool = False) -> list[Report]:
        """Apply states to the kernel; None removes what has the key.

        :param dry_run: plan only.
        :returns: one report per state, in order; a failure is in its ``error``.
        :raises DataplaneUnavailable: no answer.
        """
        lines = {} if dry_run or LOG.isEnabledFor(logging.DEBUG) else {"lines": _LINES}
        reports: list[Report] = []
        for batch in batches(pack_state(key, state) for key, state in states):
            answer = self._request("reconcile", {"states": batch, "dry_run": dry_run, **lines})
            reports += [unpack_report(wire) for wire in answer]
        return reports

    def inventory(self) -> dict[str, list[str]]:
        """Return the ids of all managed namespaces in the kernel, by kind.

        :raises DataplaneUnavailable: no answer.
        """
        return {kind: list(ids) for kind, ids in self._request("inventory", {}).items()}

    def stats(self, timeout: float = 1.0) -> dict[str, Any]:
        """Return the counters of the data-plane process since its start, and the use of its limits.

        :param timeout: seconds; it answers between two requests of workers.
        :raises DataplaneUnavailable: no answer.
        """
        counters: dict[str, Any] = self._request("stats", {}, timeout)
        return counters

    def traffic(self, router_id: str) -> dict[str, Any] | None:
        """Return the counters of a router (see :mod:`l3agent.dataplane.kernel.traffic_counters`); None if it is absent.

        :raises DataplaneUnavailable: no answer.
        :raises ApplyError: the kernel cannot be read.
        """
        found: dict[str, Any] | None = self._request("traffic", {"id": router_id})
        return found

    def unmanage(self, keys: Iterable[Key]) -> None:
        """Stop the drift repair of states; they remain unchanged until they are applied again.

        :raises DataplaneUnavailable: no answer.
        """
        self._request("unmanage", {"keys": list(keys)})

    def invalidate(self, keys: Iterable[Key] | None = None) -> None:
        """Discard the snapshots of states, or of all: the next request for each reads the kernel.

        :raises DataplaneUnavailable: no answer.
        """
        self._request("invalidate", {"keys": None if keys is None else list(keys)})

    def inspect(self, key: Key, state: State | None) -> dict[str, list[dict[str, Any]]]:
        """Return the entries of a state (``desired``) and of the kernel (``actual``), as JSON objects.

        :raises DataplaneUnavailable: no answer.
        :raises ApplyError: the kernel cannot be read.
        """
        found: dict[str, list[dict[str, Any]]] = self._request("inspect", {"state": pack_state(key, state)})
        return found

    def _request(self, operation: str, arguments: dict[str, Any], timeout: float | None = None) -> Any:
        timeout = timeout or self._timeout
        with eventlet.Timeout(timeout) as deadline:
            try:
                self._wait_for_connection()
                return self._exchange(operation, arguments)
            except eventlet.Timeout as expired:
                if expired is not deadline:
                    raise
        if not self.connected:
            raise self._no_connection()
        raise DataplaneUnavailable(f"l3-dataplane did not answer {operation} within {timeout:g} s")

    def _wait_for_connection(self) -> None:
        if not self.connected:
            self._connected.wait(timeout=_CONNECTING_S)
        if not self.connected:
            raise self._no_connection()

    def _no_connection(self) -> DataplaneUnavailable:
        return DataplaneUnavailable(f"no connection to l3-dataplane: {self._failure}")

    def _exchange(self, operation: str, arguments: dict[str, Any]) -> Any:
        request_id = next(self._ids)
        answer = self._waiting[request_id] = Event()
        try:
            frame = msgpack.packb((request_id, operation, arguments))
            if len(frame) > FRAME_BYTES:
                raise ApplyError(
                    f"l3-dataplane accepts at most {FRAME_BYTES} bytes per request; {operation} has {len(frame)}"
                )
            self._send(frame)
            return answer.wait()
        finally:
            self._waiting.pop(request_id, None)

    def _send(self, frame: bytes) -> None:
        with self._sending:
            if self._socket is None:
                raise self._no_connection()
            try:
                self._socket.sendall(frame)
            except OSError as exc:
                raise DataplaneUnavailable(f"l3-dataplane at {self._path}: {exc}") from exc
            except BaseException:
                # Killed or timed out in mid-frame: the rest of the stream is invalid.
                self._disconnect("a request was interrupted in mid-frame")
                raise

    # The connection

    def _reconnect(self, connection: _Connection | None) -> None:
        delay = _BACKOFF_MIN_S
        while True:
            if connection is not None:
                delay = _BACKOFF_MIN_S
                self._serve(connection)
                LOG.warning("The connection to l3-dataplane is lost: %s; the kernel state remains", self._failure)
            try:
                connection = self._connect()
            except L3AgentError as exc:
                connection = None
                if str(exc) != self._failure:
                    LOG.warning("%s; retrying", exc)
                self._record_failure(exc)
                eventlet.sleep(delay)
                delay = min(delay * 2, _BACKOFF_MAX_S)

    def _record_failure(self, exc: L3AgentError) -> None:
        self._failure = str(exc)
        self._cause = "rejected" if isinstance(exc, DataplaneRejected | PermissionMissing | ConfigError) else "absent"

    def _serve(self, connection: _Connection) -> None:
        """Dispatch answers until the connection ends."""
        try:
            self._disconnect(self._read(*connection))
        finally:
            connection[0].close()

    def _connect(self) -> _Connection:
        """Open the connection, with a new process if none listens, and complete the handshake."""
        with eventlet.Timeout(self._timeout, self._unavailable("no connection")):
            sock = self._open()
            try:
                stream, pid, process = self._handshake(sock)
            except BaseException:
                sock.close()
                raise
        former, self.pid, self._process = self._process, pid, process
        self._socket = sock
        self._connected.send()
        LOG.info("Connected to l3-dataplane, process %d", pid)
        if former not in (None, process):
            for callback in self._callbacks:
                eventlet.spawn_n(callback)
        return sock, stream

    def _open(self) -> Any:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            while True:
                try:
                    sock.connect(self._path)
                    return sock
                except PermissionError as exc:
                    raise PermissionMissing(
                        f"{self._path}: this user is not permitted to connect to l3-dataplane ({exc})"
                    ) from exc
                except (FileNotFoundError, ConnectionRefusedError) as exc:
                    if self._child_process is None:
                        raise DataplaneUnavailable(f"no process listens at {self._path} (l3-dataplane)") from exc
                    self._child_process.ensure_running()
                eventlet.sleep(0.02)
        except BaseException:
            sock.close()
            raise

    def _handshake(self, sock: Any) -> tuple[msgpack.Unpacker, int, str]:
        """Return the stream of answers, the process id and the identity of a process with the same protocol number."""
        stream = msgpack.Unpacker(raw=False, max_buffer_size=_FRAME_BYTES_MAX)
        with eventlet.Timeout(_HELLO_S, self._unavailable("no answer to hello")):
            try:
                sock.sendall(msgpack.packb((next(self._ids), "hello", {})))
                _, error, hello = _first_frame(sock, stream)
                version, pid = ("", 0) if error else (hello["version"], hello["pid"])
                # Releases before 0.2.0 have no protocol number, and the first ones no process.
                protocol, process = (0, "") if error else (hello.get("protocol", 0), hello.get("process", ""))
                outdated = protocol < PROTOCOL
            except (OSError, *_INVALID_FRAME) as exc:
                raise self._unavailable(f"handshake failed: {exc}") from exc
        if error:
            raise self._unavailable(str(error["message"]))
        self.version = version
        if protocol != PROTOCOL:
            raise DataplaneRejected(
                f"restart {'l3-dataplane' if outdated else 'l3-agent'}: l3-dataplane {version} at {self._path} speaks "
                f"protocol {protocol}, l3-agent {__version__} speaks {PROTOCOL}; the kernel state stays"
            )
        return stream, pid, process

    def _unavailable(self, reason: str) -> DataplaneUnavailable:
        return DataplaneUnavailable(f"l3-dataplane at {self._path}: {reason}")

    def _read(self, sock: Any, stream: msgpack.Unpacker) -> str:
        """Dispatch answers; return the reason for the end of the stream."""
        try:
            while True:
                for request_id, error, result in stream:
                    self._answer(request_id, error, result)
                data = sock.recv(_RECEIVE_BYTES)
                if not data:
                    return self._failure if self._socket is None else "the peer closed the connection"
                stream.feed(data)
        except OSError as exc:
            return str(exc)
        except _INVALID_FRAME as exc:
            return f"invalid frame: {exc!r}"

    def _answer(self, request_id: int, error: dict[str, str] | None, result: Any) -> None:
        answer = self._waiting.pop(request_id, None)
        if answer is None:
            LOG.debug("Answer %d arrived after its deadline", request_id)
        elif error:
            answer.send(exc=ApplyError(f"l3-dataplane: {error['type']}: {error['message']}"))
        else:
            answer.send(result)

    def _disconnect(self, failure: str) -> None:
        self._failure, self._cause = failure, "absent"
        sock, self._socket = self._socket, None
        if sock is None:
            return
        self._connected = Event()
        try:
            # Shut down, not closed: closing would not wake the greenthread that reads, which closes it.
            sock.shutdown(socket.SHUT_RDWR)
        except OSError as exc:
            LOG.debug("The peer has already closed the connection: %s", exc)
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.send(exc=DataplaneUnavailable(f"the connection to l3-dataplane is lost: {failure}"))


def _first_frame(sock: Any, stream: msgpack.Unpacker) -> Any:
    while data := sock.recv(_RECEIVE_BYTES):
        stream.feed(data)
        for frame in stream:
            return frame
    raise ConnectionResetError("the peer closed the connection")
