# SPDX-License-Identifier: Apache-2.0
"""A few thousand frames of ``python -m tests.hostile``: the node stays as it is, the data plane small and awake."""

from __future__ import annotations

import os

import pytest

from tests.hostile.attack import attack

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user"),
]


def test_frames_that_no_agent_sends_change_nothing_of_the_node_and_cost_little() -> None:
    outcome = attack(2000, seed=3)
    print(outcome)
    assert outcome.faults == []
    assert outcome.sent["errors"] > 300 and outcome.sent["results"] > 50
    assert outcome.costs.pss_max < 400 and outcome.pss_after < outcome.pss_before + 60
    assert outcome.costs.blocked_max < 1
    # Without a limit each frame has a line.
    assert outcome.log_lines < 1000
