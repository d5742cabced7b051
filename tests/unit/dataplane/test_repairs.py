# SPDX-License-Identifier: Apache-2.0
"""Due times of observations after changes and repairs."""

from __future__ import annotations

import pytest

from l3agent.dataplane.drift.repairs import Repairs
from l3agent.model.states import Key

KEY: Key = ("router", "a")
OTHER: Key = ("router", "b")


def repaired(repairs: Repairs, now: float, *operations: str, error: str | None = None) -> float:
    """Make a repair at its due time; return that time."""
    repairs.mark(KEY, now)
    now += repairs.wait(now) or 0
    assert repairs.next_due(now) == KEY
    repairs.record_result(KEY, operations, error, now)
    return now


def test_what_is_marked_is_due_at_once_and_once() -> None:
    repairs = Repairs()
    assert repairs.wait(0) is None and repairs.next_due(0) is None
    repairs.mark(KEY, 1)
    repairs.mark(KEY, 2)
    repairs.mark(OTHER, 3)
    assert repairs.wait(3) == 0
    assert [repairs.next_due(3), repairs.next_due(3), repairs.next_due(3)] == [KEY, OTHER, None]
    assert repairs.observations == 2


def test_a_key_with_a_request_under_way_stays_marked() -> None:
    repairs = Repairs()
    repairs.mark(KEY, 1)
    assert repairs.wait(2, {KEY}) is None and not repairs.is_overdue(9, {KEY}) and repairs.next_due(2, {KEY}) is None
    repairs.mark(OTHER, 5)
    assert repairs.wait(2, {KEY}) == 3
    assert repairs.is_overdue(9) and repairs.next_due(2) == KEY


def test_what_is_looked_at_or_not_wanted_any_more_is_not_due() -> None:
    repairs = Repairs()
    repairs.mark(KEY, 1)
    repairs.mark(OTHER, 1)
    repairs.clear(KEY)
    repairs.forget(OTHER)
    assert repairs.next_due(2) is None


def test_requests_wait_for_a_look_that_waits_too_long_only() -> None:
    repairs = Repairs()
    repairs.mark(KEY, 1)
    assert not repairs.is_overdue(1.01)
    assert repairs.is_overdue(1.1)


def test_a_look_that_finds_nothing_is_no_repair() -> None:
    repairs = Repairs()
    for number in range(10):
        assert repaired(repairs, number) == number
    assert (repairs.observations, repairs.repaired) == (10, 0)


def test_different_repairs_are_never_put_off() -> None:
    repairs = Repairs()
    assert [repaired(repairs, now, f"address {now}") for now in range(20)] == list(range(20))
    assert repairs.repaired == 20


def test_the_same_repair_again_and_again_is_put_off_longer_and_longer_up_to_a_bound() -> None:
    repairs, now, pauses = Repairs(), 0.0, []
    for number in range(16):
        before, now = now, repaired(repairs, now, "address back", f"something else {number}")
        pauses.append(now - before)
    assert pauses[:6] == [0, 0, 0, 0.5, 1, 2]
    assert pauses[-1] == max(pauses) == 60
    assert repairs.repaired == 16


def test_peace_is_believed_after_a_while() -> None:
    repairs, now = Repairs(), 0.0
    for _ in range(5):
        now = repaired(repairs, now, "address back")
    assert repaired(repairs, now + 40, "address back") == now + 40


@pytest.mark.parametrize("operations", [(), ("address back",)])
def test_a_repair_that_fails_is_tried_again_after_growing_pauses(operations: tuple[str, ...]) -> None:
    repairs = Repairs()
    now, pauses = repaired(repairs, 0, *operations, error="no"), []
    for _ in range(3):
        pauses.append(repairs.wait(now))
        now += pauses[-1] or 0
        assert repairs.next_due(now) == KEY
        repairs.record_result(KEY, operations, "no", now)
    assert pauses == [0.5, 1, 2]
    assert repairs.repaired == 0
