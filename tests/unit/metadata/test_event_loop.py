# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import select
from typing import Any

import pytest
from eventlet import patcher

from l3agent.metadata.event_loop import READ, EventLoop

_original = patcher.original("socket")


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> EventLoop:
    monkeypatch.setattr(select, "epoll", patcher.original("select").epoll, raising=False)
    return EventLoop()


def readable() -> tuple[Any, Any]:
    """Return two connected sockets, the first of which has a byte to read."""
    first, second = _original.socketpair()
    second.send(b"x")
    return first, second


def test_an_event_of_a_closed_socket_does_not_reach_a_new_one_of_the_same_number(loop: EventLoop) -> None:
    pairs = [readable(), readable()]
    called: list[str] = []

    def close_both(_: int) -> None:
        called.append("closed")
        for first, _ in pairs:
            loop.close(first)
        new = _original.socketpair()
        pairs.append(new)
        loop.watch(new[0].fileno(), READ, lambda _: called.append("wrong"))

    for first, _ in pairs[:2]:
        loop.watch(first.fileno(), READ, close_both)
    loop.step(1)
    assert called == ["closed"]
    assert pairs[0][0].fileno() == pairs[1][0].fileno() == -1
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_ticks_come_until_there_is_nothing_to_wait_for(loop: EventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l3agent.metadata.event_loop._TICK_S", 0.01)
    first, second = readable()
    ticks: list[int] = []

    def on_tick() -> bool:
        ticks.append(len(ticks))
        if len(ticks) == 3:
            loop.close(first)
            loop.stop()
        return True

    loop.watch(first.fileno(), READ, lambda _: first.recv(1))
    loop.run(on_tick)
    assert ticks == [0, 1, 2]
    assert first.fileno() == -1, "a socket closed by a tick is closed at once"
    second.close()


def test_unwatching_twice_is_harmless(loop: EventLoop) -> None:
    first, second = readable()
    loop.watch(first.fileno(), READ, lambda _: None)
    loop.unwatch(first.fileno())
    loop.unwatch(first.fileno())
    first.close()
    second.close()
