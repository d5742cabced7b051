# SPDX-License-Identifier: Apache-2.0
"""The socket of the data plane: frames in, frames out, and the lane that does the kernel work.

A request is the msgpack array ``(id, op, args)``, an answer ``(id, error, result)``; ``error`` is None or a map of
``type`` and ``message``. The operations are a closed list. One client at a time; the kernel has one lock for links
and addresses (rtnl), so one thread does all of it.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import msgpack

from l3agent import __version__
from l3agent.dataplane.reconcile import Reconciler
from l3agent.exceptions import L3AgentError
from l3agent.model.wire import pack_report, unpack_state

LOG = logging.getLogger(__name__)

_READ_BYTES = 1 << 18
#: A frame larger than this is no request of ours (10,000 routers take about 8 MB).
_FRAME_BYTES = 64 << 20
#: Seconds without a request before a look for bridges that lost their last port, and after one was removed.
_TIDY_PAUSE_S, _TIDY_NEXT_S = 0.1, 0.02
#: Seconds a client may leave an answer unread before it is dropped.
_SEND_S = 10


class Client:
    """A connected agent."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", _SEND_S, 0))
        self.connection = connection
        self.unpacker = msgpack.Unpacker(raw=False, max_buffer_size=_FRAME_BYTES)

    def answer(self, number: object, error: Mapping[str, str] | None, result: object) -> None:
        """Send one answer; a client that is gone or does not read is dropped."""
        try:
            self.connection.sendall(msgpack.packb((number, error, result)))
        except OSError as exc:
            LOG.warning("an answer could not be delivered: %s", exc)
            # Not closed here: the selector of the other thread still has it, and the number would be used again.
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


class Server:
    """Listens on a unix socket and hands requests to the lane.

    :param listener: a listening unix stream socket.
    :param allowed: user ids that may connect; 0 always may.
    :param reconciler: made in the lane thread by this call, since it opens sockets that stay with that thread.
    :param exit_with_client: end when the first client has gone.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        allowed: frozenset[int],
        reconciler: Callable[[], Reconciler],
        exit_with_client: bool,
    ) -> None:
        self._listener = listener
        self._allowed = allowed | {0}
        self._make_reconciler = reconciler
        self._exit_with_client = exit_with_client
        self._client: Client | None = None
        self._requests: SimpleQueue[tuple[Client, Any] | None] = SimpleQueue()
        self._stop_read, self._stop_write = os.pipe()
        self._failure: BaseException | None = None
        self._lane = threading.Thread(target=self._run_lane, name="lane")

    def stop(self) -> None:
        """Have :meth:`run` return once the request in hand is done; safe in a signal handler."""
        os.write(self._stop_write, b"\0")

    def run(self) -> None:
        """Serve until stopped.

        :raises Exception: what the lane failed with at its start.
        """
        self._lane.start()
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._listener, selectors.EVENT_READ)
                selector.register(self._stop_read, selectors.EVENT_READ)
                self._serve(selector)
        finally:
            # However this ends: a lane that goes on alone would be a process that listens and never answers.
            self._requests.put(None)
        self._lane.join()
        if self._failure is not None:
            raise self._failure

    # ---- private ---------------------------------------------------------------------------------------------

    def _serve(self, selector: selectors.BaseSelector) -> None:
        while True:
            for key, _ in selector.select():
                if key.fd == self._stop_read:
                    return
                if key.fileobj is self._listener:
                    self._accept(selector)
                elif not self._read(selector, key.data):
                    return

    def _accept(self, selector: selectors.BaseSelector) -> None:
        connection, _ = self._listener.accept()
        client = Client(connection)
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in self._allowed:
            LOG.warning("refused a client of user %d", uid)
            client.answer(0, {"type": "PermissionMissing", "message": f"user {uid} may not use the data plane"}, None)
            connection.close()
        elif self._client is not None and not _hung_up(self._client.connection):
            client.answer(0, {"type": "Busy", "message": "another agent is connected to this data plane"}, None)
            connection.close()
        else:
            if self._client is not None:
                self._drop(selector, self._client)
            self._client = client
            selector.register(connection, selectors.EVENT_READ, client)

    def _read(self, selector: selectors.BaseSelector, client: Client) -> bool:
        """Read what came from the client; return False when its end is ours."""
        if client.connection.fileno() < 0:
            # Its successor was accepted in this same look at the sockets, and it was dropped then.
            return True
        try:
            data = client.connection.recv(_READ_BYTES)
        except OSError:
            data = b""
        try:
            if data:
                client.unpacker.feed(data)
                for request in client.unpacker:
                    self._requests.put((client, request))
                return True
        except (ValueError, msgpack.UnpackException) as exc:
            LOG.error("the client sent something that is no frame: %s", exc)
        self._drop(selector, client)
        return not self._exit_with_client

    def _drop(self, selector: selectors.BaseSelector, client: Client) -> None:
        selector.unregister(client.connection)
        client.connection.close()
        if self._client is client:
            self._client = None

    def _run_lane(self) -> None:
        try:
            reconciler = self._make_reconciler()
        except Exception as exc:
            self._failure = exc
            self.stop()
            return
        while (job := self._next_request(reconciler)) is not None:
            client, request = job
            # Nobody waits for the answer of a client that is gone; its successor asks again.
            if client.connection.fileno() >= 0:
                _execute(reconciler, client, request)

    def _next_request(self, reconciler: Reconciler) -> tuple[Client, Any] | None:
        """Wait for a request; what is left to tidy is done while there is none."""
        pause = _TIDY_PAUSE_S
        while True:
            try:
                return self._requests.get(timeout=pause if reconciler.untidy() else None)
            except Empty:
                pause = _TIDY_NEXT_S if _tidied(reconciler) else _TIDY_PAUSE_S


def _tidied(reconciler: Reconciler) -> bool:
    try:
        return reconciler.tidy()
    except L3AgentError as exc:
        LOG.warning("tidying up: %s; tried again later", exc)
        return False


def _hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


# ---- the closed list of operations -----------------------------------------------------------------------------


def _hello(_: Reconciler, __: Mapping[str, Any]) -> object:
    return {"version": __version__, "pid": os.getpid()}


def _inventory(reconciler: Reconciler, args: Mapping[str, Any]) -> object:
    return reconciler.inventory(marked=bool(args.get("marked", False)))


def _reconcile(reconciler: Reconciler, args: Mapping[str, Any]) -> object:
    states = [unpack_state(one) for one in args["states"]]
    dry_run = bool(args.get("dry_run", False))
    return [pack_report(reconciler.reconcile(key, state, dry_run=dry_run)) for key, state in states]


OPERATIONS: dict[str, Callable[[Reconciler, Mapping[str, Any]], object]] = {
    "hello": _hello,
    "inventory": _inventory,
    "reconcile": _reconcile,
}


def _execute(reconciler: Reconciler, client: Client, request: Any) -> None:
    number: object = 0
    try:
        number, name, args = request
        if name not in OPERATIONS:
            raise ValueError(f"unknown operation {name!r}; known are {', '.join(sorted(OPERATIONS))}")
        result = OPERATIONS[name](reconciler, args)
    except (L3AgentError, ValueError, KeyError, TypeError, OSError) as exc:
        LOG.error("request %r: %s: %s", number, type(exc).__name__, exc)
        client.answer(number, {"type": type(exc).__name__, "message": str(exc)}, None)
    else:
        client.answer(number, None, result)
