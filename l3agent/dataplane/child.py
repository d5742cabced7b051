# SPDX-License-Identifier: Apache-2.0
"""The data-plane process, where the agent starts it itself: started, reaped, started again, ended.

Nothing here waits but by the ``sleep`` it is given, so it never blocks the hub.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence

from oslo_log import log as logging

from l3agent.exceptions import ConfigError, DataplaneUnavailable, PermissionMissing

LOG = logging.getLogger(__name__)

# Exit statuses of sysexits.h.
EX_NOPERM, EX_CONFIG = 77, 78
#: How sudo ends when it may not run something.
_HELPER_REFUSED = 1
_END_S = 5.0
_POLL_S = 0.02


class Child:
    """A process that is started when it is needed.

    :param argv: command and arguments.
    :param helper: what the command is prefixed with to get its privilege, such as ``sudo``; nothing where it has it.
    """

    def __init__(self, argv: Sequence[str], *, helper: Sequence[str] = ()) -> None:
        self._argv = [*helper, *argv]
        self._has_helper = bool(helper)
        self._process: subprocess.Popen[bytes] | None = None

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
                start_new_session=True,
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            )
        except OSError as exc:
            raise DataplaneUnavailable(f"{self._argv[0]} cannot be started: {exc}") from exc
        LOG.info("Started l3-dataplane, process %d", self._process.pid)

    def _reason(self, status: int) -> Exception:
        text = f"{' '.join(self._argv)}: ended with status {status}; it said why on its standard error or in its log"
        if status == EX_NOPERM or (self._has_helper and status == _HELPER_REFUSED):
            return PermissionMissing(text)
        return ConfigError(text) if status == EX_CONFIG else DataplaneUnavailable(text)


def _ends_within(process: subprocess.Popen[bytes], seconds: float, sleep: Callable[[float], object]) -> bool:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        sleep(_POLL_S)
    return process.returncode is not None
