# SPDX-License-Identifier: Apache-2.0
"""One connection to the data-plane process: a unix socket, and msgpack frames in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import eventlet
import msgpack
from eventlet.green import socket
from eventlet.semaphore import Semaphore
from oslo_log import log as logging

from l3agent.agent.dataplane_process import DataplaneProcess
from l3agent.exceptions import DataplaneUnavailable, PermissionMissing

LOG = logging.getLogger(__name__)

_RECEIVE_BYTES = 262144
#: A frame of this size would be tens of thousands of routers: the stream is broken.
_FRAME_BYTES_MAX = 1 << 30
_CONNECT_RETRY_S = 0.02

#: Errors of an invalid frame, or of one without the expected members.
INVALID_FRAME = (ValueError, TypeError, KeyError, msgpack.UnpackException)


class DataplaneConnection:
    """A connected socket and its stream of frames. Several greenthreads may send, one reads.

    :param sock: a connected stream socket, which this object owns.
    """

    def __init__(self, sock: Any) -> None:
        self._socket = sock
        self._stream = msgpack.Unpacker(raw=False, max_buffer_size=_FRAME_BYTES_MAX)
        self._sending = Semaphore()
        #: True once a frame was sent in part, so that the rest of the stream is invalid.
        self.is_broken = False

    def send(self, frame: bytes) -> None:
        """Send a frame.

        A greenthread that is killed or times out in mid-frame leaves a broken connection, which the caller shuts down.

        :raises OSError: the connection is lost.
        """
        with self._sending:
            try:
                self._socket.sendall(frame)
            except OSError:
                raise
            except BaseException:
                self.is_broken = True
                raise

    def frames(self) -> Iterator[Any]:
        """Yield frames until the peer closes the connection or :meth:`shut_down` is called.

        :raises OSError: the connection is lost.
        :raises Exception: one of ``INVALID_FRAME``.
        """
        while True:
            yield from self._stream
            data = self._socket.recv(_RECEIVE_BYTES)
            if not data:
                return
            self._stream.feed(data)

    def shut_down(self) -> None:
        """End the stream in both directions, which wakes the reader; closing the socket would not. Idempotent."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError as exc:
            LOG.debug("The peer has already closed the connection: %s", exc)

    def close(self) -> None:
        """Close the socket; only its reader may. Idempotent."""
        self._socket.close()


def open_connection(path: str, process: DataplaneProcess | None) -> DataplaneConnection:
    """Connect to a unix socket, with a new process if none listens; retry without end while that process starts.

    :param process: started if no process listens; None if another program starts it.
    :raises DataplaneUnavailable: no process listens, or it cannot be started.
    :raises PermissionMissing: this user must not connect, or the process lacks a privilege.
    :raises ConfigError: the process rejects its configuration.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        while True:
            try:
                sock.connect(path)
                return DataplaneConnection(sock)
            except PermissionError as exc:
                raise PermissionMissing(
                    f"{path}: this user is not permitted to connect to l3-dataplane ({exc})"
                ) from exc
            except (FileNotFoundError, ConnectionRefusedError) as exc:
                if process is None:
                    raise DataplaneUnavailable(f"no process listens at {path} (l3-dataplane)") from exc
                process.ensure_running()
            eventlet.sleep(_CONNECT_RETRY_S)
    except BaseException:
        sock.close()
        raise
