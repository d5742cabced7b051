# SPDX-License-Identifier: Apache-2.0
"""The socket of the data plane: frames in, frames out.

A request is the msgpack array ``(id, op, args)``, an answer ``(id, error, result)``; ``error`` is None or a map of
``type`` and ``message``. One client at a time; what it asks for is done in the lane.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress

import msgpack

from l3agent.dataplane.lane import Lane

LOG = logging.getLogger(__name__)

_READ_BYTES = 1 << 18
#: A frame larger than this is no request of ours (10,000 routers take about 8 MB).
_FRAME_BYTES = 64 << 20
#: Seconds a client may leave an answer unread before it is dropped.
_SEND_S = 10


class Client:
    """A connected agent."""

    @property
    def connected(self) -> bool:
        """Whether anybody waits for an answer."""
        return self.connection.fileno() >= 0

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
    :param lane: does the work; it is started and ended here.
    :param exit_with_client: end when the first client has gone.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        allowed: frozenset[int],
        lane: Lane,
        exit_with_client: bool,
    ) -> None:
        self._listener = listener
        self._allowed = allowed | {0}
        self._lane = lane
        self._exit_with_client = exit_with_client
        self._client: Client | None = None
        self._stop_read, self._stop_write = os.pipe()

    def stop(self) -> None:
        """Have :meth:`run` return once the request in hand is done; safe in a signal handler."""
        os.write(self._stop_write, b"\0")

    def run(self) -> None:
        """Serve until stopped.

        :raises Exception: what the lane failed with at its start.
        """
        self._lane.start(on_failure=self.stop)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._listener, selectors.EVENT_READ)
                selector.register(self._stop_read, selectors.EVENT_READ)
                self._serve(selector)
        finally:
            # However this ends: a lane that goes on alone would be a process that listens and never answers.
            self._lane.end()

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
                    self._lane.put(client, request)
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


def _hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
