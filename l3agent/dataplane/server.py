# SPDX-License-Identifier: Apache-2.0
"""The socket of the data plane: frames in, frames out.

A request is the msgpack array ``(id, op, args)``, an answer ``(id, error, result)``; ``error`` is None or a map of
``type`` and ``message``. One client at a time; what it requests is done by the kernel thread.
"""

from __future__ import annotations

import logging
import os
import select
import selectors
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

import msgpack

from l3agent.dataplane.kernel_thread import KernelThread
from l3agent.dataplane.socket_file import SocketFile
from l3agent.model.escape import shorten
from l3agent.model.wire import FRAME_BYTES

LOG = logging.getLogger(__name__)

_READ_BYTES = 1 << 18
#: Limits of a decoded frame. One byte can become an empty list of 56 bytes, so a frame becomes 240 MB at most.
_STRING_BYTES, _LIST_ELEMENTS, _MAP_ELEMENTS = 4096, 1 << 17, 64
#: Bytes of unread answers from which on a client's requests are not read, and of one answer.
_UNREAD_BYTES, _ANSWER_BYTES = 1 << 20, 128 << 20
#: Seconds for which a client may read nothing of an answer before it is dropped.
_SEND_S = 10.0
#: Seconds between two checks of the file of the socket.
_CHECK_S = 1.0
#: Seconds of work on the requests of one read, which may be thousands, before other events are processed.
_SLICE_S = 0.05
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class AgentConnection:
    """A connected agent. No method blocks: answers that the agent does not read wait in a buffer.

    :ivar is_broken: the connection failed and is to be dropped.
    :ivar is_behind: received requests may wait for execution.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.is_broken = self.is_behind = False
        #: Events that the selector reports of it.
        self.events = 0
        #: Bytes of a frame that is not complete yet; the unpacker drops what it has decoded, and counts only the rest.
        self._incomplete = 0
        self._unpacker = msgpack.Unpacker(
            raw=False,
            max_buffer_size=FRAME_BYTES,
            max_str_len=_STRING_BYTES,
            max_bin_len=FRAME_BYTES,
            max_array_len=_LIST_ELEMENTS,
            max_map_len=_MAP_ELEMENTS,
            max_ext_len=0,
        )
        self._unsent = bytearray()
        self._last_progress = 0.0
        self._hangup_poll = select.poll()
        self._hangup_poll.register(connection, 0)

    @property
    def connected(self) -> bool:
        """True if the other end is open and so waits for an answer, whatever is still to be read."""
        return not self._hangup_poll.poll(0)

    def feed(self, data: bytes) -> None:
        """Add received bytes.

        :raises msgpack.UnpackException: they exceed the limits of a frame.
        """
        self._unpacker.feed(data)
        self._incomplete += len(data)

    def requests(self) -> Iterator[object]:
        """Yield the requests that are complete and not taken yet.

        :raises ValueError, msgpack.UnpackException: the received bytes are no frame, or exceed its length.
        """
        for request in self._unpacker:
            self._incomplete = 0
            yield request
        if self._incomplete > FRAME_BYTES:
            raise ValueError(f"a frame of more than {FRAME_BYTES} bytes")

    def answer(self, number: object, error: Mapping[str, str] | None, result: object) -> None:
        """Send one answer as far as the client reads it now; the rest is sent by :meth:`flush`."""
        packed = msgpack.packb((number, error, result))
        if len(packed) > _ANSWER_BYTES:
            message = f"the answer has {len(packed)} bytes, more than {_ANSWER_BYTES}"
            packed = msgpack.packb((number, {"type": "AnswerTooLong", "message": message}, None))
        if not self._unsent:
            self._last_progress = time.monotonic()
        self._unsent += packed
        self.flush()

    def flush(self) -> None:
        """Send as much as the client reads now."""
        try:
            while self._unsent and not self.is_broken:
                sent = self.connection.send(memoryview(self._unsent)[:_UNREAD_BYTES])
                del self._unsent[:sent]
                self._last_progress = time.monotonic()
        except BlockingIOError:
            if self.send_time_left() <= 0:
                self._mark_broken(f"nothing was read for {_SEND_S:g} s")
        except OSError as exc:
            self._mark_broken(str(exc))

    def send_time_left(self) -> float:
        """Return the seconds until the client must have read something."""
        return self._last_progress + _SEND_S - time.monotonic() if self._unsent else _SEND_S

    def wanted_events(self, has_room: bool) -> int:
        """Return the events to wait for.

        :param has_room: more requests can be started.
        """
        reads = self.accepts_requests(has_room) and not self.is_behind
        return (_READ if reads else 0) | (_WRITE if self._unsent else 0)

    def accepts_requests(self, has_room: bool) -> bool:
        """Return True if a request of the client may be begun: it reads its answers."""
        return has_room and len(self._unsent) < _UNREAD_BYTES

    def _mark_broken(self, reason: str) -> None:
        LOG.warning("an answer could not be delivered: %s", reason)
        self.is_broken = True
        self._unsent.clear()
        # Not closed here: the selector still has it, and the number would be used again.
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class DataplaneServer:
    """Listens on a unix socket and passes requests to the kernel thread.

    :param file: its user, and root, may connect.
    :param kernel_thread: does the work.
    :param exit_with_client: end when the first client has gone.
    """

    def __init__(
        self,
        file: SocketFile,
        *,
        kernel_thread: KernelThread,
        exit_with_client: bool,
    ) -> None:
        self._file = file
        self._allowed = {file.user, 0}
        self._kernel_thread = kernel_thread
        self._exit_with_client = exit_with_client
        self._client: AgentConnection | None = None
        self._stopped = False
        self._stop_read, self._stop_write = os.pipe()

    def stop(self) -> None:
        """Make :meth:`run` return after the current request; safe in a signal handler."""
        self._stopped = True
        os.write(self._stop_write, b"\0")

    def run(self) -> None:
        """Serve until stopped."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._file.listener, selectors.EVENT_READ, self._accept)
            selector.register(self._stop_read, selectors.EVENT_READ, None)
            for descriptor in self._kernel_thread.descriptors:
                selector.register(descriptor, selectors.EVENT_READ, self._read_events)
            next_check = 0.0
            while not self._stopped:
                if (now := time.monotonic()) >= next_check:
                    next_check = self._check_file(selector)
                self._kernel_thread.resume()
                ready = selector.select(min(self._select_events(selector), max(0.0, next_check - now)))
                for key, events in ready:
                    if isinstance(key.data, AgentConnection):
                        if events & _WRITE:
                            key.data.flush()
                        if events & _READ or key.data.is_broken:
                            self._read(selector, key.data)
                    elif key.data is not None:
                        key.data(selector)
                if self._client is not None and self._is_behind():
                    self._read(selector, self._client)
                elif not ready or not any(isinstance(key.data, AgentConnection) for key, _ in ready):
                    self._kernel_thread.on_idle()

    # ---- private ---------------------------------------------------------------------------------------------

    def _select_events(self, selector: selectors.BaseSelector) -> float:
        """Select the events of the client to wait for; return the seconds until other work is due."""
        client, seconds = self._client, self._kernel_thread.wait()
        if client is None:
            return seconds
        time_left = client.send_time_left()
        if client.is_broken or time_left <= 0:
            client.flush()
            time_left = client.send_time_left()
        events = _READ if client.is_broken else client.wanted_events(self._kernel_thread.has_room)
        if events != client.events:
            if not client.events:
                selector.register(client.connection, events, client)
            elif not events:
                selector.unregister(client.connection)
            else:
                selector.modify(client.connection, events, client)
            client.events = events
        return 0.0 if self._is_behind() else min(seconds, max(0.0, time_left))

    def _is_behind(self) -> bool:
        """Return True if a received request waits and may be executed now."""
        client = self._client
        return (
            client is not None
            and client.is_behind
            and not client.is_broken
            and client.accepts_requests(self._kernel_thread.has_room)
        )

    def _read_events(self, _: selectors.BaseSelector) -> None:
        self._kernel_thread.read_events()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        connection, _ = self._file.listener.accept()
        client = AgentConnection(connection)
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in self._allowed:
            LOG.warning("refused a client of user %d", uid)
            client.answer(0, {"type": "PermissionMissing", "message": f"user {uid} may not use the data plane"}, None)
            connection.close()
        elif self._client is not None and not _is_closed(self._client.connection):
            client.answer(0, {"type": "Busy", "message": "another agent is connected to this data plane"}, None)
            connection.close()
        else:
            if self._client is not None:
                self._drop(selector, self._client)
            self._client = client

    def _check_file(self, selector: selectors.BaseSelector) -> float:
        """Listen again where the file of the socket is gone; return the time of the next check."""
        former = self._file.listener
        if self._file.restore():
            selector.unregister(former)
            selector.register(self._file.listener, selectors.EVENT_READ, self._accept)
        return time.monotonic() + _CHECK_S

    def _read(self, selector: selectors.BaseSelector, client: AgentConnection) -> None:
        """Execute requests of the client for a slice of time; the rest follows after other events."""
        if client.connection.fileno() < 0:
            # Its successor was accepted in the same call of select, and it was dropped then.
            return
        try:
            data = b"" if client.is_behind or client.is_broken else client.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            if (data or client.is_behind) and not client.is_broken:
                self._execute_requests(client, data)
                return
        except (ValueError, msgpack.UnpackException) as exc:
            LOG.error("the client sent an invalid frame: %s", shorten(str(exc)))
        self._drop(selector, client)
        self._stopped = self._stopped or self._exit_with_client

    def _execute_requests(self, client: AgentConnection, data: bytes) -> None:
        client.feed(data)
        client.is_behind = False
        until = time.monotonic() + _SLICE_S
        for request in client.requests():
            self._kernel_thread.serve(client, request)
            client.is_behind = time.monotonic() >= until or not client.accepts_requests(self._kernel_thread.has_room)
            if self._stopped or client.is_behind:
                break

    def _drop(self, selector: selectors.BaseSelector, client: AgentConnection) -> None:
        if client.events:
            selector.unregister(client.connection)
            client.events = 0
        client.connection.close()
        if self._client is client:
            self._client = None


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
