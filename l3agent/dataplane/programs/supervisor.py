# SPDX-License-Identifier: Apache-2.0
"""The thread that supervises programs: it waits for the end of any of them, for operations, and for time limits.

Each process, child or adopted, has a pidfd in one epoll(7) set, so its end is known at once and without polling. Each
program has a state machine of its own (:mod:`~l3agent.dataplane.programs.lifecycle`).
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue

from l3agent.dataplane.programs.adoption import find_main, read_records
from l3agent.dataplane.programs.files import ProgramFiles, lock_directory
from l3agent.dataplane.programs.lifecycle import Lifecycle, ProgramStage, adopted
from l3agent.dataplane.programs.process import find_processes
from l3agent.dataplane.programs.record import ProgramRecord
from l3agent.dataplane.programs.spawn import Spawner
from l3agent.dataplane.programs.submission import (
    ProgramEnded,
    ProgramOperation,
    ProgramStatus,
    ProgramSubmission,
    RunProgram,
)
from l3agent.dataplane.programs.supervised import Facilities, SupervisedProgram

LOG = logging.getLogger(__name__)

#: Seconds to wait for the lock of the directory: a former data plane, or a child of it that executes no program yet.
_LOCK_S = 5.0
#: Seconds after a defect.
_FAULT_PAUSE_S = 1.0


class EpollWatch:
    """Descriptors of one epoll set with their callbacks. A callback of a removed descriptor is not called."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Watch a descriptor."""
        self._callbacks[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """Watch a descriptor no more; it is still open."""
        del self._callbacks[descriptor]
        self._epoll.unregister(descriptor)

    def wait(self, seconds: float | None) -> None:
        """Wait until a descriptor is readable; call the callbacks."""
        for descriptor, _ in self._epoll.poll(seconds):
            callback = self._callbacks.get(descriptor)
            if callback is not None and not _call_logged(callback):
                # The descriptor may stay readable.
                time.sleep(_FAULT_PAUSE_S)

    def close(self) -> None:
        """Close the set."""
        self._epoll.close()


class Supervisor:
    """Supervises all programs of the node.

    :param root: directory for the programs; belongs to root and outlives the data plane (not the node).
    :param open_namespace: returns a descriptor of a named network namespace, None if there is none.
    :param respawns: False if a program that ends unexpectedly is not started again until it is submitted again
        (``check_child_processes_action = exit``).
    :ivar descriptor: becomes readable when a submission is done or a program ended.
    :raises AlreadyRunning: another data plane supervises the programs of this directory.
    :raises OSError: the directory cannot be created.
    """

    def __init__(self, root: str, open_namespace: Callable[[str], int | None], *, respawns: bool = True) -> None:
        self._root = root
        self._respawns = respawns
        self._lock = lock_directory(root, _LOCK_S)
        self._watch = EpollWatch()
        self._spawner = Spawner()
        self._facilities = Facilities(
            self._spawner, open_namespace, self._watch, self._on_end, self._update, self._notify
        )
        self._programs: dict[str, SupervisedProgram] = {}
        self._timed: dict[str, SupervisedProgram] = {}
        self._statuses: dict[str, ProgramStatus] = {}
        self._new: SimpleQueue[tuple[ProgramOperation, ProgramSubmission]] = SimpleQueue()
        self._ended: SimpleQueue[ProgramEnded] = SimpleQueue()
        self._wakeup_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._adopted, self._is_closing = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="programs", daemon=True)
        self._thread.start()

    # ---- called by the kernel thread -------------------------------------------------------------------------

    def submit(self, operations: Sequence[ProgramOperation]) -> ProgramSubmission:
        """Submit operations. An operation on a program supersedes its earlier pending operations."""
        submission = ProgramSubmission(len(operations))
        for operation in operations:
            self._new.put((operation, submission))
        os.eventfd_write(self._wakeup_fd, 1)
        return submission

    def wait_until_adopted(self, seconds: float) -> bool:
        """Wait until :meth:`statuses` has the programs of a former data plane; return False after the time limit."""
        return self._adopted.wait(seconds)

    def statuses(self) -> dict[str, ProgramStatus]:
        """Return the programs that run or should run, by label."""
        return self._statuses.copy()

    def events(self) -> list[tuple[None, ProgramEnded]]:
        """Return the unexpected ends since the last call, and clear the descriptor."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            return []
        ended: list[tuple[None, ProgramEnded]] = []
        try:
            while True:
                ended.append((None, self._ended.get_nowait()))
        except Empty:
            return ended

    def stats(self) -> dict[str, object]:
        """Return the number of programs by stage, and of their unexpected ends."""
        statuses = self.statuses().values()
        return {
            "programs": dict(Counter(status.stage.value for status in statuses)),
            "restarts": sum(status.restarts for status in statuses),
        }

    def close(self) -> None:
        """End the thread; the programs continue. Submissions that are not done stay so."""
        self._is_closing = True
        os.eventfd_write(self._wakeup_fd, 1)
        self._thread.join()
        for program in self._programs.values():
            program.close()
        self._watch.close()
        self._spawner.close()
        for descriptor in (self._wakeup_fd, self.descriptor, self._lock):
            os.close(descriptor)

    # ---- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        _call_logged(self._adopt)
        self._adopted.set()
        self._watch.add(self._wakeup_fd, self._read_queue)
        while not self._is_closing:
            self._watch.wait(self._seconds())
            self._run_timers()

    def _adopt(self) -> None:
        records = read_records(self._root)
        candidates = find_processes(f"{self._root}/") if records else {}
        for name, record in records.items():
            program = self._add(
                name, adopted(record.program, record.applied, time.monotonic(), respawns=self._respawns)
            )
            _call_logged(partial(_adopt_one, program, record, candidates))
            self._update(program)

    def _read_queue(self) -> None:
        os.eventfd_read(self._wakeup_fd)
        try:
            while True:
                operation, submission = self._new.get_nowait()
                if not _call_logged(partial(self._execute, operation, submission)):
                    submission.finish_one("internal error; see the log")
                    self._notify()
        except Empty:
            pass

    def _execute(self, operation: ProgramOperation, submission: ProgramSubmission) -> None:
        name = operation.label
        program = self._programs.get(name) or self._add(name, Lifecycle(respawns=self._respawns))
        if isinstance(operation, RunProgram):
            program.run(operation.program, operation.descriptors, submission)
        else:
            program.stop(submission)
        self._update(program)

    def _add(self, name: str, state: Lifecycle) -> SupervisedProgram:
        files = ProgramFiles(self._root, name)
        has_leftovers = state.stage is ProgramStage.ABSENT and os.path.lexists(files.path)
        program = SupervisedProgram(files, name, self._facilities, state, has_leftovers=has_leftovers)
        self._programs[name] = program
        return program

    def _update(self, program: SupervisedProgram) -> None:
        """Publish the status of a program, and schedule its next timer."""
        name = program.label
        if program.due is None:
            self._timed.pop(name, None)
        else:
            self._timed[name] = program
        if program.state.stage is ProgramStage.ABSENT:
            program.close()
            self._programs.pop(name, None)
            self._statuses.pop(name, None)
        else:
            self._statuses[name] = program.status

    def _seconds(self) -> float | None:
        due = [program.due for program in self._timed.values() if program.due is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _run_timers(self) -> None:
        now = time.monotonic()
        for program in [one for one in self._timed.values() if one.due is not None and one.due <= now]:
            _call_logged(partial(program.on_timer, now))

    def _on_end(self, event: ProgramEnded) -> None:
        self._ended.put(event)
        self._notify()

    def _notify(self) -> None:
        os.eventfd_write(self.descriptor, 1)


def _adopt_one(program: SupervisedProgram, record: ProgramRecord, candidates: Mapping[int, list[str]]) -> None:
    program.adopt(record, find_main(record, program.path, candidates))


def _call_logged(call: Callable[[], None]) -> bool:
    """Call a function; return True if it succeeded. A defect in the work on one program leaves the others alone."""
    try:
        call()
    except Exception:
        LOG.exception("supervision of programs")
        return False
    return True
