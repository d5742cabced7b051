# SPDX-License-Identifier: Apache-2.0
"""The data-plane process, where the agent starts it itself: started, reaped, started again, ended.

Nothing here waits but by the ``sleep`` it is given and, patched by eventlet, on a thread; it never blocks the hub.
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
#: How sudo ends when it may not run something.
_HELPER_REFUSED = 1
_END_S = 5.0
_POLL_S = 0.02
#: Seconds to wait for the last output of a process that has ended: a descendant may keep the pipe open.
_LAST_LINE_S = 1.0
#: Bytes kept of the standard error, and read at once.
_TAIL_BYTES, _READ_BYTES = 4096, 65536
_STDERR = 2


class Child:
    """A process that is started when it is needed.

    :param argv: command and arguments.
    :param helper: what the command is prefixed with to get its privilege, such as ``sudo``; nothing where it has it.
    """

    def __init__(self, argv: Sequence[str], *, helper: Sequence[str] = ()) -> None:
        self._argv = [*helper, *argv]
        self._has_helper = bool(helper)
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: _ErrorOutput | None = None

    def ensure(self) -> None:
        """Start the process unless it runs.

        :raises PermissionMissing, ConfigError: it ended with the status that says so.
        :raises DataplaneUnavailable: it cannot be started, or ended in another way; the next call starts it again.
        """
        if self._process is None:
            self._start()
            return
        status = self._process.poll()
        if status is not None:
            self._process = None
            raise self._reason(status)

    def end(self, sleep: Callable[[float], object]) -> None:
        """Wait for the process, which goes by itself when its client is gone; after a while end it."""
        process, self._process = self._process, None
        if process is None:
            return
        for insist in (process.terminate, process.kill):
            if _ends_within(process, _END_S, sleep):
                return
            LOG.warning("Process %d (%s) still runs after %g s; ending it", process.pid, self._argv[0], _END_S)
            try:
                insist()
            except PermissionError as exc:
                LOG.error("Process %d cannot be ended: %s", process.pid, exc)
                return
        _ends_within(process, _END_S, sleep)

    def _start(self) -> None:
        try:
            # A session of its own: Ctrl-C at the terminal ends the agent first, and that needs its data plane to drain.
            # Nothing of our environment: it may run with more privilege than we have.
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

    def _reason(self, status: int) -> Exception:
        last_line = self._errors.last_line() if self._errors else ""
        text = f"{' '.join(self._argv)}: ended with status {status}: {last_line or 'no message; see its log'}"
        if status == EX_NOPERM or (self._has_helper and status == _HELPER_REFUSED):
            return PermissionMissing(text)
        return ConfigError(text) if status == EX_CONFIG else DataplaneUnavailable(text)


class _ErrorOutput:
    """Copies the standard error of a process to that of this one and keeps the last line.

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


def _ends_within(process: subprocess.Popen[bytes], seconds: float, sleep: Callable[[float], object]) -> bool:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        sleep(_POLL_S)
    return process.returncode is not None
