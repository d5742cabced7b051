# SPDX-License-Identifier: Apache-2.0
"""The acceptor without haproxy and without rules of a router; tests/functional/test_metadata*.py have both."""

from __future__ import annotations

import resource
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eventlet import patcher

from l3agent.metadata import acceptor as module
from l3agent.metadata.acceptor import Acceptor
from l3agent.metadata.event_loop import EventLoop
from l3agent.metadata.redirect import METADATA_IPV4, METADATA_PORT
from l3agent.model.metadata_messages import Configure

_original = patcher.original("socket")
ROUTER = "aaaaaaaa-0000-4000-8000-000000000001"


class Bed:
    """An acceptor for one router, a socket in place of that of haproxy, and its connections."""

    def __init__(self, path: str, **limits: int) -> None:
        self.loop = EventLoop()
        self.acceptor = Acceptor(self.loop, Configure(path, **limits))
        self.haproxy: Any = _original.socket(_original.AF_UNIX)
        self.haproxy.bind(path)
        self.haproxy.listen()
        self.listener: Any = _original.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.acceptor.add_router(ROUTER, [self.listener])
        self.clients: list[Any] = []

    def connect(self) -> Any:
        client = _original.create_connection(self.address, timeout=10)
        client.send(b"request")
        self.clients.append(client)
        self.step()
        return client

    def step(self, count: int = 3) -> None:
        for _ in range(count):
            self.loop.step(0.02)

    def close(self) -> None:
        self.acceptor.remove_router(ROUTER)
        for sock in (self.haproxy, *self.clients):
            sock.close()


@pytest.fixture(autouse=True)
def redirected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "epoll", patcher.original("select").epoll, raising=False)
    monkeypatch.setattr(module, "redirected_from", lambda *_: (METADATA_IPV4, METADATA_PORT))
    monkeypatch.setattr(module, "log", lambda _: None)
    # The process of the tests keeps its limit.
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    bed = Bed(f"{tmp_path}/s", router_connections=2)
    yield bed
    bed.close()


def test_a_router_at_its_limit_does_not_keep_the_process_busy(bed: Bed) -> None:
    for _ in range(3):
        bed.connect()
    assert bed.acceptor.connections == 2
    before = bed.loop.now
    bed.loop.step(0.2)
    assert bed.loop.now - before >= 0.19, "an event for a connection that cannot be accepted"
    bed.clients[0].close()
    bed.step()
    # haproxy has the request, and closes.
    bed.haproxy.accept()[0].close()
    bed.step(5)
    assert len(bed.acceptor.routers[ROUTER].connections) == 2
    assert bed.acceptor.routers[ROUTER].results == {"forwarded": 3}


def test_a_removed_router_is_closed_when_the_call_returns(bed: Bed) -> None:
    client = bed.connect()
    bed.acceptor.remove_router(ROUTER)
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with pytest.raises(ConnectionRefusedError):
        _original.create_connection(bed.address)
    assert bed.acceptor.former_results["removed"] == 1
    assert bed.acceptor.connections == 0
    bed.acceptor.remove_router(ROUTER)


def test_a_duplicate_of_the_parent_gets_no_events_of_the_acceptor(bed: Bed) -> None:
    duplicate = bed.listener.dup()
    bed.acceptor.stop_accepting()
    client = _original.create_connection(bed.address)
    client.send(b"request")
    bed.step()
    assert bed.acceptor.connections == 0
    with duplicate.accept()[0], client, duplicate:
        pass


def test_replacing_the_sockets_of_a_router_keeps_its_connections(bed: Bed) -> None:
    client = bed.connect()
    duplicate = bed.listener.dup()
    bed.acceptor.add_router(ROUTER, [duplicate])
    bed.loop.flush()
    assert bed.listener.fileno() == -1
    bed.connect()
    assert bed.acceptor.connections == 2
    bed.haproxy.accept()[0].send(b"answer")
    bed.step()
    assert client.recv(100) == b"answer"


@pytest.mark.parametrize(("descriptors", "limit"), [(100_000, 500), (1000, (1000 - 64 - 1) // 6), (10, 1)])
def test_the_limit_fits_the_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, descriptors: int, limit: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, descriptors))
    bed = Bed(f"{tmp_path}/s", connections=500)
    assert bed.acceptor.limit == limit
    bed.close()


def test_the_header_and_the_request_reach_haproxy_together(bed: Bed) -> None:
    bed.connect()
    with bed.haproxy.accept()[0] as upstream:
        received = upstream.recv(4096)
    assert received.startswith(b"\r\n\r\n\0\r\nQUIT\n\x21\x11")
    assert ROUTER.encode() in received and received.endswith(b"request")
