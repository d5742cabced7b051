# SPDX-License-Identifier: Apache-2.0
"""Record of a program on disk: what its process was started with, so that the next data plane adopts it.

It is written before the start without a process id, and after it with that. A process without a recorded id is found
by its arguments. A stop begins by renaming the record, which a full disk does not prevent: a stop that a crash
interrupts continues as a stop.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from l3agent.dataplane.programs.files import ProgramFiles
from l3agent.dataplane.programs.process import NamespaceId
from l3agent.dataplane.programs.program import Fingerprint, Program, from_json, to_json

RECORD, STOPPING, OUTPUT = ".record", ".stopping", ".output"


@dataclass(frozen=True, slots=True)
class ProgramRecord:
    """A record.

    :param program: the files have the content that they have on disk.
    :param applied: what the process was started with and has reloaded since; other files on disk are not reloaded yet.
    :param namespace: identity of the namespace that the process was started in.
    :param pid: of the main process, None before it is recorded.
    :param start: its start time in clock ticks since boot.
    :param is_stopping: True if the program was to be stopped.
    """

    program: Program
    applied: Fingerprint
    namespace: NamespaceId
    pid: int | None = None
    start: int | None = None
    is_stopping: bool = False


def write_record(files: ProgramFiles, record: ProgramRecord) -> None:
    """Write the record of a program.

    :raises OSError: it cannot be written; the former one stays.
    """
    value = {
        "program": to_json(record.program),
        "applied": asdict(record.applied),
        "namespace": record.namespace,
        "pid": record.pid,
        "start": record.start,
    }
    files.write({RECORD: json.dumps(value)}, is_public=False)


def mark_stopping(files: ProgramFiles) -> None:
    """Mark a program as to be stopped."""
    files.rename(RECORD, STOPPING)


def unmark_stopping(files: ProgramFiles) -> None:
    """Mark a program as desired again."""
    files.rename(STOPPING, RECORD)


def read_record(files: ProgramFiles) -> ProgramRecord | None:
    """Return the record of a directory, None if it has none.

    :raises OSError, KeyError, TypeError, ValueError: it cannot be read, or is invalid.
    """
    text, is_stopping = files.read(RECORD), False
    if text is None:
        text, is_stopping = files.read(STOPPING), True
    if text is None:
        return None
    value = json.loads(text)
    names: list[str] = value["program"]["files"]
    content: Mapping[str, str] = {name: files.read(name) or "" for name in names}
    device, inode = value["namespace"]
    return ProgramRecord(
        from_json(value["program"], content),
        Fingerprint(**value["applied"]),
        (int(device), int(inode)),
        value["pid"],
        value["start"],
        is_stopping,
    )


def list_directories(root: str) -> list[str]:
    """Return the names of the directories of programs."""
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
