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
    """An agent as far as the order of what it is told goes; the transport can be made to refuse."""

    target = Target(version="1.4")

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def routers_updated(self, context: Any, routers: list[str]) -> None:
        self.told.append((UPDATED, routers))

    def router_deleted(self, context: Any, router_id: str) -> None:
        self.told.append((DELETED, router_id))

    def router_removed_from_agent(self, context: Any, payload: dict[str, str]) -> None:
        self.told.append((REMOVED, payload["router_id"]))


@pytest.fixture
def agent(transport: Any) -> Iterator[Listener]:
    listener = Listener()
    connection = Connection(transport, host="a")
    connection.create_consumer("l3_agent", [listener])
    connection.consume_in_threads()
    yield listener
    connection.close()


@contextmanager
def at_work(notifier: Notifier) -> Iterator[None]:
    thread = eventlet.spawn(notifier.run)
    try:
        yield
    finally:
        thread.kill()


def test_changes_go_out_in_order_and_those_of_one_kind_together(transport: Any, agent: Listener) -> None:
    notifier = Notifier(transport)
    notifier.add([Change(UPDATED, "a", "1"), Change(UPDATED, "a", "2"), Change(REMOVED, "a", "3")])
    notifier.add([Change(DELETED, None, "4"), Change(UPDATED, "b", "5"), Change(UPDATED, "a", "6")])
    with at_work(notifier):
        wait_until(lambda: len(agent.told) == 4)
    assert agent.told == [(UPDATED, ["1", "2"]), (REMOVED, "3"), (DELETED, "4"), (UPDATED, ["6"])]


def test_a_router_that_comes_back_is_told_last(transport: Any, agent: Listener) -> None:
    notifier = Notifier(transport)
    for change in (Change(UPDATED, "a", "1"), Change(DELETED, None, "1"), Change(UPDATED, "a", "1")):
        notifier.add([change])
    with at_work(notifier):
        wait_until(lambda: len(agent.told) == 2)
    assert agent.told == [(DELETED, "1"), (UPDATED, ["1"])]


def test_a_broker_that_refuses_is_tried_again_with_nothing_lost(
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
    with at_work(notifier):
        notifier.add([Change(UPDATED, "a", "1"), Change(DELETED, None, "2")])
        wait_until(lambda: len(agent.told) == 2)
    assert agent.told == [(UPDATED, ["1"]), (DELETED, "2")]
