# SPDX-License-Identifier: Apache-2.0
"""Operations on programs, their submissions, and the events that the supervisor reports. Values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from l3agent.dataplane.plan.kinds.observation import EventLocation
from l3agent.dataplane.programs.lifecycle import ProgramStage
from l3agent.dataplane.programs.program import Fingerprint, Program, label
from l3agent.model.states import Key


@dataclass(frozen=True, slots=True)
class RunProgram:
    """Operation: a program runs.

    :param descriptors: descriptors for its next starts, by the environment variable that has their number. The
        supervisor closes them. A running process gets none; a data plane that adopts a program has none.
    """

    program: Program
    descriptors: Mapping[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Label of the program."""
        return self.program.label


@dataclass(frozen=True, slots=True)
class StopProgram:
    """Operation: a program does not run, and has no files."""

    name: str
    owner: Key | None

    @property
    def label(self) -> str:
        """Label of the program."""
        return label(self.name, self.owner)


ProgramOperation = RunProgram | StopProgram


class ProgramSubmission:
    """Submitted operations; done after each succeeded or failed.

    :ivar error: reasons of the failures, None if there is none.
    """

    def __init__(self, operations: int) -> None:
        self._open = operations
        self.error: str | None = None

    @property
    def done(self) -> bool:
        """True after all operations have ended."""
        return self._open <= 0

    def finish_one(self, error: str | None) -> None:
        """End one operation. Called by the thread of the supervisor."""
        if error is not None:
            self.error = error if self.error is None else f"{self.error}; {error}"
        self._open -= 1


@dataclass(frozen=True, slots=True)
class ProgramEnded:
    """Event: a program ended unexpectedly.

    :param reason: how it ended.
    :param is_restarted: True if it is started again after the back-off; else the caller decides what follows.
    """

    name: str
    owner: Key | None
    reason: str
    is_restarted: bool

    def is_as_desired(self, location: EventLocation) -> bool:
        """Return True: a restart needs no observation of a state."""
        return True


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    """Status of a program, as any thread may read it.

    :param applied: what its process was started with and has reloaded since; None without a process.
    :param error: reason of the last failure, None if it runs.
    :param restarts: unexpected ends since the start of the data plane.
    """

    stage: ProgramStage
    program: Program | None
    applied: Fingerprint | None
    pid: int | None
    error: str | None
    restarts: int
