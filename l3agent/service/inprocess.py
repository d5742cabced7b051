# SPDX-License-Identifier: Apache-2.0
"""Launcher of services in this process: readiness, health, signals, stop within a deadline, exit status."""

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

# Notifications per watchdog interval.
_FEEDS_PER_INTERVAL = 3
# A service manager kills a unit without READY=1 after 90 s (systemd-system.conf(5), DefaultTimeoutStartSec). A service
# may wait longer for a peer that starts later, so READY=1 is sent after this time at the latest.
READY_TIMEOUT_S = 30.0
# Seconds after which a start() that has not returned is reported. Most need less than one.
START_TIMEOUT_S = 30.0
# Seconds between two checks of readiness during the start, and of readiness and health afterwards.
_READY_POLL_S = 0.1
_HEALTH_POLL_S = 5.0


class ServiceLauncher(Launcher, oslo_service.ServiceLauncher):  # type: ignore[misc]
    """Runs services in this process.

    :param hub_limit: seconds of a block of the hub after which the log names the blocking code; 0 disables the monitor.
    :param watchdog: receives notifications while all services are healthy; default: the service manager's.
    :param start_timeout: seconds after which a ``start()`` that has not returned is reported in the log and in the
        service manager's status, with the services that wait for it.
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
        #: False if the last reload could not read the configuration.
        self.is_config_current = True
        self._signals: Signals | None = None  # a worker process installs them before it waits
        self._reloading = Semaphore()
        self._restarting: Any = None
        self._is_ready_sent = False

    def handle_signal(self) -> Signals:
        """Install the handlers of SIGTERM, SIGINT, SIGHUP and SIGUSR2."""
        handlers = {signal.SIGHUP: self._on_sighup, signal.SIGUSR2: self._on_sigusr2}
        self._signals = Signals({**handlers, **dict.fromkeys(FINAL_SIGNALS, self._on_final_signal)})
        return self._signals

    def wait(self) -> int:
        """Run until a signal arrives, a thread dies, or ``stop`` is called; then stop the services.

        :returns: the exit status of the process; see ``l3agent.service``.
        """
        signals = self._signals or self.handle_signal()
        self.hub_monitor.start()
        log_options(self.conf)
        notifying = eventlet.spawn(self._notify_ready)
        status = self.services.wait_stop_requested()
        notifying.kill()
        systemd.notify("STOPPING=1\nSTATUS=stopping")
        if not self.services.stop():
            status = status or 1
        self.hub_monitor.stop()
        signals.close()
        LOG.info("Stopped, exit status %s", status)
        return status

    def wait_started(self) -> None:
        """Wait until all services have started; report each start that takes longer than ``start_timeout``.

        :raises SystemExit: a service failed to start, or a stop was requested.
        """
        reporting = eventlet.spawn(self._report_slow_starts)
        try:
            self.services.wait_started()
        finally:
            reporting.kill()

    def wait_ready(self) -> None:
        """Wait until all services have started, then up to 30 s until all are ready.

        :raises SystemExit: a service failed to start, or a stop was requested.
        """
        self.wait_started()
        deadline, reported = Deadline(READY_TIMEOUT_S), list[str]()
        while (missing := self.services.list_not_ready()) and deadline.remaining():
            if missing != reported:
                systemd.notify(f"STATUS=starting, not ready: {', '.join(missing)}")
            reported = missing
            eventlet.sleep(_READY_POLL_S)

    def _report_slow_starts(self) -> None:
        limit, reported = self._start_timeout, 0
        while limit and (names := self.services.list_starting()):
            age, (slow, *waiting) = self.services.start_age(), names
            if age >= limit and len(names) != reported:
                reported = len(names)
                queue = f"; waiting for it: {', '.join(waiting)}" if waiting else ""
                LOG.warning("The start of %s has not returned within %g s%s", slow, limit, queue)
                systemd.notify(f"STATUS=starting, {slow} has not started within {limit:g} s{queue}")
            eventlet.sleep(limit - age if age < limit else min(limit, _HEALTH_POLL_S))

    def _notify_ready(self) -> None:
        with suppress(SystemExit):  # ``wait`` returns the status
            self.wait_ready()
            status = self._status([])
            systemd.notify(f"READY=1\n{status}")
            self._is_ready_sent = True
            self._monitor_health(status)

    def _monitor_health(self, last_status: str) -> None:
        """Notify the watchdog while all services are healthy, and report changes of health and readiness."""
        unhealthy: list[str] = []
        while self.watchdog.interval or self.services.list_not_ready():
            before, unhealthy = unhealthy, self.services.list_unhealthy()
            if self.watchdog.interval and not unhealthy:
                self.watchdog.feed()
            if unhealthy != before:
                LOG.warning(
                    "Unhealthy services, watchdog notifications are suspended: %s",
                    ", ".join(unhealthy) or "none any more",
                )
            last_status = self._notify_status(unhealthy, last_status)
            eventlet.sleep(self.watchdog.interval / _FEEDS_PER_INTERVAL if self.watchdog.interval else _HEALTH_POLL_S)
        self._notify_status(unhealthy, last_status)

    def _notify_status(self, unhealthy: list[str], last_status: str) -> str:
        if (status := self._status(unhealthy)) != last_status:
            systemd.notify(status)
        return status

    def _status(self, unhealthy: list[str]) -> str:
        state = "running"
        if missing := self.services.list_not_ready():
            state = f"not ready: {', '.join(missing)}"
        if unhealthy:
            state = f"not healthy: {', '.join(unhealthy)}"
        return f"STATUS={state}, {len(self.services.services)} services"

    def _on_final_signal(self, signo: int) -> None:
        restore_default_handlers(signo, self.conf.graceful_shutdown_timeout)
        self.services.request_stop()

    def _on_sighup(self, signo: int) -> None:
        eventlet.spawn_n(self.restart)

    def _on_sigusr2(self, signo: int) -> None:
        guru_meditation.write_report(self.conf, {"Services": self.services.summary, "Hub": self._hub_summary})

    def _hub_summary(self) -> dict[str, Any]:
        monitor = self.hub_monitor
        return {"lag_s": monitor.lag_s, "max_lag_s": monitor.max_lag_s, "blocks": monitor.blocks}

    def restart(self) -> None:
        """Reload the configuration and reset the services, as on SIGHUP; a configuration error changes nothing.

        Return without waiting for a start in progress: the next SIGHUP may arrive meanwhile.
        """
        with self._reloading:
            if self._restarting is not None:
                self._restarting.kill()  # it waits for services that are about to be stopped
            LOG.info("Reloading")
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            reload.reopen_log_files()
            self.is_config_current = reload.reload_config(self.conf, self.restart_method)
            if self.is_config_current:
                self.services.restart()
            if self.restart_method == "reload":
                self._restarting = eventlet.spawn(self._wait_restarted)
            else:
                self._notify_reloaded()

    def _wait_restarted(self) -> None:
        with suppress(SystemExit):  # ``wait`` returns the status
            self.wait_started()
            self._notify_reloaded()

    def _notify_reloaded(self) -> None:
        if self._is_ready_sent:  # the first start may still be in progress
            systemd.notify("READY=1")


def log_options(conf: cfg.ConfigOpts) -> None:
    """Log all options at level DEBUG if option ``log_options`` is set."""
    if conf.log_options and LOG.isEnabledFor(logging.DEBUG):
        conf.log_opt_values(LOG, logging.DEBUG)
