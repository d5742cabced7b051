# SPDX-License-Identifier: Apache-2.0
"""The green end of the socket to the data-plane process: requests multiplexed by id, a deadline for each.

A lost connection fails every request under way with :class:`~l3agent.exceptions.DataplaneUnavailable`; who asked tries
again. The connection comes back by itself, and with a ``child`` the process too; the kernel state stands meanwhile.

Review: can a request wait for ever? Can a killed greenthread leave half a frame on the socket?
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
from l3agent.agent.dataplane_process import Child
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
#: How many lines of a plan are kept to be shown; all of them only for a dry run and a debug log.
_LINES = 10
#: How long a request waits for the connection; its own deadline bounds the whole.
_CONNECTING_S = 5.0
_HELLO_S = 5.0

_NOT_UNDERSTOOD = (ValueError, TypeError, KeyError, msgpack.UnpackException)
#: Why there is no connection: nothing serves the socket, or what serves it was refused or refuses.
Cause = Literal["absent", "rejected"]
#: A greeted socket and the frames that come from it.
_Connection = tuple[Any, msgpack.Unpacker]


class DataplaneClient:
    """Brings states to the data-plane process.

    :param socket_path: where it listens.
    :param timeout: seconds it has for one request.
    :param child: how to start it when nobody listens; None leaves that to others.
    """

    def __init__(self, socket_path: str, *, timeout: float, child: Child | None = None) -> None:
        self._path = socket_path
        self._timeout = timeout
        self._child = child
        self._ids = itertools.count(1)
        self._waiting: dict[int, Event] = {}
        self._sending = Semaphore()
        self._socket: Any = None
        self._connected = Event()
        self._callbacks: list[Callable[[], None]] = []
        self._keeper: Any = None
        self._trouble = "not started"
        #: Process id of the data plane that was spoken to last; None before the first.
        self.pid: int | None = None
        #: Version of the data plane that answered last, also of a rejected one; None before the first.
        self.version: str | None = None
        self._cause: Cause = "absent"
        self._process: str | None = None

    @property
    def connected(self) -> bool:
        """Tell whether requests go through now."""
        return self._socket is not None

    @property
    def cause(self) -> Cause | None:
        """Return the class of reason why there is no connection; None while connected."""
        return None if self.connected else self._cause

    @property
    def reason(self) -> str | None:
        """Return why there is no connection, in one line; None while connected."""
        return None if self.connected else self._trouble

    def on_new_process(self, callback: Callable[[], None]) -> None:
        """Call back, in a greenthread, when the data plane was found to be another process than before.

        What the former one had in hand may be half done, so all states should be brought to the new one.
        """
        self._callbacks.append(callback)

    # Life

    def start(self) -> None:
        """Connect, start the process if need be, and keep the connection from now on.

        :raises PermissionMissing: the process was started and lacks a privilege.
        :raises ConfigError: it was started and refused its configuration.
        """
        if self._keeper is not None:
            return
        try:
            connection = self._connect()
        except DataplaneUnavailable as exc:
            LOG.warning("%s; trying again", exc)
            self._record_failure(exc)
            connection = None
        self._keeper = eventlet.spawn(self._keep_connected, connection)

    def stop(self) -> None:
        """End the connection, and with it the process if it was started here. The kernel state stays."""
        if self._keeper is None:
            return
        keeper, self._keeper = self._keeper, None
        keeper.kill()
        self._disconnect("the client was stopped")
        if self._child is not None:
            self._child.end(eventlet.sleep)

    # Requests

    def reconcile(self, states: Iterable[tuple[Key, State | None]], *, dry_run: bool = False) -> list[Report]:
        """Make the kernel equal to some states; None stands for a thing that should not exist.

        :param dry_run: plan only.
        :returns: one report a state, in their order; what failed is in its ``error``.
        :raises DataplaneUnavailable: no answer.
        """
        lines = {} if dry_run or LOG.isEnabledFor(logging.DEBUG) else {"lines": _LINES}
        reports: list[Report] = []
        for batch in batches(pack_state(key, state) for key, state in states):
            answer = self._request("reconcile", {"states": batch, "dry_run": dry_run, **lines})
            reports += [unpack_report(wire) for wire in answer]
        return reports

    def inventory(self) -> dict[str, list[str]]:
        """Return the ids of what exists in the kernel and is ours, by kind.

        :raises DataplaneUnavailable: no answer.
        """
        return {kind: list(ids) for kind, ids in self._request("inventory", {}).items()}

    def stats(self, timeout: float = 1.0) -> dict[str, Any]:
        """Return the counters of the data-plane process since its start, and how near its limits are.

        :param timeout: seconds; it answers between two requests of the workers.
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
        """Repair these no more; they stay as they are until they are brought again.

        :raises DataplaneUnavailable: no answer.
        """
        self._request("unmanage", {"keys": list(keys)})

    def invalidate(self, keys: Iterable[Key] | None = None) -> None:
        """Have the next request for each of some states, or for all, read the kernel whatever is known of it.

        :raises DataplaneUnavailable: no answer.
        """
        self._request("invalidate", {"keys": None if keys is None else list(keys)})

    def inspect(self, key: Key, state: State | None) -> dict[str, list[dict[str, Any]]]:
        """Return what a state asks of the kernel (``desired``) and what is there (``actual``), as plain entries.

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
        raise DataplaneUnavailable(f"l3-dataplane gave no answer to {operation} within {timeout:g} s")

    def _wait_for_connection(self) -> None:
        if not self.connected:
            self._connected.wait(timeout=_CONNECTING_S)
        if not self.connected:
            raise self._no_connection()

    def _no_connection(self) -> DataplaneUnavailable:
        return DataplaneUnavailable(f"no connection to l3-dataplane: {self._trouble}")

    def _exchange(self, operation: str, arguments: dict[str, Any]) -> Any:
        request_id = next(self._ids)
        answer = self._waiting[request_id] = Event()
        try:
            frame = msgpack.packb((request_id, operation, arguments))
            if len(frame) > FRAME_BYTES:
                raise ApplyError(
                    f"l3-dataplane takes at most {FRAME_BYTES} bytes per request; {operation} has {len(frame)}"
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
                # Killed or timed out in mid-frame: nothing after it could be understood.
                self._disconnect("a request was interrupted while it was sent")
                raise

    # The connection

    def _keep_connected(self, connection: _Connection | None) -> None:
        delay = _BACKOFF_MIN_S
        while True:
            if connection is not None:
                delay = _BACKOFF_MIN_S
                self._serve(connection)
                LOG.warning("The connection to l3-dataplane is lost: %s; the kernel state stands", self._trouble)
            try:
                connection = self._connect()
            except L3AgentError as exc:
                connection = None
                if str(exc) != self._trouble:
                    LOG.warning("%s; trying again", exc)
                self._record_failure(exc)
                eventlet.sleep(delay)
                delay = min(delay * 2, _BACKOFF_MAX_S)

    def _record_failure(self, exc: L3AgentError) -> None:
        self._trouble = str(exc)
        self._cause = "rejected" if isinstance(exc, DataplaneRejected | PermissionMissing | ConfigError) else "absent"

    def _serve(self, connection: _Connection) -> None:
        """Hand out answers until the connection ends."""
        try:
            self._disconnect(self._read(*connection))
        finally:
            connection[0].close()

    def _connect(self) -> _Connection:
        """Open the connection, with a new process where nobody listens, and greet."""
        with eventlet.Timeout(self._timeout, self._refusal("no connection")):
            sock = self._open()
            try:
                stream, pid, process = self._greet(sock)
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
                    raise PermissionMissing(f"{self._path}: this user may not connect to l3-dataplane ({exc})") from exc
                except (FileNotFoundError, ConnectionRefusedError) as exc:
                    if self._child is None:
                        raise DataplaneUnavailable(f"nobody listens at {self._path} (l3-dataplane)") from exc
                    self._child.ensure()
                eventlet.sleep(0.02)
        except BaseException:
            sock.close()
            raise

    def _greet(self, sock: Any) -> tuple[msgpack.Unpacker, int, str]:
        """Return the stream of answers, and which process the other end is, which speaks our protocol."""
        stream = msgpack.Unpacker(raw=False, max_buffer_size=_FRAME_BYTES_MAX)
        with eventlet.Timeout(_HELLO_S, self._refusal("no answer to hello")):
            try:
                sock.sendall(msgpack.packb((next(self._ids), "hello", {})))
                _, error, hello = _first_frame(sock, stream)
                version, pid = ("", 0) if error else (hello["version"], hello["pid"])
                # Releases before 0.2.0 have no protocol number, and the first ones no process.
                protocol, process = (0, "") if error else (hello.get("protocol", 0), hello.get("process", ""))
                outdated = protocol < PROTOCOL
            except (OSError, *_NOT_UNDERSTOOD) as exc:
                raise self._refusal(f"no greeting: {exc}") from exc
        if error:
            raise self._refusal(str(error["message"]))
        self.version = version
        if protocol != PROTOCOL:
            raise DataplaneRejected(
                f"restart {'l3-dataplane' if outdated else 'l3-agent'}: l3-dataplane {version} at {self._path} speaks "
                f"protocol {protocol}, l3-agent {__version__} speaks {PROTOCOL}; the kernel state stays"
            )
        return stream, pid, process

    def _refusal(self, reason: str) -> DataplaneUnavailable:
        return DataplaneUnavailable(f"l3-dataplane at {self._path}: {reason}")

    def _read(self, sock: Any, stream: msgpack.Unpacker) -> str:
        """Hand out answers; return why there are no more."""
        try:
            while True:
                for request_id, error, result in stream:
                    self._answer(request_id, error, result)
                data = sock.recv(_RECEIVE_BYTES)
                if not data:
                    return self._trouble if self._socket is None else "it closed the connection"
                stream.feed(data)
        except OSError as exc:
            return str(exc)
        except _NOT_UNDERSTOOD as exc:
            return f"not understood: {exc!r}"

    def _answer(self, request_id: int, error: dict[str, str] | None, result: Any) -> None:
        answer = self._waiting.pop(request_id, None)
        if answer is None:
            LOG.debug("Answer %d came after its deadline", request_id)
        elif error:
            answer.send(exc=ApplyError(f"l3-dataplane: {error['type']}: {error['message']}"))
        else:
            answer.send(result)

    def _disconnect(self, trouble: str) -> None:
        self._trouble, self._cause = trouble, "absent"
        sock, self._socket = self._socket, None
        if sock is None:
            return
        self._connected = Event()
        try:
            # Not closed here: closing would not wake the greenthread that reads, which closes it when it wakes.
            sock.shutdown(socket.SHUT_RDWR)
        except OSError as exc:
            LOG.debug("The other end is gone already: %s", exc)
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.send(exc=DataplaneUnavailable(f"the connection to l3-dataplane was lost: {trouble}"))


def _first_frame(sock: Any, stream: msgpack.Unpacker) -> Any:
    while data := sock.recv(_RECEIVE_BYTES):
        stream.feed(data)
        for frame in stream:
            return frame
    raise ConnectionResetError("it hung up")
