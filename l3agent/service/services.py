# SPDX-License-Identifier: Apache-2.0
"""The container: starts services in order, keeps each in a greenthread of its own, stops them in reverse order."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import eventlet
from eventlet.event import Event
from eventlet.semaphore import Semaphore
from oslo_log import log as logging
from oslo_service import threadgroup as oslo_threadgroup
from oslo_service.service import SignalExit

from l3agent.exceptions import ConfigError, PermissionMissing, TransientError
from l3agent.rpc.deadline import Deadline, time_limit
from l3agent.service.crash import status_of
from l3agent.service.threadgroup import ThreadGroup

LOG = logging.getLogger(__name__)

EX_NOPERM = 77  # sysexits(3)
EX_CONFIG = 78
#: Failures of a start that one line tells whole, and their exit statuses.
_ONE_LINE_ERRORS = ((ConfigError, EX_CONFIG), (PermissionMissing, EX_NOPERM), (TransientError, 1))
STOP_TIMEOUT_S = 60.0
# What a service gets to stop in even when those before it used the time up.
MIN_STOP_S = 0.5
# What a service has to say whether it is healthy, or ready.
ANSWER_LIMIT_S = 1.0


@runtime_checkable
class ServiceLike(Protocol):
    """The four methods of a service, as oslo.service's ``ServiceBase`` names them.

    Two more are optional, ``healthy() -> bool`` and ``ready() -> bool``: see :meth:`Services.list_unhealthy` and
    :meth:`Services.list_not_ready`.
    """

    def start(self) -> None:
        """Start; returns when the service works."""

    def stop(self) -> Any:
        """Stop; safe at any time, before ``start`` too."""

    def wait(self) -> None:
        """Wait until all of it has stopped.

        Called when ``start`` has returned, anew after each reset, and once more after ``stop``, also without a start.
        """

    def reset(self) -> None:
        """Take over changed options."""


@dataclass(slots=True)
class _Run:
    """One service in the container. ``turn`` is the ``started`` of the service before it.

    ``called_at`` is the time of its ``start()``, by the monotonic clock.
    """

    service: ServiceLike
    turn: Event
    started: Event = field(default_factory=Event)
    thread: Any = None
    called_at: float = 0.0


class _WaitAgain(SignalExit):  # type: ignore[misc]
    """Raised in ``wait()`` of a service that was reset; oslo.service raises ``SignalExit`` there."""


class Services:
    """Runs services, each parked on ``done`` between its start and the stop of them all.

    :param restart_method: what ``restart`` does: ``mutate`` resets the services, ``reload`` stops, resets and starts
        them.
    :param stop_timeout: seconds that ``stop`` has for all services together; 0: no limit.
    """

    def __init__(self, restart_method: str = "reload", *, stop_timeout: float = STOP_TIMEOUT_S) -> None:
        if restart_method not in ("mutate", "reload"):
            raise ValueError(f"restart_method: {restart_method!r}: must be mutate or reload")
        self.restart_method = restart_method
        self.stop_timeout = stop_timeout
        self.services: list[ServiceLike] = []
        self.tg = ThreadGroup(on_crash=self._crashed)
        self.done = Event()
        self._outcome = Event()
        self._runs: list[_Run] = []
        self._stopping = Semaphore()

    def add(self, service: ServiceLike) -> None:
        """Add a service; it starts, in a greenthread of its own, when those added before have started.

        A group ``tg`` that a service of oslo.service has not used yet becomes a :class:`ThreadGroup`, so that a thread
        of it that dies is not silent either.
        """
        self.services.append(service)
        self._run(service)

    def _run(self, service: ServiceLike) -> None:
        run = _Run(service, self._runs[-1].started if self._runs else _sent())
        self._runs.append(run)
        self._watch(service)
        run.thread = self.tg.add_thread(self._run_in_turn, run)

    def _watch(self, service: Any) -> None:
        group: Any = getattr(service, "tg", None)
        if type(group) is oslo_threadgroup.ThreadGroup and not group.threads + group.timers:
            service.tg = group = ThreadGroup(group.thread_pool_size)
        if isinstance(group, ThreadGroup):
            group.on_crash = self._crashed

    def _run_in_turn(self, run: _Run) -> None:
        run.turn.wait()
        run.called_at = time.monotonic()
        _start(run.service)
        run.started.send()
        while True:
            try:
                self._wait_for(run.service)
                self.done.wait()
                return
            except _WaitAgain:
                continue

    def _wait_for(self, service: ServiceLike) -> None:
        """Call ``wait()`` of a service that runs; one that raises an error ends all, like a thread that dies."""
        try:
            service.wait()
        except Exception:
            if not self._stopping.locked():
                raise
            LOG.debug("%s stops, and its wait() raised an error", name_of(service), exc_info=True)

    def _wait_again(self) -> None:
        """Interrupt ``wait()`` of each service and call it anew, as oslo.service does after each SIGHUP."""
        for run in self._runs:
            if run.started.ready() and run.thread.thread is not eventlet.getcurrent():
                eventlet.kill(run.thread.thread, _WaitAgain(signal.SIGHUP))

    @staticmethod
    def run_service(service: ServiceLike, done: Event) -> None:
        """Start a service, then wait until ``done``.

        :raises SystemExit: the start failed: status 78 for a wrong configuration, 77 for a missing privilege, else 1.
        """
        _start(service)
        done.wait()

    def wait_started(self) -> None:
        """Wait until all services added so far have started.

        :raises SystemExit: they shall stop, or one of them could not start, before that.
        """
        if not self._runs:
            return
        started, either = self._runs[-1].started, Event()
        waiting = [eventlet.spawn(_pass_on, event, either) for event in (started, self._outcome)]
        try:
            either.wait()
        finally:
            for greenthread in waiting:
                greenthread.kill()
        if not started.ready():
            raise SystemExit(self.wait_stop_requested())

    def list_unhealthy(self) -> list[str]:
        """Return the names of the services whose ``healthy()`` says no, fails, or says nothing within a second."""
        return [name_of(service) for service in self.services if not _says(service, "healthy")]

    def list_not_ready(self) -> list[str]:
        """Return the names of the services whose ``ready()`` says no: they have started, and wait for something."""
        return [name_of(service) for service in self.services if not _says(service, "ready")]

    def summary(self) -> dict[str, str]:
        """Return what each service is doing, by its name, for people."""
        return {
            f"{number} {name_of(run.service)}": "started" if run.started.ready() else "starting"
            for number, run in enumerate(self._runs, 1)
        }

    def list_starting(self) -> list[str]:
        """Return the names of the services that have not started, in order; those after the first wait for it."""
        return [name_of(run.service) for run in self._runs if not run.started.ready()]

    def start_age(self) -> float:
        """Return the seconds since the ``start()`` that goes on was called; 0 when none is."""
        called = [run.called_at for run in self._runs if run.called_at and not run.started.ready()]
        return time.monotonic() - called[0] if called else 0.0

    def wait_stop_requested(self) -> int:
        """Wait until the services shall stop: ``end`` or ``stop`` was called, a start failed or a thread died.

        :returns: the exit status that fits. The services still run unless it was ``stop``.
        """
        status: int = self._outcome.wait()
        return status

    def wait(self) -> None:
        """Wait until the services have been stopped; safe before they start.

        :raises SystemExit: a service could not start or a thread of one died. The others still run: call ``stop``.
        """
        if not self.services:
            return
        if status := self.wait_stop_requested():
            raise SystemExit(status)
        self.tg.wait()

    def request_stop(self, status: int = 0) -> None:
        """Say that the services shall stop, and with which exit status; the first word counts."""
        if not self._outcome.ready():
            self._outcome.send(status)

    def _crashed(self, error: BaseException) -> None:
        status = status_of(error)
        LOG.critical("Stopping all services, exit status %s", status)
        self.request_stop(status)

    def stop(self) -> bool:
        """Stop the services in reverse order, each under its own guard, and let their threads go.

        One that is still starting is interrupted, and stopped like the others; one whose turn has not come is left out.

        :returns: whether all of it ended well and in time.
        """
        in_time = self._stop_all()
        self.request_stop()
        return in_time

    def _stop_all(self) -> bool:
        with self._stopping:  # a stop while a restart lets the services come to their end does not cut that
            return self._stop_in_turn()

    def _stop_in_turn(self) -> bool:
        deadline = Deadline(self.stop_timeout or None)
        runs, self._runs = self._runs, []
        for run in reversed(runs):
            if not run.started.ready():
                run.thread.stop()
        stopped = [stop_service(run.service, deadline) for run in reversed(runs) if run.turn.ready()]
        if not self.done.ready():
            self.done.send()
        self.tg.stop()
        return all(stopped)

    def restart(self) -> None:
        """Reset the services, each under its own guard; with ``reload`` stop them before and start them after it.

        Does nothing once they shall stop.
        """
        if self._outcome.ready():
            return
        if self.restart_method == "reload":
            self._stop_all()
            if self._outcome.ready():
                return
            self.done = Event()
        for service in self.services:
            reset_service(service)
            if self.restart_method == "reload":
                self._run(service)
        if self.restart_method == "mutate":
            self._wait_again()


def _start(service: ServiceLike) -> None:
    """Call ``start()``; see :meth:`Services.run_service` for the status of a failure."""
    try:
        service.start()
    except (ConfigError, PermissionMissing, TransientError) as error:
        LOG.critical("%s", error)
        raise SystemExit(next(status for kind, status in _ONE_LINE_ERRORS if isinstance(error, kind))) from error
    except Exception as error:
        LOG.exception("Error starting %s", name_of(service))
        raise SystemExit(1) from error


def reset_service(service: ServiceLike) -> None:
    """Reset one service; an error is logged."""
    try:
        service.reset()
    except Exception:
        LOG.exception("Error resetting %s, it goes on as it was", name_of(service))


def stop_service(service: ServiceLike, deadline: Deadline) -> bool:
    """Stop one service and wait for its end; whatever it does, the caller goes on soon after the deadline.

    :returns: whether it ended well and in time: one whose ``stop()`` says no did not.
    """
    try:
        with deadline.limit(at_least=MIN_STOP_S):
            well = service.stop() is not False
            service.wait()
    except TimeoutError:
        LOG.error("%s did not stop in time; killed: %s", name_of(service), ", ".join(_kill(service)) or "nothing")
        return False
    except Exception:
        LOG.exception("Error stopping %s", name_of(service))
        return False
    return well


def _kill(service: ServiceLike) -> list[str]:
    """Kill the threads and timers of a service that did not do it itself; return their names."""
    group = getattr(service, "tg", None)
    return group.stop() if isinstance(group, ThreadGroup) else []


def _says(service: Any, what: str) -> bool:
    """Ask a service something; one that has no such method says yes."""
    try:
        with time_limit(ANSWER_LIMIT_S):
            return bool(getattr(service, what, lambda: True)())
    except Exception:
        LOG.exception("Error asking %s whether it is %s", name_of(service), what)
        return False


def _pass_on(event: Event, to: Event) -> None:
    event.wait()
    if not to.ready():
        to.send()


def _sent() -> Event:
    event = Event()
    event.send()
    return event


def name_of(service: ServiceLike) -> str:
    """Return the name of a service for the log: its ``binary``, or its class."""
    return str(getattr(service, "binary", None) or type(service).__name__)
