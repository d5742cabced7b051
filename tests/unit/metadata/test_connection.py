# SPDX-License-Identifier: Apache-2.0
"""Connections over real sockets and epoll, in one thread. eventlet replaces both, so the tests use the originals."""

from __future__ import annotations

import os
import random
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from eventlet import patcher

from l3agent.metadata.connection import ClientConnection
from l3agent.metadata.event_loop import EventLoop, Handler
from l3agent.metadata.flow import PipePool
from l3agent.metadata.router import ServedRouter

_original = patcher.original("socket")


class Chain:
    """A client, a connection, and its other end in place of haproxy; records the notifications of the owner."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.pool = PipePool()
        self.events: list[str] = []
        self.router = ServedRouter("aaaaaaaa-0000-4000-8000-000000000001")
        with _original.create_server(("127.0.0.1", 0)) as listener:
            self.client: Any = _original.create_connection(listener.getsockname())
            inner, _ = listener.accept()
        outer, self.haproxy = _original.socketpair()
        for sock in (self.client, self.haproxy, inner, outer):
            sock.setblocking(False)
        self.connection = ClientConnection(self.loop, self.pool, self.router, b"\n\0\0\t", (inner, outer), self)
        self.connection.start()

    def on_linger(self, connection: ClientConnection) -> None:
        self.events.append("linger")

    def on_end(self, connection: ClientConnection) -> None:
        self.events.append("end")

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.loop.step(0.05)

    def count_idle_rounds(self) -> int:
        """Return how many of ten rounds had no event."""
        handlers = self.loop._handlers
        called: list[int] = []

        def recorded(handler: Handler) -> Handler:
            def record(events: int) -> None:
                called.append(events)
                handler(events)

            return record

        for fd, handler in handlers.items():
            handlers[fd] = recorded(handler)
        idle = 0
        for _ in range(10):
            called.clear()
            self.loop.step(0.005)
            idle += not called
        return idle


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    monkeypatch.setattr(select, "epoll", patcher.original("select").epoll, raising=False)
    chain = Chain()
    yield chain
    chain.client.close()
    chain.haproxy.close()


def receive(sock: Any, size: int = 65536) -> bytes | None:
    """Return what has arrived, None if nothing has."""
    try:
        return sock.recv(size)  # type: ignore[no-any-return]
    except BlockingIOError:
        return None


def send(sock: Any, data: bytes) -> int:
    try:
        return sock.send(data)  # type: ignore[no-any-return]
    except BlockingIOError:
        return 0


@pytest.mark.parametrize("seed", range(8))
def test_bytes_arrive_in_both_directions_whatever_the_pace(chain: Chain, seed: int) -> None:
    source = random.Random(seed)
    ends = (chain.client, chain.haproxy)
    unsent = {end: source.randbytes(source.randrange(3_000_000)) for end in ends}
    sent = dict(unsent)
    received: dict[Any, bytearray] = {end: bytearray() for end in ends}
    for _ in range(20_000):
        end = source.choice(ends)
        if source.random() < 0.5:
            count = send(end, unsent[end][: source.choice((1, 1000, 100_000))])
            unsent[end] = unsent[end][count:]
        elif arrived := receive(end, source.choice((1, 1000, 1_000_000))):
            received[end] += arrived
        chain.loop.step(0)
        if not unsent[chain.client] and not unsent[chain.haproxy] and source.random() < 0.01:
            break
    chain.client.shutdown(socket.SHUT_WR)
    for end in ends:
        while unsent[end]:
            unsent[end] = unsent[end][send(end, unsent[end]) :]
            for other in ends:
                received[other] += receive(other) or b""
            chain.loop.step(0)
    while (arrived := receive(chain.haproxy)) != b"":
        received[chain.haproxy] += arrived or b""
        received[chain.client] += receive(chain.client) or b""
        chain.loop.step(0)
    chain.haproxy.close()
    while (arrived := receive(chain.client)) != b"":
        received[chain.client] += arrived or b""
        chain.loop.step(0)
    assert bytes(received[chain.client]) == sent[chain.haproxy]
    assert bytes(received[chain.haproxy]) == sent[chain.client]
    assert chain.events == ["end"]
    assert len(chain.pool._spare) <= 2


def test_a_client_that_reads_nothing_stops_haproxy(chain: Chain) -> None:
    sent = 0
    for _ in range(400):
        sent += send(chain.haproxy, bytes(65536))
        chain.loop.step(0)
    assert send(chain.haproxy, bytes(65536)) == 0
    # TCP buffers of loopback grow (net.ipv4.tcp_wmem, tcp_rmem), the pipe does not.
    assert sent < 16_000_000
    assert chain.count_idle_rounds() == 10


def test_haproxy_that_reads_nothing_stops_a_client(chain: Chain) -> None:
    for _ in range(400):
        send(chain.client, bytes(65536))
        chain.loop.step(0)
    assert send(chain.client, bytes(65536)) == 0
    assert chain.count_idle_rounds() == 10
    # Its answer arrives nevertheless, and the client may go on sending until it ends.
    chain.haproxy.send(b"413")
    chain.step()
    assert receive(chain.client) == b"413"
    chain.haproxy.close()
    for _ in range(400):
        chain.loop.step(0)
    assert chain.events == ["linger"]
    chain.client.shutdown(socket.SHUT_WR)
    for _ in range(400):
        chain.loop.step(0)
    assert receive(chain.client) == b""
    assert chain.events == ["linger", "end"]


def test_an_answer_that_a_slow_client_has_not_read_is_kept_after_haproxy_ended(chain: Chain) -> None:
    sent = 0
    for _ in range(400):
        sent += send(chain.haproxy, bytes(65536))
        chain.loop.step(0)
    chain.haproxy.close()
    assert chain.count_idle_rounds() == 10, "the end of haproxy keeps the process busy"
    received = 0
    while (arrived := receive(chain.client)) != b"":
        received += len(arrived or b"")
        chain.loop.step(0)
    assert received == sent
    assert chain.events == ["end"]


def test_a_client_that_resets_ends_the_connection(chain: Chain) -> None:
    chain.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    chain.client.close()
    chain.step(3)
    assert receive(chain.haproxy) == b""
    assert chain.events == ["end"]
    assert chain.loop._handlers == {}


def test_a_half_closed_client_gets_its_answer(chain: Chain) -> None:
    chain.client.send(b"request")
    chain.client.shutdown(socket.SHUT_WR)
    chain.step(3)
    assert receive(chain.haproxy) == b"request"
    assert receive(chain.haproxy) == b""
    assert chain.count_idle_rounds() == 10
    chain.haproxy.send(b"answer")
    chain.haproxy.close()
    chain.step(3)
    assert receive(chain.client) == b"answer"
    assert receive(chain.client) == b""
    assert chain.events == ["end"]


def test_an_answer_in_place_of_haproxy_is_not_lost_although_the_request_was_not_read(chain: Chain) -> None:
    chain.client.send(bytes(100_000))
    chain.connection.answer(b"503")
    chain.step(5)
    assert chain.events == ["linger"]
    assert receive(chain.client) == b"503"
    assert receive(chain.client) == b""
    chain.client.close()
    chain.step(3)
    assert chain.events == ["linger", "end"]


def test_closing_returns_all_descriptors(chain: Chain) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(400):
        send(chain.haproxy, bytes(65536))
        chain.loop.step(0)
    chain.connection.close(is_reset=True)
    chain.loop.flush()
    assert len(os.listdir("/proc/self/fd")) <= before - 2 + 2 * len(chain.pool._spare)
    with pytest.raises(ConnectionResetError):
        while chain.client.recv(65536):
            pass
