# SPDX-License-Identifier: Apache-2.0
"""Lines for the log of the parent, on standard error; the module logging would cost a megabyte."""

from __future__ import annotations

import os
import select
import time

#: Bytes of a line. A pipe that poll(2) reports as writable accepts 4096 bytes (PIPE_BUF) without blocking.
_MAX_LINE = 1024
#: Seconds between two lines about the same subject.
_INTERVAL_S = 10.0

_logged: dict[str, float] = {}


def log(text: str) -> None:
    """Write a line; drop it if the reader is behind, since waiting for it would stop all routers."""
    line = f"l3-metadata: {text}".encode("ascii", "backslashreplace")[:_MAX_LINE].replace(b"\n", b" ") + b"\n"
    try:
        if select.select([], [2], [], 0)[1]:
            os.write(2, line)
    except (OSError, ValueError):
        pass  # there is no standard error


def log_limited(subject: str, text: str) -> bool:
    """Write a line unless there was one about this subject a short time ago; return True if it was written.

    :param subject: from a small, closed set.
    """
    now = time.monotonic()
    if now < _logged.get(subject, float("-inf")) + _INTERVAL_S:
        return False
    _logged[subject] = now
    log(text)
    return True
