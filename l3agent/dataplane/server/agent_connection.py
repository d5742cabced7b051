# SPDX-License-Identifier: Apache-2.0
"""The connection to an agent: frames in, frames out, and no call that blocks.

A request is the msgpack array ``(id, op, args)``, an answer ``(id, error, result)``; ``error`` is None or a map of
``type`` and ``message``.
"""

from __future__ import annotations

import logging
import select
import selectors
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

import msgpack

from l3agent.model.wire import FRAME_BYTES

LOG = logging.getLogger(__name__)

_READ_BYTES = 1 << 18
#: Limits of a decoded frame. One byte can become an empty list of 56 bytes, so a frame becomes 240 MB at most.
_STRING_BYTES, _LIST_ELEMENTS, _MAP_ELEMENTS = 4096, 1 << 17, 64
#: Bytes of unread answers from which on a client's requests are not read, and of one answer.
_UNREAD_BYTES, _ANSWER_BYTES = 1 << 20, 128 << 20
#: Seconds for which a client may read nothing of an answer before it is dropped.
_SEND_S = 10.0
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
    def user(self) -> int:
        """User id of the process at the other end."""
        _, uid, _ = struct.unpack("3i", self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(uid)

    @property
    def is_closed(self) -> bool:
        """True if the other end has closed the connection, and all it sent is read."""
        try:
            return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    @property
    def connected(self) -> bool:
        """True if the other end is open and so waits for an answer, whatever is still to be read."""
        return not self._hangup_poll.poll(0)

    def receive(self) -> bytes | None:
        """Return received bytes; none if requests are left from before, or the connection is at its end.

        :returns: None if nothing was received.
        """
        if self.is_behind or self.is_broken:
            return b""
        try:
            return self.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

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
