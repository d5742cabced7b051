# SPDX-License-Identifier: Apache-2.0
"""Readiness of a process: it handles its reload signal, has written its pid file, and accepts connections."""

from __future__ import annotations

import os
import socket

from l3agent.dataplane.programs.files import ProgramFiles
from l3agent.dataplane.programs.process import file_ids, handles_signal
from l3agent.dataplane.programs.program import Program


def is_ready(program: Program, files: ProgramFiles, pid: int, ids: tuple[int, int]) -> bool:
    """Return True if a process is ready for signals and requests.

    Without a handler, the reload signal would end the process.

    :param ids: user and group of the process; a socket of mode 0600 accepts that user only.
    """
    if program.reload is not None and not handles_signal(pid, program.reload):
        return False
    if program.ready.pid_file and (files.read(program.pid_files[0]) or "").strip() != str(pid):
        return False
    return program.ready.socket is None or _accepts(os.path.join(files.path, program.ready.socket), ids)


def _accepts(path: str, ids: tuple[int, int]) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as trial:
        trial.setblocking(False)
        try:
            with file_ids(*ids):
                trial.connect(path)
        except BlockingIOError:
            # A full backlog is that of a process that listens.
            return True
        except OSError:
            return False
    return True
