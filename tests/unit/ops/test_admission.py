# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from l3agent.ops.admission import Admission


class Connection:
    """Records that it was shut down."""

    def __init__(self) -> None:
        self.is_open = True

    def shutdown(self, how: int) -> None:
        self.is_open = False


@pytest.fixture
def greedy() -> list[Connection]:
    return [Connection() for _ in range(3)]


def test_the_longest_idle_connection_of_the_greediest_client_makes_room(greedy: list[Connection]) -> None:
    admission, modest = Admission(4), Connection()
    assert admission.admit(modest, "modest")
    assert all(admission.admit(one, "greedy") for one in greedy)
    admission.set_busy(greedy[0], True)
    admission.set_busy(greedy[0], False)  # idle again, and so the youngest
    assert admission.admit(Connection(), "late")
    assert [one.is_open for one in (modest, *greedy)] == [True, True, False, True]
    assert len(admission) == 4


def test_a_busy_connection_is_never_closed(greedy: list[Connection]) -> None:
    admission, late = Admission(3), Connection()
    for one in greedy:
        admission.admit(one, "greedy")
        admission.set_busy(one, True)
    assert not admission.admit(late, "late")
    assert all(one.is_open for one in greedy)
    admission.release(greedy[1])
    assert admission.admit(late, "late") and len(admission) == 3
