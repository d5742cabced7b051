# SPDX-License-Identifier: Apache-2.0
"""Container of services: starts them in order, each in its own greenthread, and stops them in reverse order."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from typing import Any

import eventlet
from eventlet.event import Event
from eventlet.semaphore import Semaphore
from oslo_log import log as logging
from oslo_service import threadgroup as oslo_threadgroup
from oslo_service.service import SignalExit

from l3agent.rpc.deadline import Deadline
from l3agent.service.crash import status_of
from l3agent.service.service_calls import (
    ServiceLike,
    name_of,
    query_service,
    reset_service,
    start_service,
    stop_service,
)
from l3agent.service.threadgroup import ThreadGroup

LOG = logging.getLogger(__name__)

STOP_TIMEOUT_S = 60.0


@dataclass(slots=True)
class _ServiceRun:
    """One service in the container.

    :param previous_started: event ``started`` of the previous service.
    :param called_at: monotonic time of the call of ``start()``; 0 before it.
    """

    service: ServiceLike
    previous_started: Event
    started: Event = field(default_factory=Event)
    thread: Any = None
    called_at: float = 0.0


class _WaitAgain(SignalExit):  # type: ignore[misc]
    """Raised in ``wait()`` of a service after a reset, where oslo.service raises ``SignalExit``."""


class Services:
    """Runs services. The greenthread of each waits for ``done`` from its start to the stop of all.

    :param restart_method: effect of ``restart``: ``mutate`` resets the services; ``reload`` stops, resets and starts
        them.
    :param stop_timeout: seconds of ``stop`` for all services together; 0: no limit.
    """

    def __init__(self, restart_method: str = "reload", *, stop_timeout: float = STOP_TIMEOUT_S) -> None:
        if restart_method not in ("mutate", "reload"):
            raise ValueError(f"restart_method: {restart_method!r}: must be mutate or reload")
        self.restart_method = restart_method
        self.stop_timeout = stop_timeout
        self.services: list[ServiceLike] = []
        self.tg = ThreadGroup(on_crash=self._on_crash)
        self.done = Event()
        self._exit_status = Event()
        self._runs: list[_ServiceRun] = []
        self._stopping = Semaphore()

    def add(self, service: ServiceLike) -> None:
        """Add a service; it starts in its own greenthread when the services added before have started.

        An unused group ``tg`` of a service of oslo.service is replaced by a :class:`ThreadGroup`, so that the death of
        its threads is detected, too.
        """
        self.services.append(service)
        self._run(service)

    def _run(self, service: ServiceLike) -> None:
        run = _ServiceRun(service, self._runs[-1].started if self._runs else _sent_event())
        self._runs.append(run)
        self._handle_crashes(service)
        run.thread = self.tg.add_thread(self._run_in_order, run)

    def _handle_crashes(self, service: Any) -> None:
        group: Any = getattr(service, "tg", None)
        if type(group) is oslo_threadgroup.ThreadGroup and not group.threads + group.timers:
            service.tg = group = ThreadGroup(group.thread_pool_size)
        if isinstance(group, ThreadGroup):
            group.on_crash = self._on_crash

    def _run_in_order(self, run: _ServiceRun) -> None:
        run.previous_started.wait()
        run.called_at = time.monotonic()
        start_service(run.service)
        run.started.send()
        while True:
            try:
                self._wait_for(run.service)
                self.done.wait()
                return
            except _WaitAgain:
                continue

    def _wait_for(self, service: ServiceLike) -> None:
        """Call ``wait()`` of a running service; an error of it stops all services, like the death of a thread."""
        try:
            service.wait()
        except Exception:
            if not self._stopping.locked():
                raise
            LOG.debug("wait() of %s raised an error during the stop", name_of(service), exc_info=True)

    def _wait_again(self) -> None:
        """Interrupt ``wait()`` of each service and call it again, as oslo.service does after each SIGHUP."""
        for run in self._runs:
            if run.started.ready() and run.thread.thread is not eventlet.getcurrent():
                eventlet.kill(run.thread.thread, _WaitAgain(signal.SIGHUP))

    @staticmethod
    def run_service(service: ServiceLike, done: Event) -> None:
        """Start a service, then wait until ``done``.

        :raises SystemExit: the start failed: status 78 for a wrong configuration, 77 for a missing privilege, else 1.
        """
        start_service(service)
        done.wait()

    def wait_started(self) -> None:
        """Wait until all services added so far have started.

        :raises SystemExit: a service failed to start or a stop was requested before.
        """
        if not self._runs:
            return
        started, either = self._runs[-1].started, Event()
        waiting = [eventlet.spawn(_forward, event, either) for event in (started, self._exit_status)]
        try:
            either.wait()
        finally:
            for greenthread in waiting:
                greenthread.kill()
        if not started.ready():
            raise SystemExit(self.wait_stop_requested())

    def list_unhealthy(self) -> list[str]:
        """Return the names of services whose ``healthy()`` returns False, raises, or takes longer than a second."""
        return [name_of(service) for service in self.services if not query_service(service, "healthy")]

    def list_not_ready(self) -> list[str]:
        """Return the names of services whose ``ready()`` returns False: they have started and wait for a condition."""
        return [name_of(service) for service in self.services if not query_service(service, "ready")]

    def summary(self) -> dict[str, str]:
        """Return the state of each service by its number and name, for reports."""
        return {
            f"{number} {name_of(run.service)}": "started" if run.started.ready() else "starting"
            for number, run in enumerate(self._runs, 1)
        }

    def list_starting(self) -> list[str]:
        """Return the names of services that have not started, in order; the first one is starting, the others wait."""
        return [name_of(run.service) for run in self._runs if not run.started.ready()]

    def start_age(self) -> float:
        """Return the seconds since the ``start()`` in progress was called; 0 if there is none."""
        called = [run.called_at for run in self._runs if run.called_at and not run.started.ready()]
        return time.monotonic() - called[0] if called else 0.0

    def wait_stop_requested(self) -> int:
        """Wait until a stop is requested: by ``request_stop`` or ``stop``, a failed start or the death of a thread.

        :returns: the exit status. The services still run unless ``stop`` was called.
        """
        status: int = self._exit_status.wait()
        return status

    def wait(self) -> None:
        """Wait until the services have stopped; safe before they start.

        :raises SystemExit: a service failed to start or a thread died. The others still run: call ``stop``.
        """
        if not self.services:
            return
        if status := self.wait_stop_requested():
            raise SystemExit(status)
        self.tg.wait()

    def request_stop(self, status: int = 0) -> None:
        """Request a stop with an exit status; the first request determines the status."""
        if not self._exit_status.ready():
            self._exit_status.send(status)

    def _on_crash(self, error: BaseException) -> None:
        status = status_of(error)
        LOG.critical("Stopping all services, exit status %s", status)
        self.request_stop(status)

    def stop(self) -> bool:
        """Stop the services in reverse order, each under its own deadline, and end their threads.

        A service that is starting is interrupted and stopped like the others; later services are left out.

        :returns: False if a service failed to stop or exceeded the deadline.
        """
        in_time = self._stop_all()
        self.request_stop()
        return in_time

    def _stop_all(self) -> bool:
        with self._stopping:  # a stop waits until the graceful stop of a restart has finished
            return self._stop_in_turn()

    def _stop_in_turn(self) -> bool:
        deadline = Deadline(self.stop_timeout or None)
        runs, self._runs = self._runs, []
        for run in reversed(runs):
            if not run.started.ready():
                run.thread.stop()
        stopped = [stop_service(run.service, deadline) for run in reversed(runs) if run.previous_started.ready()]
        if not self.done.ready():
            self.done.send()
        self.tg.stop()
        return all(stopped)

    def restart(self) -> None:
        """Reset the services; an error of one does not affect the others. With ``reload``, stop and start them, too.

        Do nothing after a stop was requested.
        """
        if self._exit_status.ready():
            return
        if self.restart_method == "reload":
            self._stop_all()
            if self._exit_status.ready():
                return
            self.done = Event()
        for service in self.services:
            reset_service(service)
            if self.restart_method == "reload":
                self._run(service)
        if self.restart_method == "mutate":
            self._wait_again()


def _forward(event: Event, to: Event) -> None:
    event.wait()
    if not to.ready():
        to.send()


def _sent_event() -> Event:
    event = Event()
    event.send()
    return event
