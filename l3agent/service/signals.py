# SPDX-License-Identifier: Apache-2.0
"""Signals as events of the hub.

A Python signal handler runs between two bytecodes only, and an idle hub sits in ``epoll_wait`` (or ``poll``, or the
``select`` of asyncio) for up to a minute. The byte that the interpreter writes into a pipe at once is what wakes it.
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
    """Calls handlers in a greenthread, within milliseconds of the signal, on any hub. Made in the main thread.

    :param handlers: by signal number; a handler must not wait.
    """

    def __init__(self, handlers: Mapping[signal.Signals, Callable[[int], None]]) -> None:
        self._handlers = handlers
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._old = {signo: signal.signal(signo, _leave_to_the_pipe) for signo in handlers}
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
        except Exception:  # the next signal, which may be the one to stop, must find its way
            LOG.exception("Error handling %s", signo.name)

    def close(self) -> None:
        """Put back what was there before."""
        for signo, handler in self._old.items():
            signal.signal(signo, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        self._thread.kill()
        os.close(self._reader)
        os.close(self._writer)


def restore_default_handlers(signo: int, timeout: float, *, keep: int | None = None) -> None:
    """Give SIGTERM and SIGINT back to the kernel, whose default ends the process even when its hub is stuck.

    :param signo: the signal that said to stop.
    :param timeout: seconds the stop may take, for the log; 0: any number.
    :param keep: a signal that keeps its handler.
    """
    LOG.info(
        "%s: stopping within %s s, a second one kills at once", signal.Signals(signo).name, timeout or "any number of"
    )
    for final in FINAL_SIGNALS:
        if final != keep:
            signal.signal(final, signal.SIG_DFL)


def _leave_to_the_pipe(signo: int, frame: Any) -> None:
    """Do nothing: a handler must be there for the interpreter to write the byte."""
