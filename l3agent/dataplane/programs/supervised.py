# SPDX-License-Identifier: Apache-2.0
"""One supervised program: executes the actions of its state machine on its processes and its directory."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from l3agent.dataplane.programs.adoption import find_unrecorded
from l3agent.dataplane.programs.files import ProgramFiles
from l3agent.dataplane.programs.installation import Installation
from l3agent.dataplane.programs.lifecycle import (
    Lifecycle,
    Occurrence,
    ProgramAction,
    ProgramStage,
    Wanted,
    step,
    stopping,
)
from l3agent.dataplane.programs.process import Process
from l3agent.dataplane.programs.process_group import DescriptorWatch, ProcessGroup
from l3agent.dataplane.programs.program import Program, arguments
from l3agent.dataplane.programs.readiness import is_ready
from l3agent.dataplane.programs.record import ProgramRecord
from l3agent.dataplane.programs.spawn import Spawner, user_ids
from l3agent.dataplane.programs.submission import ProgramEnded, ProgramStatus, ProgramSubmission
from l3agent.exceptions import ProgramError

LOG = logging.getLogger(__name__)

#: Seconds until the first and between later checks of readiness.
_CHECK_MIN_S, _CHECK_MAX_S = 0.005, 0.2


@dataclass(frozen=True)
class Facilities:
    """Facilities of the supervisor for each program.

    :param open_namespace: returns a descriptor of a named network namespace, None if there is none.
    :param on_end: called with each unexpected end.
    :param on_change: called with a program after each transition.
    :param on_finish: called after submissions have ended.
    """

    spawner: Spawner
    open_namespace: Callable[[str], int | None]
    watch: DescriptorWatch
    on_end: Callable[[ProgramEnded], None]
    on_change: Callable[[SupervisedProgram], None]
    on_finish: Callable[[], None]


class SupervisedProgram:
    """A program with its directory, processes and pending submissions. Used by the thread of the supervisor.

    :param state: initial state.
    :param has_leftovers: True if there may be processes of it without a record.
    """

    def __init__(
        self, files: ProgramFiles, label: str, facilities: Facilities, state: Lifecycle, *, has_leftovers: bool = False
    ) -> None:
        self.label = label
        self.state = state
        self.path = files.path
        self._installation = Installation(files, label, facilities.spawner, facilities.open_namespace, facilities.watch)
        self.group = ProcessGroup(files.path, facilities.watch, self._on_process_end)
        self._facilities = facilities
        self._has_leftovers = has_leftovers
        self._program: Program | None = state.desired
        self._descriptors: Mapping[str, int] = {}
        self._submissions: list[ProgramSubmission] = []
        self._error: str | None = None
        self._restarts = self._kills = 0
        self._check_at = self._check_interval = 0.0

    @property
    def due(self) -> float | None:
        """Time of the next call of :meth:`on_timer`, None if none is due."""
        if self.state.stage is ProgramStage.STARTING:
            assert self.state.at is not None
            return min(self.state.at, self._check_at)
        return self.state.at

    @property
    def status(self) -> ProgramStatus:
        """Status for other threads."""
        state = self.state
        return ProgramStatus(state.stage, state.desired, state.applied, self.group.pid, self._error, self._restarts)

    def run(self, program: Program, descriptors: Mapping[str, int], submission: ProgramSubmission) -> None:
        """Make the program the desired one. Its files are written first: if that fails, nothing changes."""
        self._supersede()
        try:
            namespace = self._installation.prepare(program)
        except (OSError, ProgramError) as exc:
            _close(descriptors)
            self._submissions.append(submission)
            self._finish(f"{self.label}: {exc}")
            return
        self._submissions.append(submission)
        self._close_descriptors()
        self._descriptors = descriptors
        is_moved = self.group.pid is not None and namespace != self._installation.namespace
        self.advance(Wanted(program, is_moved))

    def stop(self, submission: ProgramSubmission) -> None:
        """Stop the program and remove its files; a program that does not run is a success."""
        self._supersede()
        self._submissions.append(submission)
        self.advance(Wanted(None))

    def adopt(self, record: ProgramRecord, process: Process | None) -> None:
        """Continue with a process that another data plane started, None if it has ended."""
        argv = arguments(record.program, self.path)
        self._installation.namespace, self._program = record.namespace, record.program
        self._installation.reopen_output()
        if process is not None:
            self.group.set_main(process, argv)
            if record.pid is None and not record.is_stopping:
                self._installation.record(record.program, record.applied, process.facts)
        else:
            self.group.set_former(record.pid, argv)
            self.group.search_rest()
        if record.is_stopping:
            self.advance(Wanted(None))
        if process is None:
            self._error = "ended while no data plane ran"
            # Its start may have been interrupted before it executed the program.
            self._has_leftovers = record.pid is None
            self.advance(Occurrence.ENDED if self.group.is_empty else Occurrence.ENDED_WITH_REST)

    def on_timer(self, now: float) -> None:
        """Check readiness and time limits."""
        if self.state.stage is ProgramStage.STARTING and now >= self._check_at:
            self._check_readiness(now)
        if self.state.at is not None and now >= self.state.at:
            if self.state.stage is ProgramStage.STARTING:
                self._error = "was not ready in time"
                LOG.warning("%s %s; it is stopped", self.label, self._error)
            self.advance(Occurrence.TIMER)

    def advance(self, event: Wanted | Occurrence) -> None:
        """Execute the transition of an event."""
        if isinstance(event, Wanted) and event.program is None:
            self._installation.mark_stopping()
        self.state, action = step(self.state, event, time.monotonic())
        if action is not None:
            self._execute(action)
        self._report()

    def close(self) -> None:
        """Release all descriptors; the program continues."""
        self.group.close()
        self._installation.close()
        self._close_descriptors()

    # ---- private ---------------------------------------------------------------------------------------------

    def _stop_leftovers(self) -> None:
        """Stop processes that no record has, before the desired program is started.

        :raises ProgramError, OSError: the program cannot be started.
        """
        program = self.state.desired
        assert program is not None
        namespace = self._installation.prepare(program)
        argv, ids = arguments(program, self.path), user_ids(program.user)
        self._has_leftovers = False
        if leftovers := find_unrecorded(argv, self.path, namespace, ids):
            LOG.warning("%s: %d processes without a record are stopped", self.label, len(leftovers))
            self.group.set_former(None, argv)
            self.group.add_rest(leftovers)
            self._program = program
            self.state = stopping(program, time.monotonic(), respawns=self.state.respawns)
            self.group.stop(program.stop.number)

    def _execute(self, action: ProgramAction) -> None:
        match action:
            case ProgramAction.START:
                try:
                    if self._has_leftovers:
                        self._stop_leftovers()
                    if self.state.stage is ProgramStage.STARTING:
                        self._start()
                except (OSError, ProgramError) as exc:
                    self._record_failure(str(exc))
                    self.state, _ = step(self.state, Occurrence.START_FAILED, time.monotonic())
            case ProgramAction.RELOAD:
                self._reload()
            case ProgramAction.STOP:
                assert self._program is not None
                self.group.stop(self._program.stop.number)
            case ProgramAction.KILL:
                self._kills += 1
                self.group.kill()
        if self.state.stage is ProgramStage.STOPPING and self.group.is_empty:
            self.state, _ = step(self.state, Occurrence.ENDED, time.monotonic())

    def _start(self) -> None:
        program = self.state.desired
        assert program is not None and self.group.is_empty
        self._program = program
        process, argv = self._installation.start(program, self._descriptors)
        self.group.set_main(process, argv)
        self._kills = 0
        self._check_at, self._check_interval = time.monotonic() + _CHECK_MIN_S, _CHECK_MIN_S

    def _reload(self) -> None:
        program, facts = self.state.desired, self.group.main_facts
        assert program is not None and program.reload is not None and self.state.applied is not None
        self._program = program
        self.group.send_signal(program.reload)
        if facts is not None:
            self._installation.record(program, self.state.applied, facts)

    def _on_process_end(self) -> None:
        reason = self.group.collect()
        if reason is not None:
            is_unexpected = self.state.stage in (ProgramStage.STARTING, ProgramStage.RUNNING)
            if is_unexpected:
                self._restarts += 1
                self._record_failure(reason)
                self._facilities.on_end(self._ended(reason))
            # A scan of all processes. A stop without SIGKILL has found the descendants before its signal.
            if is_unexpected or self._kills or self.state.desired is not None:
                self.group.search_rest()
        if self.group.is_empty:
            self._installation.flush_output()
            self.advance(Occurrence.ENDED)
        elif reason is not None:
            self.advance(Occurrence.ENDED_WITH_REST)

    def _ended(self, reason: str) -> ProgramEnded:
        assert self._program is not None
        return ProgramEnded(self._program.name, self._program.owner, reason, self.state.respawns)

    def _check_readiness(self, now: float) -> None:
        program, pid = self._program, self.group.pid
        assert program is not None
        try:
            if pid is not None and is_ready(program, self._installation.files, pid, user_ids(program.user)):
                self._error = None
                self.advance(Occurrence.READY)
                return
        except (OSError, ProgramError) as exc:
            LOG.debug("%s: readiness: %s", self.label, exc)
        self._check_interval = min(_CHECK_MAX_S, self._check_interval * 1.5)
        self._check_at = now + self._check_interval

    def _record_failure(self, reason: str) -> None:
        if reason != self._error:
            LOG.warning("%s: %s", self.label, reason)
        self._error = reason

    def _report(self) -> None:
        """Publish the state, then finish the submissions that wait for it."""
        if self.state.stage is ProgramStage.ABSENT:
            self._installation.remove()
            self._close_descriptors()
        self._facilities.on_change(self)
        match self.state.stage:
            case ProgramStage.RUNNING | ProgramStage.ABSENT:
                self._finish(None)
            case ProgramStage.WAITING | ProgramStage.FAILED:
                self._finish(f"{self.label}: {self._error}")
            case ProgramStage.STOPPING if self._kills > 1:
                self._finish(f"{self.label}: a process continues after SIGKILL")

    def _finish(self, error: str | None) -> None:
        submissions, self._submissions = self._submissions, []
        for submission in submissions:
            submission.finish_one(error)
        if submissions:
            self._facilities.on_finish()

    def _close_descriptors(self) -> None:
        _close(self._descriptors)
        self._descriptors = {}

    def _supersede(self) -> None:
        self._finish(f"{self.label}: superseded by a newer operation")


def _close(descriptors: Mapping[str, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)
