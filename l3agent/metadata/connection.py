# SPDX-License-Identifier: Apache-2.0
"""One connection of a client, and its counterpart to haproxy."""

from __future__ import annotations

import socket
from contextlib import suppress
from struct import Struct
from typing import Protocol

from l3agent.metadata.event_loop import HANGUP, READ, WRITE, EventLoop
from l3agent.metadata.flow import Flow, PipePool
from l3agent.metadata.router import ServedRouter

_DISCARD = 65536
#: struct linger (socket(7)): close(2) resets the connection and leaves nothing behind in the namespace.
_RESET = Struct("ii").pack(1, 0)


def reset(sock: socket.socket) -> None:
    """Set an option with which close(2) resets a TCP connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class Owner(Protocol):
    """Observes connections."""

    def on_linger(self, connection: ClientConnection) -> None:
        """Record that a connection begins to linger."""

    def on_end(self, connection: ClientConnection) -> None:
        """Record that a connection is about to be closed; called once."""


class ClientConnection:
    """Moves bytes between a client and haproxy until one of them ends.

    ::

        forwarding --haproxy ends, all bytes delivered--> closed
             |  \\--the same, and the client still sends--> lingering --client ends, or time is up--> closed
             \\--client or router ends--> closed

    While lingering, bytes of the client are read and dropped: closing a socket with unread bytes resets the connection,
    and the client could lose the answer (RFC 9112, section 9.6).

    :param source: packed address of the client.
    :param sockets: of the client, and the connection to haproxy, or None if there is none.
    :ivar active_at: monotonic time of the last event, or of the begin of lingering.
    """

    __slots__ = (
        "_client",
        "_client_events",
        "_is_half_closed",
        "_loop",
        "_owner",
        "_pool",
        "_to_client",
        "_to_upstream",
        "_upstream",
        "_upstream_events",
        "active_at",
        "router",
        "source",
    )

    def __init__(
        self,
        loop: EventLoop,
        pool: PipePool,
        router: ServedRouter,
        source: bytes,
        sockets: tuple[socket.socket, socket.socket | None],
        owner: Owner,
    ) -> None:
        self._loop = loop
        self._pool = pool
        self.router = router
        self.source = source
        self._client, self._upstream = client, upstream = sockets
        self._owner = owner
        self._is_half_closed = False
        self._client_events = self._upstream_events = READ
        self.active_at = loop.now
        inside = client.fileno()
        outside = -1 if upstream is None else upstream.fileno()
        self._to_upstream = Flow(inside, outside)
        self._to_client = Flow(outside, inside)

    def start(self) -> None:
        """Begin to forward."""
        assert self._upstream is not None
        self._loop.watch(self._client.fileno(), READ, self._on_client)
        self._loop.watch(self._upstream.fileno(), READ, self._on_upstream)

    def answer(self, response: bytes) -> None:
        """Answer the client in place of haproxy, and end."""
        try:
            self._client.send(response)
        except OSError:
            self.close()
        else:
            self._linger()

    def close(self, *, is_reset: bool = False) -> None:
        """Close both sockets.

        :param is_reset: reset the connection of the client, so that nothing of it stays in its namespace.
        """
        self._owner.on_end(self)
        for flow in (self._to_upstream, self._to_client):
            flow.discard()
        if is_reset:
            reset(self._client)
        self._loop.close(self._client)
        if self._upstream is not None:
            self._loop.close(self._upstream)

    # ---- private ---------------------------------------------------------------------------------------------

    def _on_client(self, events: int) -> None:
        if events & HANGUP:
            self.close()
            return
        self.active_at = self._loop.now
        if events & WRITE and not self._send_to_client():
            return
        if events & READ and self._to_upstream.is_reading:
            self._send_to_upstream()
        self._update()

    def _on_upstream(self, events: int) -> None:
        self.active_at = self._loop.now
        if events & WRITE or (events & HANGUP and self._to_upstream.waiting):
            self._send_to_upstream()
        if not self._to_client.waiting and events & (READ | HANGUP):
            if not self._send_to_client():
                return
            # haproxy has already closed: the next read finds the end, without waiting for another event.
            if events & HANGUP and not self._to_client.waiting and not self._send_to_client():
                return
        self._update()

    def _send_to_client(self) -> bool:
        """Move bytes; return False if the client has gone, and the connection is closed."""
        try:
            self._to_client.move(self._pool)
        except OSError:
            self.close()
            return False
        return True

    def _send_to_upstream(self) -> None:
        try:
            self._to_upstream.move(self._pool)
        except OSError:
            # haproxy reads no more; its answer may wait to be read.
            self._to_upstream.discard()

    def _update(self) -> None:
        """Follow what has changed: end, close one direction, wait for other events."""
        assert self._upstream is not None
        to_client, to_upstream = self._to_client, self._to_upstream
        if to_client.ended and not to_client.waiting:
            self._finish()
            return
        if to_upstream.ended and not to_upstream.waiting and not self._is_half_closed:
            self._is_half_closed = True
            # ENOTCONN: haproxy has closed; the next read finds the end.
            with suppress(OSError):
                self._upstream.shutdown(socket.SHUT_WR)
        events = READ if to_upstream.is_reading else 0
        if to_client.waiting:
            events |= WRITE
        if events != self._client_events:
            self._client_events = events
            # Without events a reset is still reported.
            self._loop.watch(self._client.fileno(), events, self._on_client)
        events = 0 if to_client.waiting else READ
        if to_upstream.waiting:
            events |= WRITE
        if events != self._upstream_events:
            self._upstream_events = events
            if events:
                self._loop.watch(self._upstream.fileno(), events, self._on_upstream)
            else:
                # haproxy may have closed while the client is slow: EPOLLHUP would be reported again and again.
                self._loop.unwatch(self._upstream.fileno())

    def _finish(self) -> None:
        """Close after the last byte of haproxy; linger if the client still sends."""
        flow = self._to_upstream
        if flow.waiting or flow.is_broken or (not flow.ended and self._has_unread()):
            self._linger()
        else:
            self.close()

    def _has_unread(self) -> bool:
        """Return True if the client has sent bytes that haproxy did not read; drop them."""
        try:
            return bool(self._client.recv(_DISCARD))
        except OSError:
            return False

    def _linger(self) -> None:
        self._owner.on_linger(self)
        self._to_upstream.discard()
        if self._upstream is not None:
            self._loop.close(self._upstream)
            self._upstream = None
        self.active_at = self._loop.now
        try:
            self._client.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._loop.watch(self._client.fileno(), READ, self._drop)

    def _drop(self, events: int) -> None:
        try:
            has_more = bool(self._client.recv(_DISCARD))
        except BlockingIOError:
            has_more = not events & HANGUP
        except OSError:
            has_more = False
        if not has_more:
            self.close()
