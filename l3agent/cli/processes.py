# SPDX-License-Identifier: Apache-2.0
"""Processes in a network namespace, whichever program started them."""

from __future__ import annotations

import os
from pathlib import Path

_COMMAND_CHARS = 120
#: Inode number of the initial pid namespace (linux/proc_ns.h): /proc of any other one lacks the host's processes.
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC


def find_processes(pin: str, proc: str = "/proc") -> dict[str, object]:
    """Return the processes in the network namespace mounted at ``pin``.

    :param proc: mount point of proc(5).
    :returns: ``found``: process id and command of each visible process, by process id; ``complete``: False if others
        may exist: the namespace is not visible in this mount namespace, a process belongs to another user (only root
        may read /proc/PID/ns of others), or this is a pid namespace other than the host's.
    """
    try:
        wanted = _identity(pin)
        complete = os.stat(f"{proc}/self/ns/pid").st_ino == _INITIAL_PID_NAMESPACE
    except OSError:
        return {"found": [], "complete": False}
    found: list[dict[str, object]] = []
    for pid in sorted(map(int, filter(str.isdecimal, os.listdir(proc)))):
        try:
            if _identity(f"{proc}/{pid}/ns/net") == wanted:
                found.append({"pid": pid, "command": _command(f"{proc}/{pid}/cmdline")})
        except PermissionError:
            complete = False
        except OSError:  # the process has ended
            continue
    return {"found": found, "complete": complete}


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _command(path: str) -> str:
    words = Path(path).read_bytes().rstrip(b"\0").replace(b"\0", b" ")
    return words[:_COMMAND_CHARS].decode(errors="replace")
