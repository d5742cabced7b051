# SPDX-License-Identifier: Apache-2.0
"""The loop of the kernel thread: what runs before what, and requests that wait. The work itself is recorded only."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from l3agent.dataplane import operations
from l3agent.dataplane.kernel_thread import _MAX_SUSPENDED, KernelThread


class Work:
    """Pending work of another thread."""

    error: str | None = None

    def __init__(self) -> None:
        self.done = False


class Node:
    """The objects around the kernel thread; records in ``log`` what it does with them."""

    connected = True

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[object] = []
        self.repairs: list[Generator[Work, None, object]] = []
        self.is_overdue = False
        self.waits: list[Work] = []
        applied = SimpleNamespace(node=SimpleNamespace(max_ports=lambda: 0))
        reconciler = SimpleNamespace(
            repair=lambda: self.repairs.pop(0) if self.repairs else None,
            repair_wait=lambda: None,
            is_repair_overdue=lambda: self.is_overdue,
            run_deferred=lambda: self.log.append("deferred"),
            on_idle=lambda: self.log.append("threads"),
        )
        resources = SimpleNamespace(
            reconciler=reconciler,
            garbage=SimpleNamespace(next_run=lambda: 0.0, collect=lambda: self.log.append("garbage")),
            drift=SimpleNamespace(applied=applied),
            limits=SimpleNamespace(check=lambda ports: None),
            rotation=None,
        )
        monkeypatch.setitem(operations.OPERATIONS, "stats", self._wait)
        monkeypatch.setitem(operations.OPERATIONS, "hello", lambda resources, args: "hello")
        self.thread = KernelThread(cast(Any, resources))

    def _wait(self, resources: Any, args: Mapping[str, Any]) -> Generator[Work, None, object]:
        self.waits.append(Work())
        yield self.waits[-1]
        return "waited"

    def repair(self) -> None:
        """Let a repair be due."""

        def work() -> Generator[Work, None, object]:
            self.log.append("repair")
            yield from ()
            return None

        self.repairs.append(work())

    def answer(self, number: object, error: object, result: object) -> None:
        assert error is None
        self.log.append((number, result))

    def request(self, number: int, name: str) -> None:
        self.thread.serve(self, [number, name, {}])

    def seen(self) -> list[object]:
        """Return what was done since the last call, without deferred work and the wake-up of the other threads."""
        found, self.log = [one for one in self.log if one not in ("deferred", "threads")], []
        return found


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(monkeypatch)


def test_a_request_that_waits_lets_later_ones_pass(node: Node) -> None:
    node.request(1, "stats")
    node.request(2, "hello")
    assert node.seen() == [(2, "hello")]
    node.thread.resume()
    assert node.seen() == []
    node.waits[0].done = True
    assert node.thread.wait() == 0.0
    node.thread.resume()
    assert node.seen() == [(1, "waited")]


def test_suspended_requests_go_on_in_their_order(node: Node) -> None:
    for number in range(3):
        node.request(number, "stats")
    node.waits[0].done = node.waits[2].done = True
    node.thread.resume()
    assert node.seen() == [(0, "waited"), (2, "waited")]
    node.waits[1].done = True
    node.thread.resume()
    assert node.seen() == [(1, "waited")]


def test_the_number_of_suspended_requests_has_a_limit(node: Node) -> None:
    for number in range(_MAX_SUSPENDED):
        assert node.thread.has_room
        node.request(number, "stats")
    assert not node.thread.has_room
    node.waits[0].done = True
    node.thread.resume()
    assert node.thread.has_room


def test_the_request_of_a_client_that_is_gone_is_not_executed(node: Node) -> None:
    node.connected = False
    node.request(1, "hello")
    assert node.seen() == []


def test_a_request_precedes_repairs_unless_one_is_overdue(node: Node) -> None:
    node.repair()
    node.request(1, "hello")
    assert node.seen() == [(1, "hello")]
    node.is_overdue = True
    node.request(2, "hello")
    assert node.seen() == ["repair", (2, "hello")]


def test_without_requests_repairs_come_first_and_garbage_last(node: Node) -> None:
    node.repair()
    node.repair()
    for expected in (["repair"], ["repair"], ["garbage"], []):
        node.thread.on_idle()
        assert node.seen() == expected


def test_deferred_work_follows_each_answer(node: Node) -> None:
    node.request(1, "hello")
    assert node.log[:2] == [(1, "hello"), "deferred"]


def test_the_other_threads_work_when_no_request_came_for_a_while(node: Node) -> None:
    node.request(1, "hello")
    node.log.clear()
    end = time.monotonic() + 10
    while "threads" not in node.log and time.monotonic() < end:
        time.sleep(node.thread.wait())
        node.thread.on_idle()
    assert "threads" in node.log
