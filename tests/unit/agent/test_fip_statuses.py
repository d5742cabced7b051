# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator, Mapping

import eventlet
import pytest

from l3agent.agent.fip_statuses import FloatingIPStatuses
from l3agent.testing import wait_until


class Server:
    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, str]]] = []
        self.failures = 0
        self.delay = 0.0

    def send(self, router_id: str, statuses: Mapping[str, str], *, timeout: float | None = None) -> None:
        eventlet.sleep(self.delay)
        if self.failures:
            self.failures -= 1
            raise OSError("deadlock")
        self.sent.append((router_id, dict(statuses)))


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def statuses(server: Server) -> Iterator[FloatingIPStatuses]:
    statuses = FloatingIPStatuses(server.send, retry_min=0.01, retry_max=0.02)
    worker = eventlet.spawn(statuses.run)
    yield statuses
    worker.kill()


def is_done(statuses: FloatingIPStatuses) -> bool:
    return not statuses._pending and not any(statuses._queue.counts().values())


def test_a_report_during_a_call_is_sent_next(server: Server, statuses: FloatingIPStatuses) -> None:
    server.delay = 0.02
    statuses.report("r1", {"f1": "ACTIVE", "f2": "ACTIVE"})
    eventlet.sleep(0.01)
    statuses.report("r1", {"f1": "DOWN"})
    wait_until(lambda: is_done(statuses))
    assert server.sent == [("r1", {"f1": "ACTIVE", "f2": "ACTIVE"}), ("r1", {"f1": "DOWN"})]
    assert not statuses._router_of


def test_only_the_last_status_of_a_floating_ip_is_reported(server: Server, statuses: FloatingIPStatuses) -> None:
    statuses.report("r1", {"f1": "ERROR", "f2": "ACTIVE"})
    statuses.report("r2", {"f1": "ACTIVE"})
    statuses.report("r1", {"f2": "DOWN"})
    wait_until(lambda: is_done(statuses))
    assert server.sent == [("r1", {"f2": "DOWN"}), ("r2", {"f1": "ACTIVE"})]


def test_a_failed_call_is_repeated_with_what_is_true_by_then(server: Server, statuses: FloatingIPStatuses) -> None:
    server.failures = 3
    statuses.report("r1", {"f1": "ACTIVE", "f2": "ACTIVE"})
    wait_until(lambda: server.failures < 3)
    statuses.report("r2", {"f1": "ACTIVE"})
    wait_until(lambda: is_done(statuses))
    assert sorted(server.sent) == [("r1", {"f2": "ACTIVE"}), ("r2", {"f1": "ACTIVE"})]


def test_nothing_to_say_is_no_call_and_no_floating_ips_left_is_one(
    server: Server, statuses: FloatingIPStatuses
) -> None:
    statuses.report("r1", None)
    eventlet.sleep(0.01)
    assert server.sent == []
    statuses.report("r1", {})
    wait_until(lambda: is_done(statuses))
    assert server.sent == [("r1", {})]
    assert not statuses.pending_count


def test_floating_ips_that_leave_during_a_call_cause_another_one(server: Server, statuses: FloatingIPStatuses) -> None:
    server.delay = 0.05
    statuses.report("r1", {"f1": "ACTIVE"})
    eventlet.sleep(0.01)
    statuses.report("r1", {"f1": "ACTIVE"})
    statuses.report("r2", {})
    wait_until(lambda: is_done(statuses))
    assert [router_id for router_id, _ in server.sent] == ["r1", "r2", "r1"]


def test_the_last_report_follows_the_one_in_flight_and_is_not_repeated(
    server: Server, statuses: FloatingIPStatuses
) -> None:
    server.delay = 0.05
    statuses.report("r1", {"f1": "ACTIVE"})
    eventlet.sleep(0.01)
    statuses.report_down("r1", ["f1"])
    assert server.sent == [("r1", {"f1": "ACTIVE"}), ("r1", {"f1": "DOWN"})]
    server.failures = 1
    statuses.report("r1", {"f2": "ACTIVE"})
    statuses.report_down("r1", ["f1", "f2"])
    statuses.report_down("r1", [])
    eventlet.sleep(0.1)
    assert len(server.sent) == 2 and is_done(statuses)


def test_no_status_of_a_removed_router_is_reported(server: Server, statuses: FloatingIPStatuses) -> None:
    server.failures = 1
    statuses.report("r1", {"f1": "ACTIVE"})
    wait_until(lambda: not server.failures)
    statuses.cancel("r1")
    statuses.report("r2", {"f1": "ACTIVE"})
    wait_until(lambda: is_done(statuses))
    assert server.sent == [("r2", {"f1": "ACTIVE"})]
