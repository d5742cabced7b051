# SPDX-License-Identifier: Apache-2.0
"""Laws of one supervised program: in any order of events there is at most one instance, and it has the last change."""

from __future__ import annotations

import signal
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from l3agent.dataplane.programs.lifecycle import (
    BACKOFF_MAX_S,
    BACKOFF_MIN_S,
    STABLE_S,
    Lifecycle,
    Occurrence,
    ProgramAction,
    ProgramStage,
    Wanted,
    adopted,
    step,
)
from l3agent.dataplane.programs.program import Program, fingerprint

PROGRAM = Program(
    "example", ("router", "1"), ("example", "{directory}/conf"), files={"conf": "a"}, reload=signal.SIGHUP
)
PROGRAMS = [
    PROGRAM,
    replace(PROGRAM, files={"conf": "b"}),
    replace(PROGRAM, files={"conf": "c"}),
    replace(PROGRAM, argv=(*PROGRAM.argv, "--other")),
    replace(PROGRAM, reload=None),
    replace(PROGRAM, reload=None, files={"conf": "b"}),
]


class LifecycleMachine(RuleBasedStateMachine):
    """A program, its processes, and all that can happen to them, in any order.

    :ivar has_main: True while the main process runs.
    :ivar has_rest: True while other processes of it run.
    :ivar read: what the process has read, from the start or after the last signal.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.state = Lifecycle()
        self.wanted: Program | None = None
        self.has_main = self.has_rest = self.is_ready = self.fails = False
        self.read: Program | None = None
        self.reloads = 0
        self.has_stop_signal = False
        #: Files on disk, and True if they changed after the start: the process may have read either.
        self.on_disk: object = None
        self.has_unread = False

    def send(self, event: Wanted | Occurrence) -> ProgramAction | None:
        former = self.state
        self.state, action = step(self.state, event, self.now)
        if self.state.stage is ProgramStage.WAITING and former.stage is not ProgramStage.WAITING:
            self.check_back_off(former)
        match action:
            case ProgramAction.START:
                assert not self.has_main and not self.has_rest, "two instances"
                assert self.wanted is not None, "a stop is answered by a start"
                self.has_stop_signal = self.has_unread = False
                self.read, self.has_main, self.is_ready = self.wanted, not self.fails, False
                if self.fails:
                    self.send(Occurrence.START_FAILED)
            case ProgramAction.RELOAD:
                assert self.has_main and self.is_ready, "a signal before the program is ready for it"
                assert self.wanted is not None and self.wanted.reload is not None
                self.read = self.wanted
                self.reloads += 1
                self.has_unread = False
            case ProgramAction.STOP:
                assert (self.has_main or self.has_rest) and not self.has_stop_signal
                self.has_stop_signal = True
            case ProgramAction.KILL:
                assert self.has_stop_signal, "SIGKILL without a stop signal"
        return action

    def check_back_off(self, former: Lifecycle) -> None:
        assert self.state.at is not None
        delay = self.state.at - self.now
        assert BACKOFF_MIN_S - 1e-6 <= delay <= BACKOFF_MAX_S + 1e-6
        if self.state.failures == 1 or self.now - former.since >= STABLE_S:
            assert abs(delay - BACKOFF_MIN_S) < 1e-6
        else:
            assert abs(delay - min(BACKOFF_MAX_S, 2.0 ** (self.state.failures - 1))) < 1e-6

    @rule(program=st.sampled_from(PROGRAMS), is_moved=st.sampled_from((False, False, True)))
    def want(self, program: Program, is_moved: bool) -> None:
        self.wanted = program
        self.has_unread = self.has_unread or program.files != self.on_disk
        self.on_disk = program.files
        self.send(Wanted(program, is_moved and self.has_main))

    @rule()
    def want_none(self) -> None:
        self.wanted = None
        self.send(Wanted(None))

    @rule()
    def toggle_failure(self) -> None:
        self.fails = not self.fails

    @precondition(lambda self: self.has_main)
    @rule()
    def become_ready(self) -> None:
        kept, reloads = self.state.has_kept_change, self.reloads
        self.is_ready = True
        self.send(Occurrence.READY)
        assert self.reloads - reloads == (1 if kept else 0), "a kept change is applied once"
        assert self.send(Occurrence.READY) is None

    @precondition(lambda self: self.has_main)
    @rule(leaves=st.booleans())
    def end(self, leaves: bool) -> None:
        self.has_main, self.has_rest = False, leaves
        # The signal was sent to the main process only.
        self.has_stop_signal = False
        self.send(Occurrence.ENDED_WITH_REST if leaves else Occurrence.ENDED)

    @precondition(lambda self: self.has_rest and not self.has_main)
    @rule()
    def end_rest(self) -> None:
        self.has_rest = False
        self.send(Occurrence.ENDED)

    @precondition(lambda self: self.state.at is not None)
    @rule(late=st.sampled_from((0.0, 0.3, 70.0)))
    def expire(self, late: float) -> None:
        assert self.state.at is not None
        self.now = max(self.now, self.state.at) + late
        self.send(Occurrence.TIMER)

    @rule(seconds=st.sampled_from((0.1, 0.9, 30.0, 61.0)))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        self.send(Occurrence.TIMER)

    @precondition(lambda self: self.has_main and not self.has_rest)
    @rule()
    def restart_data_plane(self) -> None:
        """Adopt the process from its record; a stop in progress is marked there."""
        assert self.read is not None
        wanted, self.wanted = self.wanted, self.wanted or self.read
        applied = self.state.applied or fingerprint(self.read)
        self.state = adopted(self.wanted, applied, self.now, respawns=True)
        self.has_stop_signal = False
        # The record does not have a kept change; the files on disk differ from those that it has.
        self.has_unread = fingerprint(self.wanted).files != applied.files
        self.send(Wanted(wanted))
        self.wanted = wanted

    @invariant()
    def the_stage_fits_the_processes(self) -> None:
        runs = self.has_main or self.has_rest
        assert runs == (self.state.stage in (ProgramStage.STARTING, ProgramStage.RUNNING, ProgramStage.STOPPING))
        assert (self.state.desired is None) == (self.wanted is None)

    @invariant()
    def a_running_program_has_the_last_change(self) -> None:
        if self.state.stage is ProgramStage.RUNNING:
            assert self.read is not None and self.wanted is not None
            assert fingerprint(self.read) == fingerprint(self.wanted)
            assert not self.has_unread

    @invariant()
    def something_is_due_until_it_runs(self) -> None:
        is_final = self.state.stage in (ProgramStage.ABSENT, ProgramStage.RUNNING)
        assert is_final == (self.state.at is None)


LifecycleMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestLifecycle = LifecycleMachine.TestCase
