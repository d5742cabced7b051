# SPDX-License-Identifier: Apache-2.0
"""Run as a script: traffic without a pause between network namespaces, and what is lost. The standard library only.

The first line of the input is a JSON map: ``servers``, namespaces in which port 8 answers; ``clients``, lists of kind,
namespace and address. Each further line is answered with what was sent and lost so far, by client. Kinds: ``stream`` is
one TCP connection that stays open; ``connections`` are new ones, one after the other; ``datagrams`` are UDP, each a new
flow. A lost segment of TCP shows as one that was sent again.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import struct
import sys
import threading
import time
from collections import Counter

#: Beside that of tests/support/prober.py.
PORT = 8
_CLONE_NEWNET = 0x40000000
#: struct tcp_info of linux/tcp.h: tcpi_total_retrans, whose place has not changed since it came.
_TOTAL_RETRANS_AT, _TCP_INFO_BYTES = 100, 104
#: Seconds after which an answer counts as lost, and between two sends of one client.
_PATIENCE_S, _PAUSE_S = 20.0, 0.005

_libc = ctypes.CDLL(None, use_errno=True)


class Client:
    """One kind of traffic from a namespace to an address."""

    def __init__(self, kind: str, namespace: str, to: str) -> None:
        self.name = f"{kind} {namespace} {to}"
        self._kind, self._namespace, self._to = kind, namespace, to
        self.count = Counter(sent=0, lost=0, again=0)

    def run(self) -> None:
        """Send for ever."""
        enter(self._namespace)
        one = {"stream": self._stream, "connections": self._connection, "datagrams": self._datagram}[self._kind]
        while True:
            try:
                one()
            except OSError:
                self.count["sent"] += 1
                self.count["lost"] += 1
            time.sleep(_PAUSE_S)

    def _stream(self) -> None:
        with socket.create_connection((self._to, PORT), timeout=_PATIENCE_S) as connection:
            number = 0
            while True:
                number += 1
                self._echo(connection, number)
                self.count["again"] = sent_again(connection)
                time.sleep(_PAUSE_S)

    def _connection(self) -> None:
        with socket.create_connection((self._to, PORT), timeout=_PATIENCE_S) as connection:
            self._echo(connection, 1)
            self.count["again"] += sent_again(connection)

    def _datagram(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(_PATIENCE_S)
            one.connect((self._to, PORT))
            self._echo(one, 1)

    def _echo(self, one: socket.socket, number: int) -> None:
        data = struct.pack("!Q", number)
        one.sendall(data)
        if one.recv(8) != data:
            raise OSError("another answer")
        self.count["sent"] += 1


def sent_again(connection: socket.socket) -> int:
    """Return how many segments of a connection were sent again."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    return int(struct.unpack_from("=I", info, _TOTAL_RETRANS_AT)[0])


def enter(namespace: str) -> None:
    """Move the calling thread into a namespace."""
    fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if _libc.setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"setns {namespace}")
    os.close(fd)


def serve(namespace: str, ready: threading.Semaphore) -> None:
    """Answer TCP and UDP in a namespace."""
    enter(namespace)
    listener = socket.create_server(("", PORT), backlog=256)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", PORT))
    threading.Thread(target=answer_datagrams, args=(datagrams,), daemon=True).start()
    ready.release()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer_datagrams(datagrams: socket.socket) -> None:
    while True:
        data, peer = datagrams.recvfrom(64)
        with contextlib.suppress(OSError):
            datagrams.sendto(data, peer)


def answer(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(64):
                connection.sendall(data)
        except OSError:
            pass


def main() -> None:
    wanted = json.loads(sys.stdin.readline())
    ready = threading.Semaphore(0)
    for namespace in wanted["servers"]:
        threading.Thread(target=serve, args=(namespace, ready), daemon=True).start()
    for _ in wanted["servers"]:
        ready.acquire()
    clients = [Client(*one) for one in wanted["clients"]]
    for client in clients:
        threading.Thread(target=client.run, daemon=True).start()
    for _ in sys.stdin:
        print(json.dumps({client.name: client.count for client in clients}), flush=True)


if __name__ == "__main__":
    main()
