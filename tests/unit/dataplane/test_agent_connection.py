# SPDX-License-Identifier: Apache-2.0
"""The connection to an agent, over a pair of real sockets; no call may block."""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterator
from typing import Any

import eventlet
import msgpack
import pytest

from l3agent.dataplane.server import agent_connection
from l3agent.dataplane.server.agent_connection import AgentConnection
from l3agent.model.wire import FRAME_BYTES

#: The data plane is never patched; the tests are.
_select, _socket = eventlet.patcher.original("select"), eventlet.patcher.original("socket")

REQUEST = [1, "hello", {}]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[AgentConnection, Any]]:
    """A connection and its other end."""
    monkeypatch.setattr(agent_connection, "select", _select)
    monkeypatch.setattr(agent_connection, "socket", _socket)
    here, there = _socket.socketpair()
    there.settimeout(10)
    with here, there:
        yield AgentConnection(here), there


Ends = tuple[AgentConnection, Any]


def test_requests_are_decoded_when_they_are_complete(ends: Ends) -> None:
    connection, there = ends
    packed = msgpack.packb(REQUEST)
    assert connection.receive() is None
    for data, complete in ((packed[:3], 0), (packed[3:] + packed, 2)):
        there.sendall(data)
        received = connection.receive()
        assert received is not None
        connection.feed(received)
        assert list(connection.requests()) == [REQUEST] * complete


def test_requests_from_before_come_first(ends: Ends) -> None:
    connection, there = ends
    connection.feed(msgpack.packb(REQUEST) * 2)
    assert next(connection.requests()) == REQUEST
    connection.is_behind = True
    there.sendall(b"later")
    assert connection.receive() == b""
    assert list(connection.requests()) == [REQUEST]
    connection.is_behind = False
    assert connection.receive() == b"later"


def test_a_frame_without_an_end_is_refused(ends: Ends) -> None:
    connection, _ = ends
    chunk = bytes(FRAME_BYTES // 2)
    connection.feed(b"\xc6" + FRAME_BYTES.to_bytes(4, "big") + chunk)
    assert list(connection.requests()) == []
    with pytest.raises((ValueError, msgpack.UnpackException)):
        connection.feed(chunk + chunk)
        list(connection.requests())


def test_the_other_end_is_known_and_its_end_is_noticed(ends: Ends) -> None:
    connection, there = ends
    assert (connection.user, connection.connected, connection.is_closed) == (os.getuid(), True, False)
    there.sendall(b"x")
    there.close()
    assert (connection.connected, connection.is_closed) == (False, False)
    assert connection.receive() == b"x"
    assert connection.is_closed
    assert connection.receive() == b""


def test_answers_wait_for_a_client_that_does_not_read(ends: Ends) -> None:
    connection, there = ends
    assert connection.wanted_events(True) == selectors.EVENT_READ
    answer = "x" * (4 << 20)
    connection.answer(1, None, answer)
    assert connection.wanted_events(True) == selectors.EVENT_WRITE
    assert not connection.accepts_requests(True)
    unpacker, received = msgpack.Unpacker(max_buffer_size=1 << 24), list[Any]()
    while not received:
        unpacker.feed(there.recv(1 << 20))
        received = list(unpacker)
        connection.flush()
    assert received == [[1, None, answer]]
    assert connection.wanted_events(True) == selectors.EVENT_READ
    assert connection.wanted_events(False) == 0


def test_a_client_that_reads_nothing_for_long_is_broken(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    connection, there = ends
    monkeypatch.setattr(agent_connection, "_SEND_S", 0.0)
    connection.answer(1, None, "x" * (4 << 20))
    assert connection.is_broken
    assert connection.receive() == b""
    while there.recv(1 << 20):
        pass


def test_an_answer_that_is_too_long_is_an_error(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    connection, there = ends
    monkeypatch.setattr(agent_connection, "_ANSWER_BYTES", 100)
    connection.answer(7, None, "x" * 200)
    number, error, result = msgpack.unpackb(there.recv(1 << 16))
    assert (number, error["type"], result) == (7, "AnswerTooLong", None)
