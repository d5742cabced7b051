# SPDX-License-Identifier: Apache-2.0
"""Processes: opened by pidfd first, identified afterwards, signalled only through the pidfd.

A process id may be used again at any moment, a pidfd refers to one process (pidfd_open(2), Linux 5.3). Identity is the
start time, the session, the arguments and, where no record has these, the network namespace. Source: proc(5).
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from l3agent.dataplane.kernel import syscalls

NamespaceId = tuple[int, int]
#: Positions in /proc/PID/stat after the name of the command, which is in parentheses.
_STATE, _PARENT, _SESSION, _START = 0, 1, 3, 19
_OWN = "/proc/self"


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """Facts of a process.

    :param start: start time in clock ticks since boot.
    """

    pid: int
    parent: int
    session: int
    start: int


class Process:
    """A process, ours or another one, behind a pidfd.

    :param descriptor: the pidfd; readable when the process has ended.
    """

    def __init__(self, facts: ProcessFacts, descriptor: int) -> None:
        self.facts = facts
        self.descriptor = descriptor

    @property
    def pid(self) -> int:
        """Process id."""
        return self.facts.pid

    @property
    def has_ended(self) -> bool:
        """True if it has ended."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def send_signal(self, number: int) -> None:
        """Send a signal; a process that has ended is a success.

        :raises OSError: the signal is not permitted.
        """
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, number)

    def reap(self) -> int | None:
        """Return the status of an ended child as subprocess does, None for a process that is no child."""
        try:
            found = os.waitid(os.P_PIDFD, self.descriptor, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return None
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def close(self) -> None:
        """Close the pidfd."""
        os.close(self.descriptor)


def open_process(pid: int) -> Process | None:
    """Return a process that has not ended; None if there is none with this id."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    if (facts := read_facts(pid)) is None:
        os.close(descriptor)
        return None
    process = Process(facts, descriptor)
    if process.has_ended:
        process.close()
        return None
    return process


def read_facts(pid: int) -> ProcessFacts | None:
    """Return the facts of a process; None if there is none, or it is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if not fields or fields[_STATE] in (b"Z", b"X"):
        return None
    return ProcessFacts(pid, int(fields[_PARENT]), int(fields[_SESSION]), int(fields[_START]))


def read_arguments(pid: int) -> list[str]:
    """Return the arguments of a process; an empty list if it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.fsdecode(file.read()).split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def has_arguments(pid: int, argv: Sequence[str]) -> bool:
    """Return True if a process has all arguments of ``argv`` beside the first, in this order, without others between.

    A script has its interpreter before them; a program that has executed itself again may have more behind them. A
    process that only names a file of the program, such as an editor, does not match.
    """
    wanted, found = list(argv[1:]), read_arguments(pid)
    return any(found[at : at + len(wanted)] == wanted for at in range(1, len(found) - len(wanted) + 1))


def find_processes(path: str) -> dict[int, list[str]]:
    """Return the arguments of all processes that have a path in one of them, by process id."""
    text = os.fsencode(path)
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{name}/cmdline", "rb") as file:
            if text in (line := file.read()):
                found[int(name)] = os.fsdecode(line).split("\0")[:-1]
    return found


def find_rest(session: int, argv: Sequence[str], path: str) -> list[Process]:
    """Return the processes of a program whose main process has ended: they have its arguments and its session.

    :param session: process id of the main process. No other process has the id as long as the session exists.
    :param path: the directory of the program.
    """
    found = (open_process(pid) for pid in find_processes(path) if has_arguments(pid, argv))
    rest = []
    for process in found:
        if process is None:
            continue
        if process.facts.session == session:
            rest.append(process)
        else:
            process.close()
    return rest


def find_descendants(pid: int) -> Iterator[int]:
    """Yield the ids of the descendants of a process at this moment (CONFIG_PROC_CHILDREN)."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/task/{thread}/children") as file:
                for child in file.read().split():
                    yield int(child)
                    yield from find_descendants(int(child))


def handles_signal(pid: int, number: int) -> bool:
    """Return True if a process has a handler for a signal or blocks it, as programs with signalfd(2) do."""
    try:
        with open(f"/proc/{pid}/status") as file:
            fields = dict(line.split(":", 1) for line in file if line.startswith(("SigCgt", "SigBlk")))
    except (FileNotFoundError, ProcessLookupError):
        return False
    masks = (int(fields[name], 16) for name in ("SigCgt", "SigBlk") if name in fields)
    return any(mask >> (number - 1) & 1 for mask in masks)


def namespace_of(pid: int, user: int, group: int) -> NamespaceId | None:
    """Return the identity of the network namespace of a process, None if it has ended or does not show it.

    :param user: the user of the process. The kernel shows it to that user only, and to CAP_SYS_PTRACE (ptrace(2),
        PTRACE_MODE_READ_FSCREDS), so the calling thread has the file system ids of that user meanwhile.
    """
    try:
        with file_ids(user, group):
            return identity(os.stat(f"/proc/{pid}/ns/net"))
    except OSError:
        return None


def identity(found: os.stat_result) -> NamespaceId:
    """Return the identity of the namespace of a file."""
    return found.st_dev, found.st_ino


@contextmanager
def file_ids(user: int, group: int) -> Iterator[None]:
    """Set the file system ids of the calling thread to those of a user.

    :raises OSError: this user namespace has no such user or group.
    """
    own_user, own_group = os.geteuid(), os.getegid()
    if user == own_user:
        yield
        return
    try:
        syscalls.set_file_ids(user, group)
        yield
    finally:
        syscalls.set_file_ids(own_user, own_group)
        # The kernel writes no core of a process that had the ids of another user.
        syscalls.allow_core()
