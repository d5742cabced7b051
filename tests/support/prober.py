# SPDX-License-Identifier: Apache-2.0
"""Run as a script: TCP and UDP from and to network namespaces, steered by JSON lines. The standard library only.

One process serves all namespaces of a sandbox, so that a probe costs a millisecond and not the start of a program.
A listener answers each connection with the address it saw and its own name, then echoes lines; each datagram with its
name.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import sys
import threading
from typing import Any

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_open: dict[int, socket.socket] = {}


def socket_in(namespace: str, family: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Return a socket of a namespace."""
    home, there = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if _libc.setns(there, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
        try:
            return socket.socket(family, kind)
        finally:
            assert _libc.setns(home, _CLONE_NEWNET) == 0
    finally:
        os.close(there)
        os.close(home)


def listen(namespace: str, port: int) -> None:
    """Answer on a port of all addresses of a namespace from now on."""
    try:
        listener = socket_in(namespace, socket.AF_INET6)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    except OSError:
        # A kernel without IPv6.
        listener = socket_in(namespace, socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", port))
    listener.listen(64)
    threading.Thread(target=_accept, args=(listener, namespace), daemon=True).start()
    datagrams = socket_in(namespace, socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", port))
    threading.Thread(target=_answer_datagrams, args=(datagrams, namespace), daemon=True).start()


def _accept(listener: socket.socket, name: str) -> None:
    while True:
        connection, peer = listener.accept()
        threading.Thread(target=_answer, args=(connection, peer[0], name), daemon=True).start()


def _answer(connection: socket.socket, peer: str, name: str) -> None:
    try:
        with connection, connection.makefile("rwb", buffering=0) as stream:
            stream.write(f"{peer.removeprefix('::ffff:')} {name}\n".encode())
            while line := stream.readline():
                stream.write(line)
    except OSError:
        pass


def _answer_datagrams(datagrams: socket.socket, name: str) -> None:
    while True:
        _, peer = datagrams.recvfrom(64)
        with contextlib.suppress(OSError):
            datagrams.sendto(name.encode(), peer)


def open_stream(namespace: str, to: str, port: int) -> int:
    """Return the number of a UDP socket that sends to an address, always from the same port."""
    one = socket_in(namespace, socket.AF_INET, socket.SOCK_DGRAM)
    one.connect((to, port))
    _open[one.fileno()] = one
    return one.fileno()


def exchange(number: int, timeout: float) -> str:
    """Send one datagram of a stream; return the name in the first answer within ``timeout`` seconds, or nothing."""
    one = _open[number]
    one.settimeout(timeout)
    try:
        one.send(b"x")
        return one.recv(64).decode()
    except OSError:
        return ""


def connect(namespace: str, to: str, port: int, source: str | None, timeout: float) -> dict[str, Any]:
    """Connect and return who answered, which address it saw, and a number for :func:`echo`."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    one = socket_in(namespace, family)
    one.settimeout(timeout)
    try:
        if source:
            one.bind((source, 0))
        one.connect((to, port))
        seen, name = one.makefile("r").readline().split()
    except (OSError, ValueError) as exc:
        one.close()
        return {"error": str(exc)}
    _open[one.fileno()] = one
    return {"seen": seen, "name": name, "own": one.getsockname()[0], "number": one.fileno()}


def echo(number: int, timeout: float) -> bool:
    """Tell whether a connection still carries data both ways within ``timeout`` seconds."""
    one = _open[number]
    one.settimeout(timeout)
    try:
        one.sendall(b"hello\n")
        return one.recv(6) == b"hello\n"
    except OSError:
        return False


def close(number: int) -> None:
    """Close a connection."""
    _open.pop(number).close()


def main() -> None:
    calls = {f.__name__: f for f in (listen, connect, echo, open_stream, exchange, close)}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": calls[request.pop("call")](**request)}
        except Exception as exc:
            answer = {"failed": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
