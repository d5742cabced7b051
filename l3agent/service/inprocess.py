# SPDX-License-Identifier: Apache-2.0
"""Services as this process: readiness, health, signals, stop within a deadline, exit status."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import Any

import eventlet
from eventlet.semaphore import Semaphore
from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import service as oslo_service

from l3agent.rpc.deadline import Deadline
from l3agent.service import guru_meditation, reload, systemd
from l3agent.service.hub_monitor import HUB_LIMIT_S, HubMonitor
from l3agent.service.plain_launcher import Launcher
from l3agent.service.signals import FINAL_SIGNALS, Signals, restore_default_handlers
from l3agent.service.systemd import Watchdog

LOG = logging.getLogger(__name__)

# How often the watchdog is fed within the time that it waits.
_FEEDS = 3
# A service manager that hears nothing for 90 s gives a start up (systemd-system.conf(5), DefaultTimeoutStartSec).
# Services that wait for somebody else, who may start later, must not make it do so.
READY_TIMEOUT_S = 30.0
# Seconds after which a start() that has not returned is named. Most need less than one.
START_TIMEOUT_S = 30.0
# Between two looks whether services have become ready or healthy.
_READY_LOOK_S = 0.1
_LOOK_S = 5.0


class ServiceLauncher(Launcher, oslo_service.ServiceLauncher):  # type: ignore[misc]
    """Runs services in this process.

    :param hub_limit: seconds that the hub may be blocked before the log names what blocks it; 0: not looked at.
    :param watchdog: who wants to hear that the services are healthy; the service manager when left out.
    :param start_timeout: seconds after which a service whose ``start()`` has not returned is named in the log and in
        the status that the service manager shows, together with the services that wait for it.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        restart_method: str = "reload",
        *,
        hub_limit: float = HUB_LIMIT_S,
        watchdog: Watchdog | None = None,
        start_timeout: float = START_TIMEOUT_S,
    ) -> None:
        super().__init__(conf, restart_method)
        guru_meditation.register_options(conf)
        self.hub_monitor = HubMonitor(hub_limit)
        self.watchdog = watchdog or systemd.watchdog()
        self._start_timeout = start_timeout
        #: Whether the configuration could be read when it was to be taken over the last time.
        self.is_config_current = True
        self._signals: Signals | None = None  # a worker process takes them over before it waits
        self._reloading = Semaphore()
        self._starting_again: Any = None
        self._announced = False

    def handle_signal(self) -> Signals:
        """Take over SIGTERM, SIGINT, SIGHUP and SIGUSR2."""
        handlers = {signal.SIGHUP: self._hang_up, signal.SIGUSR2: self._report}
        self._signals = Signals({**handlers, **dict.fromkeys(FINAL_SIGNALS, self._end)})
        return self._signals

    def wait(self) -> int:
        """Run until a signal, the death of a thread, or ``stop`` from elsewhere; then stop the services.

        :returns: the exit status of the process: see ``l3agent.service``.
        """
        signals = self._signals or self.handle_signal()
        self.hub_monitor.start()
        log_options(self.conf)
        announcing = eventlet.spawn(self._announce)
        status = self.services.wait_stop_requested()
        announcing.kill()
        systemd.notify("STOPPING=1\nSTATUS=stopping")
        if not self.services.stop():
            status = status or 1
        self.hub_monitor.stop()
        signals.close()
        LOG.info("Stopped, exit status %s", status)
        return status

    def wait_started(self) -> None:
        """Wait until all services have started; each whose start takes longer than ``start_timeout`` is named.

        :raises SystemExit: one could not start, or all shall stop.
        """
        naming = eventlet.spawn(self._name_slow_starts)
        try:
            self.services.wait_started()
        finally:
            naming.kill()

    def wait_ready(self) -> None:
        """Wait until all services have started and say that they are ready; for the latter not longer than 30 s.

        :raises SystemExit: one could not start, or all shall stop.
        """
        self.wait_started()
        deadline, told = Deadline(READY_TIMEOUT_S), list[str]()
        while (missing := self.services.list_not_ready()) and deadline.remaining():
            if missing != told:
                systemd.notify(f"STATUS=starting, not ready: {', '.join(missing)}")
            told = missing
            eventlet.sleep(_READY_LOOK_S)

    def _name_slow_starts(self) -> None:
        limit, named = self._start_timeout, 0
        while limit and (names := self.services.list_starting()):
            age, (slow, *waiting) = self.services.start_age(), names
            if age >= limit and len(names) != named:
                named = len(names)
                queue = f"; waiting for it: {', '.join(waiting)}" if waiting else ""
                LOG.warning("The start of %s has not returned within %g s%s", slow, limit, queue)
                systemd.notify(f"STATUS=starting, {slow} has not started within {limit:g} s{queue}")
            eventlet.sleep(limit - age if age < limit else min(limit, _LOOK_S))

    def _announce(self) -> None:
        with suppress(SystemExit):  # ``wait`` knows
            self.wait_ready()
            status = self._status([])
            systemd.notify(f"READY=1\n{status}")
            self._announced = True
            self._look_after(status)

    def _look_after(self, told: str) -> None:
        """Feed the watchdog while all services are healthy, and tell what is not well."""
        sick: list[str] = []
        while self.watchdog.interval or self.services.list_not_ready():
            before, sick = sick, self.services.list_unhealthy()
            if self.watchdog.interval and not sick:
                self.watchdog.feed()
            if sick != before:
                LOG.warning("Not healthy, the watchdog is not fed: %s", ", ".join(sick) or "over")
            told = self._tell(sick, told)
            eventlet.sleep(self.watchdog.interval / _FEEDS if self.watchdog.interval else _LOOK_S)
        self._tell(sick, told)

    def _tell(self, sick: list[str], told: str) -> str:
        if (status := self._status(sick)) != told:
            systemd.notify(status)
        return status

    def _status(self, sick: list[str]) -> str:
        state = "running"
        if missing := self.services.list_not_ready():
            state = f"not ready: {', '.join(missing)}"
        if sick:
            state = f"not healthy: {', '.join(sick)}"
        return f"STATUS={state}, {len(self.services.services)} services"

    def _end(self, signo: int) -> None:
        restore_default_handlers(signo, self.conf.graceful_shutdown_timeout)
        self.services.request_stop()

    def _hang_up(self, signo: int) -> None:
        eventlet.spawn_n(self.restart)

    def _report(self, signo: int) -> None:
        guru_meditation.write_report(self.conf, {"Services": self.services.summary, "Hub": self._hub_summary})

    def _hub_summary(self) -> dict[str, Any]:
        monitor = self.hub_monitor
        return {"lag_s": monitor.lag_s, "max_lag_s": monitor.max_lag_s, "blocks": monitor.blocks}

    def restart(self) -> None:
        """Take over changed options and reset the services, as SIGHUP asks; an error leaves all as it was.

        A start that goes on is not waited for, however long it takes: the next one may come meanwhile.
        """
        with self._reloading:
            if self._starting_again is not None:
                self._starting_again.kill()  # from now on it would wait for services that are stopped
            LOG.info("Reloading")
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            reload.reopen_log_files()
            self.is_config_current = reload.reload_config(self.conf, self.restart_method)
            if self.is_config_current:
                self.services.restart()
            if self.restart_method == "reload":
                self._starting_again = eventlet.spawn(self._started_again)
            else:
                self._tell_reloaded()

    def _started_again(self) -> None:
        with suppress(SystemExit):  # ``wait`` knows
            self.wait_started()
            self._tell_reloaded()

    def _tell_reloaded(self) -> None:
        if self._announced:  # a reload says nothing of a start that still goes on
            systemd.notify("READY=1")


def log_options(conf: cfg.ConfigOpts) -> None:
    """Log all options at level DEBUG, unless ``log_options`` says no."""
    if conf.log_options and LOG.isEnabledFor(logging.DEBUG):
        conf.log_opt_values(LOG, logging.DEBUG)
