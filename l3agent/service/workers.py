# SPDX-License-Identifier: Apache-2.0
"""Launcher of services in forked worker processes, on oslo.service's ``ProcessLauncher``."""

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
from l3agent.service.plain_launcher import check_service
from l3agent.service.service_calls import EX_CONFIG, EX_NOPERM, ServiceLike, reset_service, stop_service
from l3agent.service.signals import FINAL_SIGNALS, Signals, restore_default_handlers
from l3agent.service.worker import Heartbeat, Worker, become_worker, freeze_heap, watch_parent
from l3agent.service.workers_status import WorkersStatus

LOG = logging.getLogger(__name__)

REAP_INTERVAL_S = 1.0
KILL_DELAY_S = 2.0
# Exit statuses that a replacement of the worker would have, too.
FATAL_STATUSES = (EX_NOPERM, EX_CONFIG)
_BLOCKED_SIGNALS = (*FINAL_SIGNALS, signal.SIGHUP, signal.SIGUSR2)
# Represents a call of ``stop`` in the queue of signals.
_STOP_CALLED = 0


class ProcessLauncher(oslo_service.ProcessLauncher):  # type: ignore[misc]
    """Runs each service in forked processes, each a :class:`ServiceLauncher`, and replaces processes that die.

    It forks at most one replacement per second. A worker that ends with status 77 or 78 (privilege missing,
    configuration wrong) stops all workers, with that status.

    :param wait_interval: seconds between two checks for ended workers during a stop.
    :param restart_method: effect of SIGHUP: ``reload`` (replace the workers) or ``mutate`` (forward it to the workers).
    :param hub_limit: seconds of a block of a worker's hub after which its log names the blocking code; 0 disables the
        monitor.
    :param start_timeout: seconds after which a ``start()`` that has not returned is reported in the log and in the
        service manager's status.
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
        self._signal_queue = LightQueue()
        super().__init__(conf, wait_interval, restart_method)
        guru_meditation.register_options(conf)
        self._hub_limit = hub_limit
        self._start_timeout = start_timeout
        self._wraps: list[Any] = []
        self._heartbeats: dict[int, Heartbeat] = {}
        self._status = WorkersStatus(self._wraps, self._heartbeats, start_timeout)
        self._stopping = Semaphore()
        self._stop_result: bool | None = None
        self._fatal_status = 0
        self._has_worker_failed = False

    def handle_signal(self) -> None:
        """Install handlers that put each signal into a queue, which ``wait`` processes."""
        self._signals = Signals(dict.fromkeys((*_BLOCKED_SIGNALS, signal.SIGCHLD), self._signal_queue.put))

    def launch_service(self, service: ServiceLike, workers: int | None = 1) -> None:
        """Fork the workers of a service.

        :raises ConfigError: the hub is asyncio's, after whose fork signals and the log do not work in the child.
        """
        check_service(service)
        if type(hubs.get_hub()).__module__ == "eventlet.hubs.asyncio":
            raise ConfigError(f"workers: {workers}: EVENTLET_HUB=asyncio supports one worker only")
        LOG.info("Starting %s workers", workers)
        self._wraps.append(oslo_service.ServiceWrapper(service, workers))
        freeze_heap()
        self._fill()

    def _fill(self) -> None:
        for wrap in self._wraps:
            while self.running and len(wrap.children) < wrap.workers and not _exceeds_fork_rate(wrap):
                self._start_child(wrap)

    def _start_child(self, wrap: Any) -> Any:
        """Fork one worker, with signals blocked until the child has its own signal pipe."""
        used = {self._heartbeats[pid].index for pid in wrap.children}
        self._heartbeat = Heartbeat(next(index for index in range(wrap.workers) if index not in used))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED_SIGNALS)
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
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED_SIGNALS)
        eventlet.spawn_n(watch_parent, self.readpipe, launcher)
        return launcher

    def _child_process_handle_signal(self) -> None:
        """Do nothing: the worker's launcher installs its own handlers."""

    def _child_wait_for_exit_or_signal(self, launcher: Worker) -> Any:
        os._exit(launcher.wait())

    # In the parent

    def wait(self) -> int:
        """Keep the workers running until a signal requests a stop, or ``stop`` is called.

        :returns: the exit status: 0; 1 if a worker or work in one had to be killed; 77 or 78 if a worker ended so.
        """
        log_options(self.conf)
        reporting = eventlet.spawn(self._status.report_readiness)
        if signo := self._process_signals():
            restore_default_handlers(signo, self.conf.graceful_shutdown_timeout)
        reporting.kill()
        systemd.notify("STOPPING=1\nSTATUS=stopping")
        in_time = self.stop()
        self._signals.close()
        return self._fatal_status or (0 if in_time else 1)

    def _process_signals(self) -> int:
        """Process signals until one requests a stop.

        :returns: that signal; SIGTERM after a fatal exit status of a worker; 0 if ``stop`` was called.
        """
        while self.running and not self._fatal_status:
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
        return signal.SIGTERM if self._fatal_status else _STOP_CALLED

    def _summary(self) -> dict[str, str]:
        """Return the state of each worker by its process id, for the report."""
        return dict.fromkeys(map(str, self.children), "running")

    def _next_signal(self) -> int:
        try:
            signo: int = self._signal_queue.get(timeout=REAP_INTERVAL_S)
        except Empty:
            return signal.SIGCHLD  # one signal may stand for several deaths
        return signo

    def _replace_dead(self) -> None:
        while self._wait_child():
            pass
        if not self._fatal_status:
            self._fill()

    def _wait_child(self) -> Any:
        """Reap one worker that has ended; return its service wrapper, or None if no worker has ended.

        Other children of this process are reaped by the code that started them.
        """
        for pid in list(self.children):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                LOG.warning("Other code of this process has reaped worker %s, its status is unknown", pid)
                return self._remove(pid, 0)
            if ended:
                return self._remove(pid, os.waitstatus_to_exitcode(status))
        return None

    def _remove(self, pid: int, code: int) -> Any:
        LOG.info("Worker %s ended with status %s", pid, code)
        if code in FATAL_STATUSES:
            LOG.critical("Stopping all workers, exit status %s", code)
            self._fatal_status = code
        # A worker that was never ready had no work to lose.
        self._has_worker_failed |= self._heartbeats.pop(pid).ready and code != 0
        wrap = self.children.pop(pid)
        wrap.children.remove(pid)
        return wrap

    def _reload(self) -> None:
        """Reload the configuration; the workers reload it, too, or are replaced by workers forked with it."""
        LOG.info("Reloading")
        systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        reload.reopen_log_files()
        if reload.reload_config(self.conf, self.restart_method):
            for service in self._services():  # the next workers are forked with these
                reset_service(service)
            if self.restart_method == "mutate":
                self._signal_children(signal.SIGHUP)
            else:
                self._request_stop()
        if self._status.is_ready_sent:  # the first start may still be in progress
            systemd.notify("READY=1")

    def _services(self) -> Iterable[ServiceLike]:
        """Return the parent's copies of the services, which are not started."""
        return {id(wrap.service): wrap.service for wrap in (*self._wraps, *self.children.values())}.values()

    def stop(self) -> bool:
        """Stop all workers with SIGTERM, and with SIGKILL after their deadline. This ends ``wait``, too.

        Safe to call from any greenthread, and more than once.

        :returns: False if a worker had to be killed or ended with another status than 0.
        """
        self.running = False
        self._signal_queue.put(_STOP_CALLED)
        with self._stopping:
            if self._stop_result is None:
                self._stop_result = self._stop_all()
            return self._stop_result

    def _stop_all(self) -> bool:
        timeout = self.conf.graceful_shutdown_timeout
        deadline = Deadline(timeout or None)
        self._has_worker_failed = False  # ignore workers that were replaced
        self._request_stop()
        for service in self._services():  # they may hold resources from before the fork, such as a listening socket
            stop_service(service, deadline)
        try:
            with time_limit(None if (left := deadline.remaining()) is None else left + KILL_DELAY_S):
                self._await_children()
        except TimeoutError:
            LOG.error("Killed after %s s: workers %s", timeout, ", ".join(map(str, self.children)))
            self._signal_children(signal.SIGKILL)
            self._await_children()
            return False
        return not self._has_worker_failed

    def _request_stop(self) -> None:
        """Send SIGTERM to each worker that has not received it: a second one would kill it."""
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


def _exceeds_fork_rate(wrap: Any) -> bool:
    """Return True if a fork now would exceed one per second, averaged over one second per worker.

    oslo.service has the same limit, but sleeps until a fork is allowed, and ignores signals meanwhile.
    """
    return bool(len(wrap.forktimes) > wrap.workers and time.time() - wrap.forktimes[0] < wrap.workers)
