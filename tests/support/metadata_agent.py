# SPDX-License-Identifier: Apache-2.0
"""A simulated metadata agent, and HTTP as its clients speak it."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
import time
from pathlib import Path
from typing import Any


class SimulatedAgent:
    """A metadata agent that reads as that of Neutron 29 does: once, 4096 bytes; it answers with what it got, as JSON.

    :ivar delay: seconds before each answer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.delay = 0.0
        self.processing = self.most_processing = 0
        self._server: socketserver.ThreadingUnixStreamServer | None = None

    def start(self) -> None:
        """Listen."""
        agent = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                agent._answer(self.request)

        class Server(socketserver.ThreadingUnixStreamServer):
            request_queue_size = 1024
            daemon_threads = True

        self.path.unlink(missing_ok=True)
        self._server = Server(str(self.path), Handler)
        self.path.chmod(0o666)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self.path.unlink(missing_ok=True)
            self._server = None

    def _answer(self, connection: socket.socket) -> None:
        request = connection.recv(4096)
        self.processing += 1
        self.most_processing = max(self.processing, self.most_processing)
        time.sleep(self.delay)
        self.processing -= 1
        head, _, body = request.partition(b"\r\n\r\n")
        line, *headers = head.decode("latin-1").split("\r\n")
        seen = {
            "line": line,
            "headers": [[name.lower(), value.strip()] for name, _, value in (one.partition(":") for one in headers)],
            "body": len(body),
            "bytes": len(request),
        }
        answer = json.dumps(seen).encode()
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))


def request(path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    """Return a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 169.254.169.254", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def read_answer(client: socket.socket) -> tuple[int, Any]:
    """Read one answer; return its status, and the body, of JSON if it is.

    :raises ConnectionError: the connection ended before.
    """
    received = b""
    while b"\r\n\r\n" not in received:
        received += _read(client)
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
    while len(body) < length:
        body += _read(client)
    return int(lines[0].split()[1]), json.loads(body) if body.startswith(b"{") else body


def headers_named(answer: Any, name: str) -> list[str]:
    """Return the values of a header that the agent got."""
    return [value for key, value in answer["headers"] if key == name.lower()]


def is_closed(client: socket.socket) -> bool:
    """Return True if the other side has closed or reset a connection."""
    client.settimeout(20)
    try:
        return client.recv(65536) == b""
    except ConnectionError:
        return True


def _read(client: socket.socket) -> bytes:
    received = client.recv(65536)
    if not received:
        raise ConnectionError("the connection ended before the answer")
    return received
