# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import signal
from dataclasses import replace

from l3agent.dataplane.programs.lifecycle import (
    Lifecycle,
    Occurrence,
    ProgramAction,
    ProgramStage,
    Wanted,
    adopted,
    step,
)
from l3agent.dataplane.programs.program import Program, fingerprint

PROGRAM = Program("example", None, ("example", "{directory}"))


def test_the_back_off_doubles_to_its_maximum_and_begins_anew_after_a_stable_run() -> None:
    now, delays = 0.0, []
    state, _ = step(Lifecycle(), Wanted(PROGRAM), now)
    for _ in range(9):
        state, _ = step(state, Occurrence.ENDED, now)
        assert state.at is not None
        delays.append(state.at - now)
        now = state.at
        state, action = step(state, Occurrence.TIMER, now)
        assert action is ProgramAction.START
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    state, _ = step(state, Occurrence.READY, now)
    state, _ = step(state, Occurrence.ENDED, now + 60)
    assert state.at == now + 61


def test_without_respawn_a_failure_stays_until_the_next_submission() -> None:
    state, _ = step(Lifecycle(respawns=False), Wanted(PROGRAM), 0)
    state, action = step(state, Occurrence.ENDED, 1)
    assert (state.stage, state.at, action) == (ProgramStage.FAILED, None, None)
    state, action = step(state, Occurrence.TIMER, 1000)
    assert state.stage is ProgramStage.FAILED and action is None
    state, action = step(state, Wanted(PROGRAM), 1001)
    assert state.stage is ProgramStage.STARTING and action is ProgramAction.START


def test_an_adopted_program_of_another_fingerprint_is_changed_when_it_is_wanted() -> None:
    former = fingerprint(Program("example", None, ("example", "{directory}", "--former")))
    state = adopted(PROGRAM, former, 0, respawns=True)
    state, action = step(state, Occurrence.READY, 1)
    assert state.stage is ProgramStage.RUNNING and action is None
    assert step(state, Wanted(PROGRAM), 2)[1] is ProgramAction.STOP


def test_a_process_that_survives_sigkill_is_killed_again_and_never_replaced() -> None:
    state, _ = step(Lifecycle(), Wanted(PROGRAM), 0)
    state, action = step(state, Wanted(None), 1)
    assert action is ProgramAction.STOP and state.at == 6
    state, action = step(state, Occurrence.TIMER, 6)
    assert action is ProgramAction.KILL
    state, action = step(state, Wanted(PROGRAM), 6.5)
    assert action is None
    state, action = step(state, Occurrence.TIMER, 7)
    assert action is ProgramAction.KILL and state.stage is ProgramStage.STOPPING
    state, action = step(state, Occurrence.ENDED, 8)
    assert action is ProgramAction.START


def test_a_change_that_is_reverted_before_readiness_is_reloaded() -> None:
    """The process may have read the files in between."""
    first = Program("example", None, ("example", "{directory}"), files={"conf": "a"}, reload=signal.SIGHUP)
    state, _ = step(Lifecycle(), Wanted(first), 0)
    for program in (replace(first, files={"conf": "b"}), first):
        state, action = step(state, Wanted(program), 1)
        assert action is None
    state, action = step(state, Occurrence.READY, 2)
    assert action is ProgramAction.RELOAD and state.applied == fingerprint(first)
    assert step(state, Occurrence.READY, 3)[1] is None
