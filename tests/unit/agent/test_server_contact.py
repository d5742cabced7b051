# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from l3agent.agent.server_contact import ServerContact


@pytest.mark.parametrize(
    ("answers", "now", "covered_since"),
    [
        ([], 0, None),
        ([("new", 0)], 10, 0),
        ([("new", 0), ("alive", 30), ("alive", 60)], 70, 0),
        ([("new", 0), (None, 30), ("alive", 60)], 70, 0),
        # Three reports failed: the server may have considered this agent dead.
        ([("new", 0), (None, 30), (None, 60), ("alive", 90)], 100, 90),
        ([("new", 0), ("alive", 30), ("revived", 60)], 70, 60),
        # The process was stopped, and runs again: it learns from the clock that it was away.
        ([("new", 0), ("alive", 30)], 200, None),
    ],
)
def test_contact_is_unbroken_since_the_first_report_after_a_gap(answers: Any, now: int, covered_since: Any) -> None:
    clock = lambda: now  # noqa: E731
    contact = ServerContact(limit=60, clock=clock)
    for answer, sent in answers:
        contact.record(answer, sent)
    found = [moment for moment in range(-10, now + 1) if moment >= contact.alive_since]
    assert min(found, default=None) == covered_since
