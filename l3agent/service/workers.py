# SPDX-License-Identifier: Apache-2.0
"""Services in several forked processes, on oslo.service's ``ProcessLauncher``."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import time
from contextlib import suppress
from typing import Any

import eventlet
from eventlet import hubs
from eventlet.queue import Empty, LightQueue
from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import service as oslo_service

from l3agent.exceptions import ConfigError
from l3agent.rpc.deadline import time_limit
from l3agent.service import reload, report, systemd
from l3agent.service.hub import LIMIT_S
from l3agent.service.inprocess import ServiceLauncher, check, log_options
from l3agent.service.services import EX_CONFIG, EX_NOPERM, ServiceLike
from l3agent.service.signals import FINAL_SIGNALS, Signals, let_the_next_one_kill
from l3agent.service.systemd import Watchdog

LOG = logging.getLogger(__name__)

LOOK_FOR_DEAD_S = 1.0
READY_LOOK_S = 0.05
KILL_AFTER_S = 2.0
# A worker that ends with one of these would do so again.
HOPELESS = (EX_NOPERM, EX_CONFIG)
_HELD_BACK = (*FINAL_SIGNALS, signal.SIGHUP, signal.SIGUSR2)


class Beat:
    """What a worker lets its parent know, in memory that they share, by a clock that they share too.

    Whether it is ready, and when it was last known to be healthy.
    """

    _LAYOUT = struct.Struct("d?")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._LAYOUT.size)
        self._put(False)

    def _put(self, ready: bool) -> None:
        self._LAYOUT.pack_into(self._memory, 0, time.monotonic(), ready)

    @property
    def ready(self) -> bool:
        """Tell whether the worker has said that it is ready."""
        _, ready = self._LAYOUT.unpack_from(self._memory)
        return bool(ready)

    def get_ready(self) -> None:
        """Say that the worker is ready."""
        self._put(True)

    def now(self) -> None:
        """Say that the worker is healthy."""
        self._put(self.ready)

    def age(self) -> float:
        """Return the seconds since it last said so."""
        then: float = self._LAYOUT.unpack_from(self._memory)[0]
        return time.monotonic() - then


class ProcessLauncher(oslo_service.ProcessLauncher):  # type: ignore[misc]
    """Runs each service in several forked processes, each a :class:`ServiceLauncher`, and replaces those that die.

    New ones come at one a second when they die at once. A worker that ends with 77 or 78 (privilege missing,
    configuration wrong) ends all of them, with that status.

    :param hub_limit: seconds that the hub of a worker may be blocked before its log names what blocks it; 0: not
        looked at.
    """

    def __init__(self, conf: cfg.ConfigOpts, restart_method: str = "mutate", *, hub_limit: float = LIMIT_S) -> None:
        self._caught = LightQueue()
        super().__init__(conf, restart_method=restart_method)
        report.register_options(conf)
        self._hub_limit = hub_limit
        self._watchdog = systemd.watchdog()
        self._wraps: list[Any] = []
        self._beats: dict[int, Beat] = {}
        self._hopeless = 0
        self._ended_badly = False
        self._announced = False

    def handle_signal(self) -> None:
        """Take over the signals: each goes into a queue that ``wait`` works off."""
        self._signals = Signals(dict.fromkeys((*_HELD_BACK, signal.SIGCHLD), self._caught.put))

    def launch_service(self, service: ServiceLike, workers: int | None = 1) -> None:
        """Fork the workers of a service.

        :raises ConfigError: the hub is asyncio's, which does not survive a fork: signals and the log die in the child.
        """
        check(service)
        if type(hubs.get_hub()).__module__ == "eventlet.hubs.asyncio":
            raise ConfigError(f"workers: {workers}: needs another hub than EVENTLET_HUB=asyncio, or must be 1")
        LOG.info("Starting %s workers", workers)
        self._wraps.append(oslo_service.ServiceWrapper(service, workers))
        self._fill()

    def _fill(self) -> None:
        for wrap in self._wraps:
            while len(wrap.children) < wrap.workers and not _too_fast(wrap):
                self._start_child(wrap)

    def _start_child(self, wrap: Any) -> Any:
        """Fork one worker, with signals held back until the child has its own pipe for them."""
        self._beat = Beat()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        try:
            pid = super()._start_child(wrap)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._beats[pid] = self._beat
        return pid

    # In the child

    def _child_process(self, service: ServiceLike) -> ServiceLauncher:
        hubs.use_hub()  # not the parent's epoll descriptor
        os.close(self.writepipe)  # so that the parent's death is seen as the end of the pipe
        systemd.leave_to_parent()
        random.seed()
        launcher = ServiceLauncher(
            self.conf,
            self.restart_method,
            hub_limit=self._hub_limit,
            watchdog=Watchdog(self._watchdog.interval, self._beat.now),
        )
        launcher.launch_service(service)
        launcher.handle_signal()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
        eventlet.spawn_n(self._pipe_watcher)
        eventlet.spawn_n(self._tell_parent, launcher, self._beat)
        return launcher

    @staticmethod
    def _tell_parent(launcher: ServiceLauncher, beat: Beat) -> None:
        with suppress(SystemExit):  # it could not start, or stops: its exit status tells
            launcher.wait_ready()
            beat.get_ready()

    def _child_process_handle_signal(self) -> None:
        """Do nothing: the worker's launcher has its own signals."""

    def _child_wait_for_exit_or_signal(self, launcher: ServiceLauncher) -> Any:
        os._exit(launcher.wait())

    def _pipe_watcher(self) -> None:
        self.readpipe.read(1)
        LOG.error("The parent process has died, stopping")
        self.launcher.services.end(1)

    # In the parent

    def wait(self) -> int:
        """Keep the workers running until a signal says to stop.

        :returns: the exit status: 0; 1 when a worker or something in one had to be killed; 77, 78 when one ended so.
        """
        log_options(self.conf)
        announcing = eventlet.spawn(self._announce)
        signo = self._work_off_signals()
        let_the_next_one_kill(signo, self.conf.graceful_shutdown_timeout)
        announcing.kill()
        systemd.notify("STOPPING=1\nSTATUS=stopping")
        in_time = self.stop()
        self._signals.close()
        return self._hopeless or (0 if in_time else 1)

    def _work_off_signals(self) -> int:
        """Do as signals say, and return the one that says to stop; SIGTERM also when going on cannot help."""
        while not self._hopeless:
            signo = self._next_signal()
            if signo in FINAL_SIGNALS:
                return signo
            if signo == signal.SIGHUP:
                self._reload()
            if signo == signal.SIGUSR2:
                report.write(self.conf, {"Workers": lambda: dict.fromkeys(map(str, self.children), "running")})
                self._signal_children(signo)
            self._replace_dead()
        return signal.SIGTERM

    def _next_signal(self) -> int:
        try:
            signo: int = self._caught.get(timeout=LOOK_FOR_DEAD_S)
        except Empty:
            return signal.SIGCHLD  # one signal may stand for several deaths
        return signo

    def _replace_dead(self) -> None:
        while self._wait_child():
            pass
        if not self._hopeless:
            self._fill()

    def _wait_child(self) -> Any:
        """Take the status of a child that has ended; return what it ran, None when none has."""
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid not in self.children:
            return None
        LOG.info("Worker %s ended with status %s", pid, code := os.waitstatus_to_exitcode(status))
        if code in HOPELESS:
            LOG.critical("Stopping all workers, exit status %s", code)
            self._hopeless = code
        # One that could not start had no work to cut.
        self._ended_badly |= self._beats.pop(pid).ready and code != 0
        wrap = self.children.pop(pid)
        wrap.children.remove(pid)
        return wrap

    def _announce(self) -> None:
        """Say that all are ready once each worker is, and feed the watchdog from then on."""
        while not self._all_ready():
            eventlet.sleep(READY_LOOK_S)
        systemd.notify(f"READY=1\nSTATUS=running, {len(self.children)} workers")
        self._announced = True
        while interval := self._watchdog.interval:
            if self._all_there() and all(beat.age() < interval for beat in self._beats.values()):
                self._watchdog.feed()
            eventlet.sleep(interval / 3)

    def _all_ready(self) -> bool:
        return self._all_there() and all(beat.ready for beat in self._beats.values())

    def _all_there(self) -> bool:
        """Tell whether each worker that there shall be lives; some may have died a moment ago."""
        return all(len(wrap.children) == wrap.workers for wrap in self._wraps)

    def _reload(self) -> None:
        """Read the configuration again; workers do the same, or are replaced by ones that are forked with it."""
        LOG.info("Reloading")
        systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        reload.reopen_log_files()
        if reload.read_again(self.conf, self.restart_method):
            self._signal_children(signal.SIGHUP if self.restart_method == "mutate" else signal.SIGTERM)
        if self._announced:  # a reload says nothing of a start that still goes on
            systemd.notify("READY=1")

    def stop(self) -> bool:
        """Stop all workers: SIGTERM, and SIGKILL for those that outlast their own deadline.

        :returns: whether none had to be killed, and all said that they ended well.
        """
        timeout = self.conf.graceful_shutdown_timeout
        self._ended_badly = False  # by those that were replaced
        self._signal_children(signal.SIGTERM)
        try:
            with time_limit(timeout + KILL_AFTER_S if timeout else None):
                self._await_children()
        except TimeoutError:
            LOG.error("Killed, since not done within %s s: workers %s", timeout, ", ".join(map(str, self.children)))
            self._signal_children(signal.SIGKILL)
            self._await_children()
            return False
        return not self._ended_badly

    def _await_children(self) -> None:
        while self.children:
            if not self._wait_child():
                eventlet.sleep(self.wait_interval)

    def _signal_children(self, signo: int) -> None:
        for pid in self.children:
            with suppress(ProcessLookupError):
                os.kill(pid, signo)


def _too_fast(wrap: Any) -> bool:
    """Tell whether a fork now would be one too many: more than one a second, over as many seconds as workers.

    The original makes up its mind likewise, but sleeps then, deaf to signals.
    """
    return bool(len(wrap.forktimes) > wrap.workers and time.time() - wrap.forktimes[0] < wrap.workers)
