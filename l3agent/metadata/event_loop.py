# SPDX-License-Identifier: Apache-2.0
"""The event loop: one thread, one epoll(7) instance, level-triggered."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
#: Always reported, also if not requested (epoll_ctl(2)).
HANGUP = select.EPOLLHUP | select.EPOLLERR
#: Seconds between two calls of ``on_tick``.
_TICK_S = 1.0

Handler = Callable[[int], None]


class EventLoop:
    """Calls the handlers of descriptors.

    A descriptor is closed after all handlers of a round have run: a handler never receives an event of an earlier
    descriptor of the same number.

    :ivar now: monotonic time of this round, in seconds.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._closing: list[socket.socket] = []
        self._is_stopped = False
        self.now = time.monotonic()

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Call ``handler(events)`` when one of the events occurs, instead of an earlier handler."""
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        """Call the handler no more. Idempotent."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self, sock: socket.socket) -> None:
        """Close a socket at the end of this round."""
        self.unwatch(sock.fileno())
        self._closing.append(sock)

    def flush(self) -> None:
        """Close the sockets that wait for the end of the round."""
        for sock in self._closing:
            sock.close()
        self._closing.clear()

    def run(self, on_tick: Callable[[], bool]) -> None:
        """Run until :meth:`stop`.

        :param on_tick: called about once per second; if it returns False, not until a descriptor is ready.
        """
        next_tick = 0.0
        while not self._is_stopped:
            self.step(max(0.0, next_tick - self.now) if next_tick else None)
            if self.now >= next_tick:
                next_tick = self.now + _TICK_S if on_tick() else 0.0
            self.flush()

    def step(self, timeout: float | None) -> None:
        """Wait for events for ``timeout`` seconds at most (None: without limit), and call their handlers."""
        ready = self._epoll.poll(timeout)
        self.now = time.monotonic()
        for fd, events in ready:
            # An earlier handler of this round may have closed it.
            if (handler := self._handlers.get(fd)) is not None:
                handler(events)
        self.flush()

    def stop(self) -> None:
        """End :meth:`run` after this round."""
        self._is_stopped = True
