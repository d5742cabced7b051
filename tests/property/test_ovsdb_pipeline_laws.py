# SPDX-License-Identifier: Apache-2.0
"""Laws of the submissions to OVSDB: in any order of events, each submission ends at its deadline or before."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from l3agent.dataplane.ovsdb.pipeline import Submission
from l3agent.dataplane.plan.kinds.base import Operation
from tests.unit.dataplane.test_pipeline import LOST, PORT, Switch


class SubmissionMachine(RuleBasedStateMachine):
    """Submissions, and all that can happen to them, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.switch = Switch()
        self.switch.insert()
        self.now, self.generation = 0.0, 1
        self.request = 0
        self.submissions: list[Submission] = []

    @rule(number=st.integers(0, 3), bridge=st.sampled_from(("br-int", "br-int", "br-none")))
    def submit(self, number: int, bridge: str) -> None:
        port = replace(PORT, name=f"qr-{number}", bridge=bridge)
        deadline = self.now + self.switch.pipeline.time_limit
        self.submissions.append(self.switch.submit(Operation("add", port) if number else LOST, deadline=deadline))

    @rule(is_accepted=st.booleans())
    def begin(self, is_accepted: bool) -> None:
        if self.switch.pipeline.begin(self.switch.rows, self.now) is not None:
            self.request += 1
            self.switch.pipeline.record_request(self.request if is_accepted else None)

    @rule()
    def commit(self) -> None:
        """Answer the last request, which may be withdrawn."""
        self.generation += 1
        self.switch.commit(self.request, self.generation)

    @rule()
    def reject(self) -> None:
        self.switch.pipeline.handle_reply(self.request, None, [{"error": "constraint violation"}])

    @rule()
    def lose_connection(self) -> None:
        self.switch.pipeline.withdraw()

    @rule(behind=st.integers(0, 2))
    def apply(self, behind: int) -> None:
        self.switch.apply(max(self.switch.rows.current, self.generation - behind))

    @rule(seconds=st.sampled_from((0.5, 3.0, 11.0)), is_connected=st.booleans())
    def let_time_pass(self, seconds: float, is_connected: bool) -> None:
        self.now += seconds
        self.switch.expire(self.now, is_connected=is_connected)

    @invariant()
    def each_submission_is_done_or_has_time_left(self) -> None:
        unfinished = [one.deadline for one in self.submissions if not one.done]
        # The deadline of a new one is the present, where the time limit is zero.
        assert all(deadline >= self.now for deadline in unfinished)
        assert self.switch.pipeline.next_deadline() == min(unfinished, default=None)


SubmissionMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestSubmissions = SubmissionMachine.TestCase
