# SPDX-License-Identifier: Apache-2.0
"""The data-plane process as a child of the agent: start, reap, restart, stop.

Waits use the given ``sleep`` and, patched by eventlet, a thread; none blocks the hub.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from oslo_log import log as logging

from l3agent.exceptions import ConfigError, DataplaneUnavailable, PermissionMissing

LOG = logging.getLogger(__name__)

# Exit statuses of sysexits.h.
EX_NOPERM, EX_CONFIG = 77, 78
#: Exit status of sudo without permission to run the command.
_HELPER_REFUSED = 1
_END_S = 5.0
_POLL_S = 0.02
#: Seconds to wait for the last output of a process that has ended: a descendant may keep the pipe open.
_LAST_LINE_S = 1.0
#: Bytes kept of the standard error, and read at once.
_TAIL_BYTES, _READ_BYTES = 4096, 65536
_STDERR = 2


class DataplaneProcess:
    """A process that is started on demand.

    :param argv: command and arguments.
    :param helper: prefix of the command that grants its privilege, such as ``sudo``; empty if it has it.
    """

    def __init__(self, argv: Sequence[str], *, helper: Sequence[str] = ()) -> None:
        self._argv = [*helper, *argv]
        self._has_helper = bool(helper)
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: _ErrorOutput | None = None

    def ensure_running(self) -> None:
        """Start the process unless it runs.

        :raises PermissionMissing, ConfigError: it exited with status 77 or 78.
        :raises DataplaneUnavailable: it cannot be started, or exited with another status; the next call restarts it.
        """
        if self._process is None:
            self._start()
            return
        status = self._process.poll()
        if status is not None:
            self._process = None
            raise self._exit_error(status)

    def stop(self, sleep: Callable[[float], object]) -> None:
        """Wait for the process, which exits when its client disconnects; terminate, then kill it after deadlines."""
        process, self._process = self._process, None
        if process is None:
            return
        for signal in (process.terminate, process.kill):
            if _exits_within(process, _END_S, sleep):
                return
            LOG.warning("Process %d (%s) still runs after %g s; terminating it", process.pid, self._argv[0], _END_S)
            try:
                signal()
            except PermissionError as exc:
                LOG.error("Process %d cannot be terminated: %s", process.pid, exc)
                return
        _exits_within(process, _END_S, sleep)

    def _start(self) -> None:
        try:
            # A separate session: Ctrl-C at the terminal stops the agent first, which needs its data plane to drain.
            # An empty environment: the process may have more privilege than the agent.
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            )
        except OSError as exc:
            raise DataplaneUnavailable(f"{self._argv[0]} cannot be started: {exc}") from exc
        self._errors = _ErrorOutput(self._process.stderr)
        LOG.debug("Started l3-dataplane, process %d", self._process.pid)

    def _exit_error(self, status: int) -> Exception:
        last_line = self._errors.last_line() if self._errors else ""
        text = f"{' '.join(self._argv)}: exited with status {status}: {last_line or 'no message; see its log'}"
        if status == EX_NOPERM or (self._has_helper and status == _HELPER_REFUSED):
            return PermissionMissing(text)
        return ConfigError(text) if status == EX_CONFIG else DataplaneUnavailable(text)


class _ErrorOutput:
    """Copies the standard error of a process to that of the agent and keeps the last line.

    In a patched process the reading thread is a greenthread.

    :param stream: the pipe; it is closed at its end.
    """

    def __init__(self, stream: Any) -> None:
        self._tail = b""
        self._thread = threading.Thread(target=self._copy, args=(stream,), daemon=True)
        self._thread.start()

    def last_line(self) -> str:
        """Return the last line that is not empty, without control characters; wait for the end of the output."""
        self._thread.join(_LAST_LINE_S)
        lines = self._tail.decode(errors="replace").rstrip().splitlines()
        return "".join(c if c.isprintable() else "?" for c in lines[-1]) if lines else ""

    def _copy(self, stream: Any) -> None:
        with stream:
            while data := os.read(stream.fileno(), _READ_BYTES):
                os.write(_STDERR, data)
                self._tail = (self._tail + data)[-_TAIL_BYTES:]


def _exits_within(process: subprocess.Popen[bytes], seconds: float, sleep: Callable[[float], object]) -> bool:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        sleep(_POLL_S)
    return process.returncode is not None
