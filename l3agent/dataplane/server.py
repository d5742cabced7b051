# SPDX-License-Identifier: Apache-2.0
"""The socket of the data plane: frames in, frames out.

A request is the msgpack array ``(id, op, args)``, an answer ``(id, error, result)``; ``error`` is None or a map of
``type`` and ``message``. One client at a time; what it asks for is done in the lane.
"""

from __future__ import annotations

import logging
import os
import select
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

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", _SEND_S, 0))
        self.connection = connection
        self.unpacker = msgpack.Unpacker(raw=False, max_buffer_size=_FRAME_BYTES)
        self._ended = select.poll()
        self._ended.register(connection, 0)

    @property
    def connected(self) -> bool:
        """Whether anybody waits for an answer: the other end is open, whatever is still to be read."""
        return not self._ended.poll(0)

    def answer(self, number: object, error: Mapping[str, str] | None, result: object) -> None:
        """Send one answer; a client that is gone or does not read is dropped."""
        try:
            self.connection.sendall(msgpack.packb((number, error, result)))
        except OSError as exc:
            LOG.warning("an answer could not be delivered: %s", exc)
            # Not closed here: the selector still has it, and the number would be used again.
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


class Server:
    """Listens on a unix socket and has the lane do what is asked.

    :param listener: a listening unix stream socket.
    :param allowed: user ids that may connect; 0 always may.
    :param lane: does the work.
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
        self._stopped = False
        self._stop_read, self._stop_write = os.pipe()

    def stop(self) -> None:
        """Have :meth:`run` return once the request in hand is done; safe in a signal handler."""
        self._stopped = True
        os.write(self._stop_write, b"\0")

    def run(self) -> None:
        """Serve until stopped."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ, self._accept)
            selector.register(self._stop_read, selectors.EVENT_READ, None)
            for descriptor in self._lane.descriptors:
                selector.register(descriptor, selectors.EVENT_READ, self._hear)
            while not self._stopped:
                self._lane.resume()
                ready = selector.select(self._lane.wait())
                for key, _ in ready:
                    if isinstance(key.data, Client):
                        self._read(selector, key.data)
                    elif key.data is not None:
                        key.data(selector)
                if not ready or not any(isinstance(key.data, Client) for key, _ in ready):
                    self._lane.rest()

    # ---- private ---------------------------------------------------------------------------------------------

    def _hear(self, _: selectors.BaseSelector) -> None:
        self._lane.hear()

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

    def _read(self, selector: selectors.BaseSelector, client: Client) -> None:
        """Do what the client asks for."""
        if client.connection.fileno() < 0:
            # Its successor was accepted in this same look at the sockets, and it was dropped then.
            return
        try:
            data = client.connection.recv(_READ_BYTES)
        except OSError:
            data = b""
        try:
            if data:
                client.unpacker.feed(data)
                for request in client.unpacker:
                    self._lane.serve(client, request)
                    if self._stopped:
                        return
                return
        except (ValueError, msgpack.UnpackException) as exc:
            LOG.error("the client sent something that is no frame: %s", exc)
        self._drop(selector, client)
        self._stopped = self._stopped or self._exit_with_client

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
