# SPDX-License-Identifier: Apache-2.0
"""Delivers signals as events of the hub.

A Python signal handler runs between two bytecodes only, and an idle hub waits in ``epoll_wait`` (or ``poll``, or the
``select`` of asyncio) for up to a minute. The interpreter writes a byte into a pipe at once, which wakes the hub.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

import eventlet
from eventlet import hubs
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

FINAL_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Calls handlers in a greenthread, within milliseconds of the signal, on any hub. Create it in the main thread.

    :param handlers: by signal number; a handler must not wait.
    """

    def __init__(self, handlers: Mapping[signal.Signals, Callable[[int], None]]) -> None:
        self._handlers = handlers
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._previous_wakeup_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._previous_handlers = {signo: signal.signal(signo, _ignore) for signo in handlers}
        self._thread = eventlet.spawn(self._dispatch)

    def _dispatch(self) -> None:
        while True:
            hubs.trampoline(self._reader, read=True)
            for signo in os.read(self._reader, 4096):
                if signo in self._handlers:
                    self._handle(signal.Signals(signo))

    def _handle(self, signo: signal.Signals) -> None:
        try:
            self._handlers[signo](signo)
        except Exception:  # the next signal, perhaps SIGTERM, must be processed
            LOG.exception("Error handling %s", signo.name)

    def close(self) -> None:
        """Restore the previous handlers and wakeup descriptor."""
        for signo, handler in self._previous_handlers.items():
            signal.signal(signo, handler)
        signal.set_wakeup_fd(self._previous_wakeup_fd)
        self._thread.kill()
        os.close(self._reader)
        os.close(self._writer)


def restore_default_handlers(signo: int, timeout: float, *, keep: int | None = None) -> None:
    """Restore the default handlers of SIGTERM and SIGINT, which end the process even if its hub is blocked.

    :param signo: the signal that requested the stop.
    :param timeout: seconds that the stop may take, for the log; 0: no limit.
    :param keep: a signal whose handler stays.
    """
    for final in FINAL_SIGNALS:
        if final != keep:
            signal.signal(final, signal.SIG_DFL)
    limit = f"{timeout} s" if timeout else "none"
    LOG.info("%s: stopping, time limit %s; a second signal kills", signal.Signals(signo).name, limit)


def _ignore(signo: int, frame: Any) -> None:
    """Do nothing: the interpreter writes the byte only if a handler is installed."""
