# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import eventlet
import pytest

from l3agent.rpc import Connection, Target
from l3agent.standalone import notifier as module
from l3agent.standalone.l3_plugin import Change
from l3agent.standalone.notifier import Notifier
from l3agent.testing import wait_until

UPDATED, DELETED, REMOVED = "routers_updated", "router_deleted", "router_removed_from_agent"


class Listener:
    """An agent that records the casts it receives, in order."""

    target = Target(version="1.4")

    def __init__(self) -> None:
        self.received: list[tuple[str, Any]] = []

    def routers_updated(self, context: Any, routers: list[str]) -> None:
        self.received.append((UPDATED, routers))

    def router_deleted(self, context: Any, router_id: str) -> None:
        self.received.append((DELETED, router_id))

    def router_removed_from_agent(self, context: Any, payload: dict[str, str]) -> None:
        self.received.append((REMOVED, payload["router_id"]))


@pytest.fixture
def agent(transport: Any) -> Iterator[Listener]:
    listener = Listener()
    connection = Connection(transport, host="a")
    connection.create_consumer("l3_agent", [listener])
    connection.consume_in_threads()
    yield listener
    connection.close()


@contextmanager
def is_running(notifier: Notifier) -> Iterator[None]:
    thread = eventlet.spawn(notifier.run)
    try:
        yield
    finally:
        thread.kill()


def test_changes_are_sent_in_order_and_consecutive_ones_of_one_method_together(transport: Any, agent: Listener) -> None:
    notifier = Notifier(transport)
    notifier.add([Change(UPDATED, "a", "1"), Change(UPDATED, "a", "2"), Change(REMOVED, "a", "3")])
    notifier.add([Change(DELETED, None, "4"), Change(UPDATED, "b", "5"), Change(UPDATED, "a", "6")])
    with is_running(notifier):
        wait_until(lambda: len(agent.received) == 4)
    assert agent.received == [(UPDATED, ["1", "2"]), (REMOVED, "3"), (DELETED, "4"), (UPDATED, ["6"])]


def test_a_change_added_again_is_sent_at_the_later_position(transport: Any, agent: Listener) -> None:
    notifier = Notifier(transport)
    for change in (Change(UPDATED, "a", "1"), Change(DELETED, None, "1"), Change(UPDATED, "a", "1")):
        notifier.add([change])
    with is_running(notifier):
        wait_until(lambda: len(agent.received) == 2)
    assert agent.received == [(DELETED, "1"), (UPDATED, ["1"])]


def test_an_unavailable_broker_is_retried_without_losing_a_change(
    transport: Any, agent: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_MIN_S", 0.01)
    send = transport._driver.send
    refusals = iter([OSError("no broker")] * 3)

    def refuse_first(*args: Any, **kwargs: Any) -> Any:
        for error in refusals:
            raise error
        return send(*args, **kwargs)

    monkeypatch.setattr(transport._driver, "send", refuse_first)
    notifier = Notifier(transport)
    with is_running(notifier):
        notifier.add([Change(UPDATED, "a", "1"), Change(DELETED, None, "2")])
        wait_until(lambda: len(agent.received) == 2)
    assert agent.received == [(UPDATED, ["1"]), (DELETED, "2")]
