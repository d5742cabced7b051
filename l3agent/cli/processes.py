# SPDX-License-Identifier: Apache-2.0
"""Processes in a network namespace, whichever program started them."""

from __future__ import annotations

import os
from pathlib import Path

_COMMAND_CHARS = 120
#: Inode number of the initial pid namespace (linux/proc_ns.h): /proc of any other one lacks the host's processes.
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC


def find_processes(*pins: str, proc: str = "/proc") -> dict[str, object]:
    """Return the processes in the network namespaces of a router.

    :param pins: files at which they may be mounted; a missing file is left out.
    :param proc: mount point of proc(5).
    :returns: ``found``: process id and command of each visible process, by process id; ``complete``: False if others
        may exist: no namespace is visible in this mount namespace, a process belongs to another user (only root
        may read /proc/PID/ns of others), or this is a pid namespace other than the host's.
    """
    wanted = set(filter(None, map(_identity_or_none, pins)))
    try:
        complete = os.stat(f"{proc}/self/ns/pid").st_ino == _INITIAL_PID_NAMESPACE
    except OSError:
        wanted.clear()
    if not wanted:
        return {"found": [], "complete": False}
    found: list[dict[str, object]] = []
    for pid in sorted(map(int, filter(str.isdecimal, os.listdir(proc)))):
        try:
            if _identity(f"{proc}/{pid}/ns/net") in wanted:
                found.append({"pid": pid, "command": _command(f"{proc}/{pid}/cmdline")})
        except PermissionError:
            complete = False
        except OSError:  # the process has ended
            continue
    return {"found": found, "complete": complete}


def _identity_or_none(path: str) -> tuple[int, int] | None:
    try:
        return _identity(path)
    except OSError:
        return None


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _command(path: str) -> str:
    words = Path(path).read_bytes().rstrip(b"\0").replace(b"\0", b" ")
    return words[:_COMMAND_CHARS].decode(errors="replace")
