# SPDX-License-Identifier: Apache-2.0
"""One direction of a connection: bytes move from socket to socket through a pipe, by splice(2), without being copied.

A pipe belongs to a direction only while the sink does not accept what the source sent; otherwise one pipe serves all
connections in turn. A direction whose pipe holds bytes reads no more: so a slow reader slows the writer down.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

#: Bytes of a pipe, which is what one direction of a connection buffers at most.
_PIPE_SIZE = 16384
#: Bytes in one call.
_CHUNK = 65536
_FLAGS = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
#: Empty pipes that stay open.
_MAX_SPARE = 8

Pipe = tuple[int, int]


class PipePool:
    """Pipes for directions in which bytes wait."""

    def __init__(self) -> None:
        self._spare: list[Pipe] = []

    def get(self) -> Pipe:
        """Return an empty pipe.

        :raises OSError: no descriptor is left.
        """
        if self._spare:
            return self._spare.pop()
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # EPERM: the pipes of this user have more pages than fs.pipe-user-pages-soft; the kernel made it smaller.
        with suppress(OSError):
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        return pipe

    def put(self, pipe: Pipe) -> None:
        """Return an empty pipe to the pool."""
        if len(self._spare) < _MAX_SPARE:
            self._spare.append(pipe)
        else:
            close_pipe(pipe)


def close_pipe(pipe: Pipe) -> None:
    """Close both ends of a pipe."""
    os.close(pipe[0])
    os.close(pipe[1])


class Flow:
    """One direction.

    :param source: descriptor to read from.
    :param sink: descriptor to write to.
    :ivar waiting: bytes read from the source that the sink has not accepted yet.
    :ivar ended: the source has sent its last byte.
    :ivar is_broken: the sink reads no more.
    """

    __slots__ = ("_pipe", "_sink", "_source", "ended", "is_broken", "waiting")

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._pipe: Pipe | None = None
        self.waiting = 0
        self.ended = False
        self.is_broken = False

    def move(self, pool: PipePool) -> None:
        """Move what waits, or what the source has; at most one chunk.

        A source that failed has ended; what it sent before is delivered.

        :raises OSError: the sink failed, or there is no descriptor for a pipe; what waited is lost.
        """
        if not self.waiting:
            pipe = pool.get()
            try:
                self.waiting = os.splice(self._source, pipe[1], _CHUNK, flags=_FLAGS)
                self.ended = not self.waiting
            except BlockingIOError:
                pass
            except OSError:
                self.ended = True
            if not self.waiting:
                pool.put(pipe)
                return
            self._pipe = pipe
        self._drain(pool)

    @property
    def is_reading(self) -> bool:
        """True if the next event of the source is awaited."""
        return not (self.ended or self.is_broken or self.waiting)

    def discard(self) -> None:
        """Drop what waits, and move no more."""
        self.is_broken = True
        self.waiting = 0
        if self._pipe is not None:
            close_pipe(self._pipe)
            self._pipe = None

    def _drain(self, pool: PipePool) -> None:
        assert self._pipe is not None
        try:
            self.waiting -= os.splice(self._pipe[0], self._sink, self.waiting, flags=_FLAGS)
        except BlockingIOError:
            return
        except OSError:
            self.discard()
            raise
        if not self.waiting:
            pool.put(self._pipe)
            self._pipe = None
