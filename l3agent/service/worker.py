# SPDX-License-Identifier: Apache-2.0
"""A worker process of a service, and the state that it shares with its parent."""

from __future__ import annotations

import gc
import mmap
import os
import random
import signal
import struct
import time
from typing import Any

from eventlet import hubs
from oslo_config import cfg
from oslo_log import log as logging

from l3agent.rpc.transport import renew_transports
from l3agent.service import systemd
from l3agent.service.inprocess import ServiceLauncher
from l3agent.service.signals import restore_default_handlers
from l3agent.service.systemd import Watchdog

LOG = logging.getLogger(__name__)

_index = 0
# Objects of the parent that must outlive the fork: their destructors would act on resources that the parent uses.
_inherited: list[Any] = []


def is_first_worker() -> bool:
    """Return True in exactly one worker of each service, and in a process that is not a worker.

    It runs the reports and tasks that a node needs once. When it dies, its replacement is the first worker.
    """
    return _index == 0


class Heartbeat:
    """State of one worker in memory shared with its parent. Each field has one writer."""

    # CLOCK_MONOTONIC is the same in all processes of a machine.
    _TIME = struct.Struct("d")
    _STARTED, _READY, _STOP_REQUESTED = range(_TIME.size, _TIME.size + 3)

    def __init__(self, index: int = 0) -> None:
        #: Index of the worker within its service, from 0.
        self.index = index
        self.forked_at = time.monotonic()
        self._memory = mmap.mmap(-1, self._TIME.size + 3)
        self.beat()

    def beat(self) -> None:
        """Record that the worker is healthy."""
        self._TIME.pack_into(self._memory, 0, time.monotonic())

    def age(self) -> float:
        """Return the seconds since the last beat."""
        then: float = self._TIME.unpack_from(self._memory)[0]
        return time.monotonic() - then

    @property
    def started(self) -> bool:
        """Return True if the ``start()`` of the service has returned."""
        return bool(self._memory[self._STARTED])

    def set_started(self) -> None:
        """Record that the service has started."""
        self._memory[self._STARTED] = 1

    @property
    def ready(self) -> bool:
        """Return True if the worker is ready."""
        return bool(self._memory[self._READY])

    def set_ready(self) -> None:
        """Record that the worker is ready."""
        self._memory[self._READY] = 1

    @property
    def stop_requested(self) -> bool:
        """Return True if the parent has sent SIGTERM to the worker."""
        return bool(self._memory[self._STOP_REQUESTED])

    def set_stop_requested(self) -> None:
        """Record that the parent has sent SIGTERM, which it does once."""
        self._memory[self._STOP_REQUESTED] = 1


class Worker(ServiceLauncher):
    """Launcher of a worker. Its watchdog is the parent, and the parent's SIGTERM does not count as a second signal.

    :param heartbeat: state shared with the parent.
    :param interval: interval of the parent's watchdog in seconds; None: there is none.
    """

    def __init__(
        self, conf: cfg.ConfigOpts, restart_method: str, heartbeat: Heartbeat, interval: float | None, **settings: float
    ) -> None:
        super().__init__(conf, restart_method, watchdog=Watchdog(interval, heartbeat.beat), **settings)
        self._heartbeat = heartbeat

    def _on_final_signal(self, signo: int) -> None:
        """Stop; a second signal kills, as in any process.

        A signal to the process group or the cgroup reaches the worker twice: directly, and as the SIGTERM that the
        parent sends. So SIGTERM gets its default action only after the parent has sent SIGTERM.
        """
        restore_default_handlers(signo, self.conf.graceful_shutdown_timeout, keep=self._signal_due_from_parent())
        self.services.request_stop()

    def _signal_due_from_parent(self) -> int | None:
        """Return SIGTERM until the parent has sent it."""
        if not self._heartbeat.stop_requested:
            return signal.SIGTERM
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # discards a pending one (POSIX, 2.4.3)
        return None

    def wait_started(self) -> None:
        """Wait until the service has started, and report it to the parent."""
        super().wait_started()
        self._heartbeat.set_started()

    def wait_ready(self) -> None:
        """Wait until the service is ready, and report it to the parent."""
        super().wait_ready()
        self._heartbeat.set_ready()


def become_worker(index: int, parents_pipe: int) -> None:
    """Release the resources of the parent; a forked worker calls this first.

    :param index: index of the worker within its service, from 0.
    :param parents_pipe: writing end of the pipe; its end of file indicates the death of the parent.
    """
    global _index
    _index = index
    _inherited.append(hubs.get_hub())  # if it were collected, its greenthreads would run their ``finally``
    hubs.use_hub()  # not the parent's epoll descriptor
    os.close(parents_pipe)
    systemd.remove_environment()
    random.seed()
    renew_transports()


def freeze_heap() -> None:
    """Exempt all objects from garbage collection, so that children do not write to pages shared with their parent."""
    gc.collect()
    gc.freeze()


def watch_parent(pipe: Any, launcher: Worker) -> None:
    """Stop the worker when its parent dies."""
    pipe.read(1)
    LOG.error("The parent process has died, stopping")
    launcher.services.request_stop(1)
