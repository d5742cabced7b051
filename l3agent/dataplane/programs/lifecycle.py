# SPDX-License-Identifier: Apache-2.0
"""The state machine of one program: (state, event, time) -> (state, action). Pure.

::

               want              ready
    ABSENT ──────────> STARTING ───────> RUNNING        reload: RUNNING only; a change before is kept until ready
      ^                 ^    │              │
      │          timer  │    │ not ready    │ want another, none
      │     WAITING ────┘    v in time      v
      │        ^  ^       STOPPING <────────┘           SIGTERM, SIGKILL after the seconds of the program
      │        │  └─ failed ──┤
      │        │              ├─ restart ──> STARTING
      └────────┼──────────────┘ desired: none
               └── the process ends unexpectedly, cannot be started (back-off 1 s, doubled up to 60 s)

FAILED replaces WAITING after an unexpected end if programs are not respawned. An action is executed before the
next event, so START is returned only in a state without a process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from l3agent.dataplane.programs.program import Difference, Fingerprint, Program, difference, fingerprint

#: Seconds before the first restart, and at most; seconds of uptime after which the back-off begins anew.
BACKOFF_MIN_S, BACKOFF_MAX_S, STABLE_S = 1.0, 60.0, 60.0
#: Seconds between two SIGKILL: a process may be in an uninterruptible system call, or fork.
_KILL_AGAIN_S = 1.0


class ProgramStage(Enum):
    """Stage of a program."""

    ABSENT = "absent"
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"


class ProgramAction(Enum):
    """Action on the process of a program. START also covers the removal of stale pid files."""

    START = "start"
    RELOAD = "reload"
    STOP = "stop"
    KILL = "kill"


class Occurrence(Enum):
    """Events without further values: of the process, and of the clock.

    ``ENDED``: no process of the program is left. ``ENDED_WITH_REST``: the main process ended, others are left.
    """

    READY = "ready"
    START_FAILED = "start failed"
    ENDED = "ended"
    ENDED_WITH_REST = "ended, others are left"
    TIMER = "timer"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Event: a program is desired, None for none.

    :param is_moved: True if its namespace is another one than that of its process.
    """

    program: Program | None
    is_moved: bool = False


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """State of one program. Times are those of one clock, in seconds.

    :param desired: None if it should not run.
    :param applied: what the process was started with and has reloaded since; None without a process.
    :param has_kept_change: True if files changed before the process was ready for a signal.
    :param has_failed: while STOPPING: True if the process is stopped since it failed.
    :param failures: failures in succession.
    :param since: time of the start.
    :param at: time of the next TIMER event, None if none is due.
    :param respawns: False if a program that ends unexpectedly stays FAILED.
    """

    stage: ProgramStage = ProgramStage.ABSENT
    desired: Program | None = None
    applied: Fingerprint | None = None
    has_kept_change: bool = False
    has_failed: bool = False
    failures: int = 0
    since: float = 0.0
    at: float | None = None
    respawns: bool = True


Next = tuple[Lifecycle, ProgramAction | None]


def step(state: Lifecycle, event: Wanted | Occurrence, now: float) -> Next:
    """Return the next state, and the action that leads to it."""
    match event:
        case Wanted(None):
            return _want_none(state, now)
        case Wanted(program, is_moved):
            assert program is not None
            return _want(state, program, now, is_moved=is_moved)
        case Occurrence.READY:
            return _ready(state)
        case Occurrence.START_FAILED:
            return (_wait(state, now), None) if state.stage is ProgramStage.STARTING else (state, None)
        case Occurrence.TIMER:
            return _timer(state, now)
        case Occurrence.ENDED | Occurrence.ENDED_WITH_REST:
            return _ended(state, now, is_rest_left=event is Occurrence.ENDED_WITH_REST)


def adopted(program: Program, applied: Fingerprint, now: float, *, respawns: bool) -> Lifecycle:
    """Return the state of a program whose process runs already; it is checked for readiness as after a start."""
    at = now + program.ready.seconds
    return Lifecycle(ProgramStage.STARTING, program, applied, since=now, at=at, respawns=respawns)


def stopping(program: Program, now: float, *, respawns: bool) -> Lifecycle:
    """Return the state of a program whose former processes are stopped before its start."""
    return Lifecycle(ProgramStage.STOPPING, program, at=now + program.stop.seconds, respawns=respawns)


def _want(state: Lifecycle, program: Program, now: float, *, is_moved: bool) -> Next:
    is_other = is_moved or state.desired is None or fingerprint(program) != fingerprint(state.desired)
    match state.stage:
        case ProgramStage.ABSENT | ProgramStage.FAILED:
            return _start(replace(state, failures=0), program, now)
        case ProgramStage.WAITING:
            # Another program may be the repair: it does not wait.
            return _start(replace(state, failures=0), program, now) if is_other else (state, None)
        case ProgramStage.STOPPING:
            return replace(state, desired=program, has_failed=state.has_failed and not is_other), None
    change = Difference.RESTART if is_moved else difference(program, state.applied)
    state = replace(state, desired=program)
    if change is Difference.RESTART:
        return _stop(state, program, now, has_failed=False)
    if change is Difference.RELOAD and state.stage is ProgramStage.RUNNING:
        return replace(state, applied=fingerprint(program)), ProgramAction.RELOAD
    # Even if the change is reverted before the process is ready: the process may have read the files in between.
    kept = state.has_kept_change or change is Difference.RELOAD
    return replace(state, has_kept_change=kept), None


def _want_none(state: Lifecycle, now: float) -> Next:
    match state.stage:
        case ProgramStage.STOPPING:
            return replace(state, desired=None, has_failed=False), None
        case ProgramStage.STARTING | ProgramStage.RUNNING:
            assert state.desired is not None
            return _stop(replace(state, desired=None), state.desired, now, has_failed=False)
    return Lifecycle(respawns=state.respawns), None


def _start(state: Lifecycle, program: Program, now: float) -> Next:
    started = Lifecycle(
        ProgramStage.STARTING,
        program,
        fingerprint(program),
        failures=state.failures,
        since=now,
        at=now + program.ready.seconds,
        respawns=state.respawns,
    )
    return started, ProgramAction.START


def _stop(state: Lifecycle, program: Program, now: float, *, has_failed: bool) -> Next:
    at = now + program.stop.seconds
    state = replace(state, stage=ProgramStage.STOPPING, has_kept_change=False, has_failed=has_failed, at=at)
    return state, ProgramAction.STOP


def _wait(state: Lifecycle, now: float) -> Lifecycle:
    was_stable = now - state.since >= STABLE_S
    failures = 1 if was_stable else state.failures + 1
    # The exponent is bounded: 2 ** 1024 is no float.
    delay = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(failures - 1, 10))
    return Lifecycle(ProgramStage.WAITING, state.desired, failures=failures, at=now + delay, respawns=state.respawns)


def _ready(state: Lifecycle) -> Next:
    if state.stage is not ProgramStage.STARTING:
        return state, None
    state = replace(state, stage=ProgramStage.RUNNING, at=None)
    if not state.has_kept_change:
        return state, None
    assert state.desired is not None
    return replace(state, has_kept_change=False, applied=fingerprint(state.desired)), ProgramAction.RELOAD


def _ended(state: Lifecycle, now: float, *, is_rest_left: bool) -> Next:
    if state.stage in (ProgramStage.STARTING, ProgramStage.RUNNING):
        assert state.desired is not None
        if is_rest_left:
            return _stop(state, state.desired, now, has_failed=True)
        return _fail(state, now), None
    if state.stage is not ProgramStage.STOPPING:
        return state, None
    if is_rest_left:
        # The main process did not stop them; until SIGKILL they have the rest of its time.
        return state, ProgramAction.STOP
    if state.desired is None:
        return Lifecycle(respawns=state.respawns), None
    if state.has_failed:
        return _fail(state, now), None
    return _start(replace(state, failures=0), state.desired, now)


def _fail(state: Lifecycle, now: float) -> Lifecycle:
    waiting = _wait(state, now)
    return waiting if state.respawns else replace(waiting, stage=ProgramStage.FAILED, at=None)


def _timer(state: Lifecycle, now: float) -> Next:
    if state.at is None or now < state.at:
        return state, None
    if state.stage is ProgramStage.STOPPING:
        return replace(state, at=now + _KILL_AGAIN_S), ProgramAction.KILL
    assert state.desired is not None
    if state.stage is ProgramStage.WAITING:
        return _start(state, state.desired, now)
    return _stop(state, state.desired, now, has_failed=True)
