# SPDX-License-Identifier: Apache-2.0
"""Run inside a sandbox: send frames as the agent's user: ``python -m tests.hostile.client SOCKET USER FRAMES SEED``.

Bursts of frames on one connection; after each the answers are read, or are not, or the connection is closed while the
data plane works. Prints how many frames of each kind were sent and what came back, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import sys
import time
from collections import Counter
from itertools import islice

import msgpack

from tests.hostile.frames import Frame, Frames

#: Seconds in which a data plane has to take a client, and to answer a valid request.
_PATIENCE_S = 120.0
#: Seconds for which answers to frames that end a connection are awaited.
_END_S = 0.005
#: One burst in this number is sent without reading the answers, or is followed by a hang-up at once.
_UNREAD, _HANG_UP = 2000, 20
_MOST_FRAMES = 32
_READ_BYTES = 1 << 20


class Client:
    """Sends frames, on a new connection whenever the data plane has closed one."""

    def __init__(self, path: str, seed: int) -> None:
        self._path = path
        self._random = random.Random(seed)
        self._connection: socket.socket | None = None
        self.count = Counter[str]()

    def run(self, frames: Frames, count: int) -> None:
        """Send that many frames."""
        source = iter(frames)
        while count:
            burst = list(islice(source, min(count, self._random.randint(1, _MOST_FRAMES))))
            count -= len(burst)
            while burst:
                # What is behind a frame that ends the connection would not be read, and what is before it may not be.
                end = next((at for at, one in enumerate(burst) if one.ends), len(burst)) or 1
                self._send(burst[:end])
                burst = burst[end:]
        self._close()

    def _send(self, burst: list[Frame]) -> None:
        self.count.update(one.kind for one in burst)
        try:
            connection = self._connected()
            connection.sendall(b"".join(one.data for one in burst))
            if not self._random.randrange(_UNREAD):
                self.count["bursts whose answers were not read"] += 1
                connection.sendall(msgpack.packb([0, "inventory", {}]) * 2000)
                time.sleep(self._random.choice((0.1, 1, 11)))
                self._close()
            elif burst[-1].ends:
                self._read_rest(connection)
            elif not self._random.randrange(_HANG_UP):
                self.count["hang-ups"] += 1
                self._close()
            else:
                self._read_answers(connection)
        except OSError:
            self.count["connections closed by the data plane"] += 1
            self._close()

    def _read_answers(self, connection: socket.socket) -> None:
        """Read until the answer to a last request of ours comes."""
        connection.sendall(msgpack.packb([-7, "hello", {}]))
        unpacker = msgpack.Unpacker(raw=False, max_buffer_size=0, strict_map_key=False)
        while True:
            data = connection.recv(_READ_BYTES)
            if not data:
                raise ConnectionResetError
            unpacker.feed(data)
            for number, error, _ in unpacker:
                if number == -7:
                    return
                self.count["errors" if error else "results"] += 1

    def _read_rest(self, connection: socket.socket) -> None:
        connection.settimeout(_END_S)
        with contextlib.suppress(TimeoutError):
            while connection.recv(_READ_BYTES):
                pass
        self._close()

    def _connected(self) -> socket.socket:
        deadline = time.monotonic() + _PATIENCE_S
        while self._connection is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(_PATIENCE_S)
            try:
                connection.connect(self._path)
                connection.sendall(msgpack.packb([-7, "hello", {}]))
                _, error, _ = msgpack.unpackb(connection.recv(4096))
            except (OSError, ValueError):
                error = {}
            if error is None:
                self._connection = connection
                break
            # Another client is there for the moment.
            connection.close()
            if time.monotonic() > deadline:
                raise SystemExit("the data plane takes no client")
            time.sleep(0.002)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def main(path: str, user: str, frames: str, seed: str) -> None:
    """Become the user and send the frames."""
    os.setgroups([])
    os.setresgid(int(user), int(user), int(user))
    os.setresuid(int(user), int(user), int(user))
    client = Client(path, int(seed))
    client.run(Frames(int(seed)), int(frames))
    print(json.dumps(client.count))


if __name__ == "__main__":
    main(*sys.argv[1:])
