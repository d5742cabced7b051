# SPDX-License-Identifier: Apache-2.0
"""Output of programs, into the log of the data plane.

A program writes to a named pipe that it has open for reading, too, and that never blocks. So it gets no SIGPIPE and
does not wait while no data plane reads: the pipe holds 64 KiB (pipe(7)), and later output is lost. The next data plane
opens the same pipe. Neither a journal nor syslog is needed, which containers lack, and no file grows.
"""

from __future__ import annotations

import logging
import os

from l3agent.model.escape import escape_controls

LOG = logging.getLogger(__name__)

#: Maximum number of bytes of a line; the rest of the line is dropped.
_LINE_BYTES = 1000
_READ_BYTES = 1 << 16


class ProgramOutput:
    """Reader of the pipe of one program.

    :param descriptor: of the pipe, opened for reading and writing.
    :param label: of the program.
    :param path: its directory. The limit of log lines counts each path separately, so that a program that writes much
        hides the lines of no other one.
    """

    def __init__(self, descriptor: int, label: str, path: str) -> None:
        self.descriptor = descriptor
        self._label = label
        self._path = path
        self._partial = b""
        self._is_cut = False

    def read(self) -> None:
        """Log the lines in the pipe, at most 64 KiB of them."""
        try:
            received = os.read(self.descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        *lines, rest = received.split(b"\n")
        for line in lines:
            self._append(line)
            self.flush()
        self._append(rest)

    def flush(self) -> None:
        """Log the line that has no end yet."""
        text = self._partial.decode(errors="backslashreplace").rstrip()
        if text:
            line = f"{self._label}: {escape_controls(text)}{' ...' if self._is_cut else ''}"
            LOG.handle(LOG.makeRecord(LOG.name, logging.INFO, self._path, 0, "%s", (line,), None))
        self._partial, self._is_cut = b"", False

    def close(self) -> None:
        """Log what is in the pipe, and close it."""
        self.read()
        self.flush()
        os.close(self.descriptor)

    def _append(self, received: bytes) -> None:
        room = _LINE_BYTES - len(self._partial)
        self._is_cut = self._is_cut or len(received) > room
        self._partial += received[:room]
