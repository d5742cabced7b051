# SPDX-License-Identifier: Apache-2.0
"""Runs services as a process: signals, readiness, stop within a deadline, exit status.

Signals come through a pipe that the hub watches. A Python signal handler runs between two bytecodes only, and an idle
hub sits in ``epoll_wait`` for up to a minute; the byte that the interpreter writes at once is what wakes it.
"""

from __future__ import annotations

import logging as stdlib_logging
import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import eventlet
from eventlet import hubs
from eventlet.queue import Empty, LightQueue
from eventlet.semaphore import Semaphore
from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import service as oslo_service

from l3agent.rpc.deadline import time_limit
from l3agent.service import systemd
from l3agent.service.services import ServiceLike, Services

LOG = logging.getLogger(__name__)

FINAL_SIGNALS = (signal.SIGTERM, signal.SIGINT)
LOOK_FOR_DEAD_S = 1.0
KILL_AFTER_S = 2.0


class Signals:
    """Calls handlers in a greenthread, within milliseconds of the signal, on any hub.

    :param handlers: by signal number; a handler must not wait.
    """

    def __init__(self, handlers: Mapping[int, Callable[[int], None]]) -> None:
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
                    self._handlers[signo](signo)

    def close(self) -> None:
        """Put back what was there before."""
        for signo, handler in self._old.items():
            signal.signal(signo, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        self._thread.kill()
        os.close(self._reader)
        os.close(self._writer)


def _leave_to_the_pipe(signo: int, frame: Any) -> None:
    """Do nothing: a handler must be there for the interpreter to write the byte."""


def launch(
    conf: cfg.ConfigOpts,
    service: ServiceLike | Sequence[ServiceLike],
    workers: int = 1,
    restart_method: str = "mutate",
) -> ServiceLauncher | ProcessLauncher:
    """Launch services; they start when the launcher's ``wait`` is called, which returns the exit status.

    :param service: one, or several that start in order and stop in reverse.
    :param workers: 1: in this process; more: each service in so many forked ones.
    :param restart_method: what SIGHUP does: ``mutate`` (take over changed mutable options) or ``reload`` (restart).
    :raises ValueError: workers is less than 1.
    :raises TypeError: a service lacks one of start, stop, wait, reset.
    """
    if workers < 1:
        raise ValueError(f"workers: {workers}: must be 1 or more")
    launcher = (ServiceLauncher if workers == 1 else ProcessLauncher)(conf, restart_method=restart_method)
    for one in service if isinstance(service, Sequence) else [service]:
        launcher.launch_service(one, workers=workers)
    return launcher


def _check(service: object) -> None:
    if not isinstance(service, ServiceLike):
        raise TypeError(f"{service!r} is no service: it must have start, stop, wait and reset")


class ServiceLauncher(oslo_service.ServiceLauncher):  # type: ignore[misc]
    """Runs services in this process."""

    def __init__(self, conf: cfg.ConfigOpts, restart_method: str = "mutate") -> None:
        super().__init__(conf, restart_method=restart_method)
        self.services = Services(restart_method, stop_timeout=conf.graceful_shutdown_timeout)
        self._signals: Signals | None = None  # a worker process takes them over before it waits
        self._reloading = Semaphore()

    def launch_service(self, service: ServiceLike, workers: int = 1) -> None:
        """Add a service; ``workers`` is there for the sake of :class:`ProcessLauncher`."""
        _check(service)
        self.services.add(service)

    def handle_signal(self) -> Signals:
        """Take over SIGTERM, SIGINT and SIGHUP."""
        self._signals = Signals({**dict.fromkeys(FINAL_SIGNALS, self._end), signal.SIGHUP: self._hang_up})
        return self._signals

    def wait(self) -> int:
        """Run until a signal, the death of a thread, or ``stop`` from elsewhere; then stop the services.

        :returns: the exit status of the process: see ``l3agent.service``.
        """
        signals = self._signals or self.handle_signal()
        _log_options(self.conf)
        announcing = eventlet.spawn(self._announce)
        status = self.services.wait_end()
        announcing.kill()
        systemd.notify("STOPPING=1\nSTATUS=stopping")
        if not self.services.stop():
            status = status or 1
        signals.close()
        LOG.info("Stopped, exit status %s", status)
        return status

    def _announce(self) -> None:
        with suppress(SystemExit):  # one that could not start: ``wait`` knows
            self.services.wait_started()
            systemd.notify(f"READY=1\nSTATUS=running, {len(self.services.services)} service(s)")

    def _end(self, signo: int) -> None:
        _let_the_next_one_kill(signo, self.conf.graceful_shutdown_timeout)
        self.services.end()

    def _hang_up(self, signo: int) -> None:
        eventlet.spawn_n(self.restart)

    def restart(self) -> None:
        """Take over changed options and reset the services, as SIGHUP asks; an error leaves all as it was."""
        with self._reloading:
            LOG.info("Reloading")
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            _reopen_log_files()
            try:
                super().restart()
            except Exception:
                LOG.exception("The configuration could not be reloaded, the old one stands")
            systemd.notify("READY=1")


class ProcessLauncher(oslo_service.ProcessLauncher):  # type: ignore[misc]
    """Runs each service in several forked processes, each a :class:`ServiceLauncher`, and replaces those that die."""

    def __init__(self, conf: cfg.ConfigOpts, restart_method: str = "mutate") -> None:
        self._caught = LightQueue()
        super().__init__(conf, restart_method=restart_method)

    def handle_signal(self) -> None:
        """Take over the signals: each goes into a queue that ``wait`` works off."""
        self._signals = Signals(dict.fromkeys((*FINAL_SIGNALS, signal.SIGHUP, signal.SIGCHLD), self._caught.put))

    def launch_service(self, service: ServiceLike, workers: int = 1) -> None:
        """Fork the workers of a service."""
        _check(service)
        wrap = oslo_service.ServiceWrapper(service, workers)
        LOG.info("Starting %s workers", workers)
        self._fill(wrap)

    def _fill(self, wrap: Any) -> None:
        while len(wrap.children) < wrap.workers:
            self._start_child(wrap)

    def _start_child(self, wrap: Any) -> Any:
        """Fork one worker, with signals held back until the child has its own pipe for them."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (*FINAL_SIGNALS, signal.SIGHUP))
        try:
            return super()._start_child(wrap)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _child_process(self, service: ServiceLike) -> ServiceLauncher:
        hubs.use_hub()  # not the parent's epoll descriptor
        os.close(self.writepipe)  # so that the parent's death is seen as the end of the pipe
        os.environ.pop(systemd.SOCKET, None)  # the parent alone speaks for the service
        random.seed()
        launcher = ServiceLauncher(self.conf, self.restart_method)
        launcher.launch_service(service)
        launcher.handle_signal()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*FINAL_SIGNALS, signal.SIGHUP))
        eventlet.spawn_n(self._pipe_watcher)
        return launcher

    def _child_process_handle_signal(self) -> None:
        """Do nothing: the worker's launcher has its own signals."""

    def _child_wait_for_exit_or_signal(self, launcher: ServiceLauncher) -> Any:
        os._exit(launcher.wait())

    def _pipe_watcher(self) -> None:
        self.readpipe.read(1)
        LOG.error("The parent process has died, stopping")
        self.launcher.services.end(1)

    def wait(self) -> int:
        """Keep the workers running until a signal says to stop.

        :returns: the exit status: 0, or 1 when a worker had to be killed.
        """
        _log_options(self.conf)
        systemd.notify(f"READY=1\nSTATUS=running, {len(self.children)} worker(s)")
        while (signo := self._next_signal()) not in FINAL_SIGNALS:
            if signo == signal.SIGHUP:
                self._reload()
            self._replace_dead()
        _let_the_next_one_kill(signo, self.conf.graceful_shutdown_timeout)
        systemd.notify("STOPPING=1\nSTATUS=stopping")
        in_time = self.stop()
        self._signals.close()
        return 0 if in_time else 1

    def _next_signal(self) -> int:
        try:
            signo: int = self._caught.get(timeout=LOOK_FOR_DEAD_S)
        except Empty:
            return signal.SIGCHLD  # one signal may stand for several deaths
        return signo

    def _replace_dead(self) -> None:
        while wrap := self._wait_child():
            self._fill(wrap)

    def _reload(self) -> None:
        LOG.info("Reloading")
        _reopen_log_files()
        try:
            self.conf.mutate_config_files()
        except Exception:
            LOG.exception("The configuration could not be reloaded, the old one stands")
        self._signal_children(signal.SIGHUP)

    def stop(self) -> bool:
        """Stop all workers: SIGTERM, and SIGKILL for those that outlast their own deadline.

        :returns: whether none had to be killed.
        """
        timeout = self.conf.graceful_shutdown_timeout
        self._signal_children(signal.SIGTERM)
        try:
            with time_limit(timeout + KILL_AFTER_S if timeout else None):
                self._await_children()
        except TimeoutError:
            LOG.error("Killed, since not done within %s s: workers %s", timeout, ", ".join(map(str, self.children)))
            self._signal_children(signal.SIGKILL)
            self._await_children()
            return False
        return True

    def _await_children(self) -> None:
        while self.children:
            if not self._wait_child():
                eventlet.sleep(self.wait_interval)

    def _signal_children(self, signo: int) -> None:
        for pid in self.children:
            with suppress(ProcessLookupError):
                os.kill(pid, signo)


def _let_the_next_one_kill(signo: int, timeout: float) -> None:
    """Give SIGTERM and SIGINT back to the kernel, whose default ends the process even when its hub is stuck."""
    LOG.info(
        "%s: stopping within %s s, a second one kills at once", signal.Signals(signo).name, timeout or "any number of"
    )
    for final in FINAL_SIGNALS:
        signal.signal(final, signal.SIG_DFL)


def _log_options(conf: cfg.ConfigOpts) -> None:
    if conf.log_options and LOG.isEnabledFor(logging.DEBUG):
        conf.log_opt_values(LOG, logging.DEBUG)


def _reopen_log_files() -> None:
    """Close the log files, for one that rotates them: each is opened again, by its name, at the next record."""
    for handler in stdlib_logging.getLogger().handlers:
        if isinstance(handler, stdlib_logging.FileHandler):
            handler.close()
