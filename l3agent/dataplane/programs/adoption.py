# SPDX-License-Identifier: Apache-2.0
"""Finds the processes of recorded programs after a restart of the data plane.

record                process found                        result
with a process id     it, by start time and arguments      adopted
with a process id     none                                 ended meanwhile: what it left is stopped, then restarted
without a process id  a session leader with the arguments  adopted: the crash was between start and record
without a process id  none                                 as ended; the start after the back-off looks again
none                  with the arguments                   stopped before the next start
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress

from l3agent.dataplane.programs.files import ProgramFiles
from l3agent.dataplane.programs.process import (
    NamespaceId,
    Process,
    find_processes,
    has_arguments,
    namespace_of,
    open_process,
)
from l3agent.dataplane.programs.program import arguments
from l3agent.dataplane.programs.record import ProgramRecord, list_directories, read_record
from l3agent.dataplane.programs.spawn import user_ids
from l3agent.exceptions import ProgramError

LOG = logging.getLogger(__name__)

Ids = tuple[int, int]


def read_records(root: str) -> dict[str, ProgramRecord]:
    """Return the valid records of all programs, by label."""
    records = {}
    for name in list_directories(root):
        try:
            record = read_record(ProgramFiles(root, name))
            if record is not None and record.program.label != name:
                raise ValueError(f"it is that of {record.program.label}")
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as exc:
            LOG.warning("%s/%s: the record is invalid: %r", root, name, exc)
            continue
        if record is not None:
            records[name] = record
    return records


def find_main(record: ProgramRecord, path: str, candidates: Mapping[int, list[str]]) -> Process | None:
    """Return the main process of a record, None if it has ended.

    :param path: the directory of the program.
    :param candidates: arguments by process id of all processes that may belong to a program.
    """
    argv = arguments(record.program, path)
    try:
        ids = user_ids(record.program.user)
    except ProgramError:
        return None
    if record.pid is None:
        found = _find_leaders(argv, path, record.namespace, ids, candidates)
        for other in found[1:]:
            other.close()
        return found[0] if found else None
    process = open_process(record.pid)
    if process is None:
        return None
    is_same = process.facts.start == record.start and has_arguments(process.pid, argv)
    # Another user than root may hide its namespace; start time and arguments are those of the record.
    if is_same and namespace_of(process.pid, *ids) in (None, record.namespace):
        return process
    process.close()
    return None


def find_unrecorded(argv: list[str], path: str, namespace: NamespaceId, ids: Ids) -> list[Process]:
    """Return the processes of a program without a record: session leaders, and the members of their sessions."""
    candidates = find_processes(path)
    leaders = _find_leaders(argv, path, namespace, ids, candidates)
    sessions = {process.pid for process in leaders}
    members = [open_process(pid) for pid in candidates if pid not in sessions]
    for member in members:
        if member is None:
            continue
        if member.facts.session in sessions and has_arguments(member.pid, argv):
            leaders.append(member)
        else:
            member.close()
    return leaders


def _find_leaders(
    argv: list[str], path: str, namespace: NamespaceId, ids: Ids, candidates: Mapping[int, list[str]]
) -> list[Process]:
    """Return the session leaders that have the arguments, the user and the namespace of a program."""
    found = []
    for pid, line in candidates.items():
        if not any(path in argument for argument in line):
            continue
        process = open_process(pid)
        if process is None:
            continue
        is_leader = process.facts.session == pid and has_arguments(pid, argv) and _user_of(pid) == ids[0]
        if is_leader and namespace_of(pid, *ids) == namespace:
            found.append(process)
        else:
            process.close()
    return found


def _user_of(pid: int) -> int | None:
    with suppress(OSError):
        return os.stat(f"/proc/{pid}").st_uid
    return None
