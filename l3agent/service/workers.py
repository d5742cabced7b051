# SPDX-License-Identifier: Apache-2.0
"""Services in several forked processes, on oslo.service's ``ProcessLauncher``."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import eventlet
from eventlet import hubs
from eventlet.queue import Empty, LightQueue
from eventlet.semaphore import Semaphore
from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import service as oslo_service

from l3agent.exceptions import ConfigError
from l3agent.rpc.deadline import Deadline, time_limit
from l3agent.service import guru_meditation, reload, systemd
from l3agent.service.hub_monitor import HUB_LIMIT_S
from l3agent.service.inprocess import START_TIMEOUT_S, log_options
from l3agent.service.plain_launcher import check
from l3agent.service.services import EX_CONFIG, EX_NOPERM, ServiceLike, reset_service, stop_service
from l3agent.service.signals import FINAL_SIGNALS, Signals, restore_default_handlers
from l3agent.service.worker import Heartbeat, Worker, become_worker, freeze_heap, watch_parent
from l3agent.service.workers_status import WorkersStatus

LOG = logging.getLogger(__name__)

REAP_INTERVAL_S = 1.0
KILL_DELAY_S = 2.0
# A worker that ends with one of these would do so again.
FATAL_STATUSES = (EX_NOPERM, EX_CONFIG)
_HELD_BACK = (*FINAL_SIGNALS, signal.SIGHUP, signal.SIGUSR2)
# Stands in the queue of signals for a call of ``stop``.
_STOP_CALLED = 0


class ProcessLauncher(oslo_service.ProcessLauncher):  # type: ignore[misc]
    """Runs each service in several forked processes, each a :class:`ServiceLauncher`, and replaces those that die.

    New ones come at one a second when they die at once. A worker that ends with 77 or 78 (privilege missing,
    configuration wrong) ends all of them, with that status.

    :param wait_interval: seconds between two looks for workers that have ended, while it stops them.
    :param restart_method: what SIGHUP does: ``reload`` (replace the workers) or ``mutate`` (send it to the workers).
    :param hub_limit: seconds that the hub of a worker may be blocked before its log names what blocks it; 0: not
        looked at.
    :param start_timeout: seconds after which a service whose ``start()`` has not returned is named in the log and in
        the status that the service manager shows.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        wait_interval: float = 0.01,
        restart_method: str = "reload",
        *,
        hub_limit: float = HUB_LIMIT_S,
        start_timeout: float = START_TIMEOUT_S,
    ) -> None:
        self._caught = LightQueue()
        super().__init__(conf, wait_interval, restart_method)
        guru_meditation.register_options(conf)
        self._hub_limit = hub_limit
        self._start_timeout = start_timeout
        self._wraps: list[Any] = []
        self._heartbeats: dict[int, Heartbeat] = {}
        self._status = WorkersStatus(self._wraps, self._heartbeats, start_timeout)
        self._stopping = Semaphore()
        self._stopped_well: bool | None = None
        self._hopeless = 0
        self._ended_badly = False

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
        freeze_heap()
        self._fill()

    def _fill(self) -> None:
        for wrap in self._wraps:
            while self.running and len(wrap.children) < wrap.workers and not _too_fast(wrap):
                self._start_child(wrap)

    def _start_child(self, wrap: Any) -> Any:
        """Fork one worker, with signals held back until the child has its own pipe for them."""
        taken = {self._heartbeats[pid].index for pid in wrap.children}
        self._heartbeat = Heartbeat(next(index for index in range(wrap.workers) if index not in taken))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        try:
            pid = super()._start_child(wrap)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._heartbeats[pid] = self._heartbeat
        return pid

    # In the child

    def _child_process(self, service: ServiceLike) -> Worker:
        become_worker(self._heartbeat.index, self.writepipe)
        launcher = Worker(
            self.conf,
            self.restart_method,
            self._heartbeat,
            self._status.watchdog.interval,
            hub_limit=self._hub_limit,
            start_timeout=self._start_timeout,
        )
        launcher.launch_service(service)
        launcher.handle_signal()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
        eventlet.spawn_n(watch_parent, self.readpipe, launcher)
        return launcher

    def _child_process_handle_signal(self) -> None:
        """Do nothing: the worker's launcher has its own signals."""

    def _child_wait_for_exit_or_signal(self, launcher: Worker) -> Any:
        os._exit(launcher.wait())

    # In the parent

    def wait(self) -> int:
        """Keep the workers running until a signal says to stop, or ``stop`` is called.

        :returns: the exit status: 0; 1 when a worker or something in one had to be killed; 77, 78 when one ended so.
        """
        log_options(self.conf)
        announcing = eventlet.spawn(self._status.announce)
        if signo := self._work_off_signals():
            restore_default_handlers(signo, self.conf.graceful_shutdown_timeout)
        announcing.kill()
        systemd.notify("STOPPING=1\nSTATUS=stopping")
        in_time = self.stop()
        self._signals.close()
        return self._hopeless or (0 if in_time else 1)

    def _work_off_signals(self) -> int:
        """Act on signals until one says to stop, and return it; SIGTERM also when going on cannot help.

        :returns: 0 when ``stop`` was called.
        """
        while self.running and not self._hopeless:
            signo = self._next_signal()
            if signo in FINAL_SIGNALS:
                return signo
            if signo == signal.SIGHUP:
                self._reload()
            if signo == signal.SIGUSR2:
                guru_meditation.write_report(self.conf, {"Workers": self._summary})
                self._signal_children(signo)
            if self.running:
                self._replace_dead()
        return signal.SIGTERM if self._hopeless else _STOP_CALLED

    def _summary(self) -> dict[str, str]:
        """Return the state of each worker by its process id, for the report."""
        return dict.fromkeys(map(str, self.children), "running")

    def _next_signal(self) -> int:
        try:
            signo: int = self._caught.get(timeout=REAP_INTERVAL_S)
        except Empty:
            return signal.SIGCHLD  # one signal may stand for several deaths
        return signo

    def _replace_dead(self) -> None:
        while self._wait_child():
            pass
        if not self._hopeless:
            self._fill()

    def _wait_child(self) -> Any:
        """Take the status of a worker that has ended; return what it ran, None when none has.

        Other children of this process are left to the code that started them.
        """
        for pid in list(self.children):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                LOG.warning("The status of worker %s was taken by other code of this process", pid)
                return self._remove(pid, 0)
            if ended:
                return self._remove(pid, os.waitstatus_to_exitcode(status))
        return None

    def _remove(self, pid: int, code: int) -> Any:
        LOG.info("Worker %s ended with status %s", pid, code)
        if code in FATAL_STATUSES:
            LOG.critical("Stopping all workers, exit status %s", code)
            self._hopeless = code
        # One that could not start had no work to cut.
        self._ended_badly |= self._heartbeats.pop(pid).ready and code != 0
        wrap = self.children.pop(pid)
        wrap.children.remove(pid)
        return wrap

    def _reload(self) -> None:
        """Read the configuration again; workers do the same, or are replaced by ones that are forked with it."""
        LOG.info("Reloading")
        systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        reload.reopen_log_files()
        if reload.reload_config(self.conf, self.restart_method):
            for service in self._services():  # what the next workers are forked with
                reset_service(service)
            if self.restart_method == "mutate":
                self._signal_children(signal.SIGHUP)
            else:
                self._request_stop()
        if self._status.announced:  # a reload says nothing of a start that still goes on
            systemd.notify("READY=1")

    def _services(self) -> Iterable[ServiceLike]:
        """Return the services, as they are in this process: not started."""
        return {id(wrap.service): wrap.service for wrap in (*self._wraps, *self.children.values())}.values()

    def stop(self) -> bool:
        """Stop all workers: SIGTERM, and SIGKILL for those that outlast their own deadline. Ends ``wait``, too.

        Safe to call from any greenthread, and more than once.

        :returns: whether none had to be killed, and all said that they ended well.
        """
        self.running = False
        self._caught.put(_STOP_CALLED)
        with self._stopping:
            if self._stopped_well is None:
                self._stopped_well = self._stop_all()
            return self._stopped_well

    def _stop_all(self) -> bool:
        timeout = self.conf.graceful_shutdown_timeout
        deadline = Deadline(timeout or None)
        self._ended_badly = False  # by those that were replaced
        self._request_stop()
        for service in self._services():  # they may hold what they had before the fork, such as a listening socket
            stop_service(service, deadline)
        try:
            with time_limit(None if (left := deadline.remaining()) is None else left + KILL_DELAY_S):
                self._await_children()
        except TimeoutError:
            LOG.error("Killed, since not done within %s s: workers %s", timeout, ", ".join(map(str, self.children)))
            self._signal_children(signal.SIGKILL)
            self._await_children()
            return False
        return not self._ended_badly

    def _request_stop(self) -> None:
        """Send SIGTERM to each worker, once in its life: a second one would cut its work."""
        for pid in self.children:
            heartbeat = self._heartbeats.get(pid, Heartbeat())
            if not heartbeat.stop_requested:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                heartbeat.set_stop_requested()

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
