# SPDX-License-Identifier: Apache-2.0
"""Service: RPC consumers, timers and threads around one manager; without a manager, those of a subclass."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any, Self

from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import service as oslo_service

from l3agent.exceptions import ConfigError
from l3agent.rpc.connection import Connection
from l3agent.rpc.context import admin_context
from l3agent.rpc.deadline import Deadline
from l3agent.rpc.transport import get_transport
from l3agent.service.manager import Manager, default_host, make_manager
from l3agent.service.threadgroup import ThreadGroup
from l3agent.service.worker import is_first_worker

LOG = logging.getLogger(__name__)

# Share of graceful_shutdown_timeout for a service's own stop, so that it ends before the container's deadline.
STOP_SHARE = 0.9


class Service(oslo_service.Service):  # type: ignore[misc]
    """A service. Subclass it as oslo.service's, or call :meth:`create`, which makes a service of a manager.

    :param threads: maximum number of greenthreads in ``tg``; beyond it ``tg.add_thread`` waits.
    :param manager: the manager that the service runs; None: a subclass implements ``start`` and ``stop``.

    For the other parameters see :meth:`create`.
    """

    def __init__(
        self,
        threads: int = 1000,
        *,
        conf: cfg.ConfigOpts | None = None,
        manager: Any = None,
        host: str = "",
        binary: str = "",
        topic: str = "",
        transport: Any = None,
        report_interval: float = 30,
        periodic_interval: float = 40,
        periodic_fuzzy_delay: float = 5,
    ) -> None:
        super().__init__(threads)
        self.tg = ThreadGroup(threads)
        if conf is not None:
            for group, opts in oslo_service.list_opts():
                conf.register_opts(opts, group=group)
        self.conf = conf
        self.manager = manager
        self.host = host
        self.binary = binary or type(self).__name__
        self.topic = topic
        self.transport = transport
        self.conn: Connection | None = None
        self.report_interval = report_interval
        self.periodic_interval = periodic_interval
        self.periodic_fuzzy_delay = periodic_fuzzy_delay

    @classmethod
    def create(
        cls,
        *,
        host: str | None = None,
        binary: str | None = None,
        topic: str | None = None,
        manager: Manager | Callable[..., Any] | str | None = None,
        report_interval: float | None = None,
        periodic_interval: float | None = None,
        periodic_fuzzy_delay: float | None = None,
        conf: cfg.ConfigOpts | None = None,
        transport: Any = None,
    ) -> Self:
        """Return a service that runs a manager, not started.

        :param host: name of this node; default: option ``host``, else the host name.
        :param binary: name of the program; default: the topic.
        :param topic: topic of the consumers; default: ``binary`` without ``neutron-``.
        :param manager: a manager, a factory, or the dotted path of a factory, called with ``conf=`` and ``host=``.
        :param report_interval: seconds between two calls of ``Manager.report_state``; 0: never; None: option
            ``[AGENT] report_interval``, or 30 if it is not registered.
        :param periodic_interval: maximum seconds between two runs of periodic tasks; 0: never; None: option
            ``periodic_interval``, or 40. A task with a shorter spacing runs when it is due.
        :param periodic_fuzzy_delay: upper bound in seconds of the random delay before the first run; None: option
            ``periodic_fuzzy_delay``, or 5.
        :param conf: default: ``cfg.CONF``.
        :param transport: from ``get_transport``; default: made from ``conf`` by ``start``.
        :raises ConfigError: neither binary nor topic is given, no manager is given, or its path cannot be imported.
        """
        name = binary or topic
        if name is None:
            raise ConfigError("Service.create: neither binary nor topic is given")
        conf = cfg.CONF if conf is None else conf
        host = host or default_host(conf)
        return cls(
            conf=conf,
            manager=make_manager(manager, conf, host),
            host=host,
            binary=name,
            topic=topic or name.removeprefix("neutron-"),
            transport=transport,
            report_interval=_interval(report_interval, conf, "AGENT.report_interval", 30),
            periodic_interval=_interval(periodic_interval, conf, "periodic_interval", 40),
            periodic_fuzzy_delay=_interval(periodic_fuzzy_delay, conf, "periodic_fuzzy_delay", 5),
        )

    def start(self) -> None:
        """Call ``init_host``, create consumers, call the hook, consume, start timers, call ``after_start``."""
        if self.manager is None:
            return
        LOG.info("Starting %s on %s, topic %s", self.binary, self.host, self.topic)
        self._call("init_host")
        self.transport = self.transport or get_transport(self.conf)
        self.conn = Connection(self.transport, host=self.host, on_lost=self._connection_lost)
        self.conn.create_consumer(self.topic, [self.manager])
        self._call("initialize_service_hook", self)
        self.conn.consume_in_threads()
        self._start_timers()
        self._call("after_start")

    def _call(self, method: str, *args: Any, default: Any = None) -> Any:
        """Call a method of the manager; return ``default`` if it has none, as managers of Neutron may."""
        return getattr(self.manager, method, lambda *_: default)(*args)

    def _connection_lost(self) -> None:
        self._call("connection_lost")

    def _start_timers(self) -> None:
        """Start the timers that run once per node; with several workers, in the first one only."""
        if not is_first_worker():
            return
        if self.report_interval:
            self.tg.add_timer_args(
                self.report_interval, self.report_state, initial_delay=self.report_interval, stop_on_exception=False
            )
        if self.periodic_interval:
            self.tg.add_dynamic_timer_args(
                self.periodic_tasks,
                initial_delay=random.uniform(0, self.periodic_fuzzy_delay),
                periodic_interval_max=self.periodic_interval,
            )

    def report_state(self) -> None:
        """Call ``report_state`` of the manager; a timer calls this."""
        self._call("report_state")

    # A graceful stop does not wait for a report: the server may not answer.
    report_state.runs_forever = True  # type: ignore[attr-defined]

    def periodic_tasks(self) -> float:
        """Run the manager's periodic tasks that are due; a timer calls this.

        :returns: seconds until the next one is due.
        """
        try:
            idle: float | None = self._call("periodic_tasks", admin_context(), default=self.periodic_interval)
            return self.periodic_interval if idle is None else idle
        except Exception:
            LOG.exception("Error in the periodic tasks of %s, retrying after the interval", self.binary)
            return self.periodic_interval

    def healthy(self) -> bool:
        """Return the answer of the manager, True without a manager's ``healthy``."""
        return bool(self._call("healthy", default=True))

    def ready(self) -> bool:
        """Return the answer of the manager, True without a manager's ``ready``."""
        return bool(self._call("ready", default=True))

    def reset(self) -> None:
        """Call ``reset`` of the manager, which applies changed options."""
        self._call("reset")

    def stop(self, graceful: bool | None = None) -> bool:
        """Stop timers, consumers, the manager and threads. Safe at any time; an error in a step does not end the stop.

        :param graceful: wait for work in progress until ``graceful_shutdown_timeout``, then kill and log the remainder.
            Default: True with a manager; False without one, as in oslo.service.
        :returns: False if a step failed or timed out, or work had to be killed.
        """
        if self.conf is None or self.manager is None:
            return not self.tg.stop(bool(graceful)) or not graceful
        graceful = graceful is not False
        timeout = self.conf.graceful_shutdown_timeout * STOP_SHARE if graceful else 0.0
        deadline = Deadline(None if graceful and not timeout else timeout)
        succeeded = True
        try:
            if self.conn is not None:
                LOG.info("Stopping %s", self.binary)
                self.tg.stop_timers()
                # close() applies the deadline to messages in flight only: an unreachable broker is no failure.
                succeeded = self._step(Deadline(None), "close its consumers", self.conn.close, deadline.remaining())
                succeeded = self._step(deadline, "stop its manager", self._stop_manager, graceful) and succeeded
            killed = self.tg.stop(graceful, deadline.remaining())
        finally:
            self.conn = None
            self.tg.stop()  # an outer deadline may have expired in a step
        return succeeded and not (graceful and killed)

    def _stop_manager(self, graceful: bool) -> Any:
        stop = getattr(self.manager, "stop", None)
        if stop is None:
            return None
        return stop(graceful) if inspect.signature(stop).parameters else stop()

    def _step(self, deadline: Deadline, what: str, step: Callable[..., Any], *args: Any) -> bool:
        """Run one shutdown step under the deadline; False if it failed or timed out (None counts as success)."""
        try:
            with deadline.limit():
                return step(*args) is not False
        except TimeoutError:
            LOG.error("%s did not %s in time, continuing", self.binary, what)
        except Exception:
            LOG.exception("%s failed to %s", self.binary, what)
        return False


def _interval(given: float | None, conf: cfg.ConfigOpts, option: str, default: float) -> float:
    """Return an interval in seconds: the argument, the value of a registered option, or the default."""
    if given is not None:
        return given
    value: Any = conf
    for part in option.split("."):
        value = getattr(value, part, None)
    return default if value is None else float(value)
