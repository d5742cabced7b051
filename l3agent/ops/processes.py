# SPDX-License-Identifier: Apache-2.0
"""Which processes are in a network namespace: helpers, and what others have left there."""

from __future__ import annotations

import os
from pathlib import Path

_SHOWN = 120


def inside(pin: str) -> list[dict[str, object]] | None:
    """Return pid and command of each process in the namespace that is pinned at a path, by pid.

    :returns: None when that cannot be seen from here: the namespace is in another mount namespace, or somebody else's
        processes may not be looked at (proc(5): only root may read /proc/PID/ns of others).
    """
    try:
        wanted = _identity(pin)
    except OSError:
        return None
    found: list[dict[str, object]] = []
    hidden = False
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if _identity(f"/proc/{name}/ns/net") == wanted:
                found.append({"pid": int(name), "command": _command(name)})
        except PermissionError:
            hidden = True
        except OSError:  # it ended meanwhile
            continue
    return None if hidden else sorted(found, key=lambda one: int(str(one["pid"])))


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _command(pid: str) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
    return words[:_SHOWN].decode(errors="replace")
