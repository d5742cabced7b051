# SPDX-License-Identifier: Apache-2.0
"""A service: the RPC consumers, timers and threads around one manager, or without a manager those of a subclass."""

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

# A service is done, kill included, before the container's own guard (all of graceful_shutdown_timeout) has to act.
STOP_SHARE = 0.9


class Service(oslo_service.Service):  # type: ignore[misc]
    """A service, to subclass like oslo.service's; made by :meth:`create`, it runs a manager on a topic.

    :param threads: most greenthreads at a time in ``tg``; ``tg.add_thread`` waits for a place.
    :param manager: what the service runs; None: nothing, ``start`` and ``stop`` are those of a subclass.

    The other parameters belong to the manager: see :meth:`create`.
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

        :param host: name of this node; option ``host`` or the node's own name when left out.
        :param binary: name of the program; the topic when left out.
        :param topic: where it consumes; ``binary`` without ``neutron-`` when left out.
        :param manager: a manager, or what makes one, or the dotted path of that; called with ``conf=`` and ``host=``.
        :param report_interval: seconds between two calls of ``Manager.report_state``; 0: none; None: option
            ``[AGENT] report_interval``, 30 where there is no such option.
        :param periodic_interval: most seconds between two looks for periodic tasks that are due; 0: none; None: option
            ``periodic_interval``, or 40. A task with a shorter spacing is run when it is due.
        :param periodic_fuzzy_delay: the first look comes after a random time up to this, in seconds; None: option
            ``periodic_fuzzy_delay``, or 5.
        :param conf: ``cfg.CONF`` when left out.
        :param transport: from ``get_transport``; made from ``conf`` at the start when left out.
        :raises ConfigError: no name, no manager, or its dotted path leads nowhere.
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
        """Start: host, consumers, hook, consuming, timers, and the manager's own last word, in this order."""
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
        """Call a method of the manager; one that it lacks, as Neutron's may, does nothing and returns ``default``."""
        return getattr(self.manager, method, lambda *_: default)(*args)

    def _connection_lost(self) -> None:
        self._call("connection_lost")

    def _start_timers(self) -> None:
        """Start the timers that an agent has once on its node; of several workers, the first has them."""
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
        """Let the manager report; called by a timer."""
        self._call("report_state")

    # It says that the agent lives, and a server that does not answer must not keep it from its end.
    report_state.runs_forever = True  # type: ignore[attr-defined]

    def periodic_tasks(self) -> float:
        """Let the manager run what is due; called by a timer.

        :returns: seconds until the next one is.
        """
        try:
            idle: float | None = self._call("periodic_tasks", admin_context(), default=self.periodic_interval)
            return self.periodic_interval if idle is None else idle
        except Exception:
            LOG.exception("Error in the periodic tasks of %s, they go on", self.binary)
            return self.periodic_interval

    def healthy(self) -> bool:
        """Ask the manager."""
        return bool(self._call("healthy", default=True))

    def ready(self) -> bool:
        """Ask the manager."""
        return bool(self._call("ready", default=True))

    def reset(self) -> None:
        """Let the manager take over changed options."""
        self._call("reset")

    def stop(self, graceful: bool | None = None) -> bool:
        """Stop: timers, consumers, the manager's work, threads. Safe at any time; a failing step does not end it.

        :param graceful: let work in hand come to its end within ``graceful_shutdown_timeout``; what is not done by then
            is killed and named in the log. When left out: True with a manager, False, as in oslo.service, without one.
        :returns: whether all that should came to its end.
        """
        if self.conf is None or self.manager is None:
            return not self.tg.stop(bool(graceful)) or not graceful
        graceful = graceful is not False
        timeout = self.conf.graceful_shutdown_timeout * STOP_SHARE if graceful else 0.0
        deadline = Deadline(None if graceful and not timeout else timeout)
        well = True
        try:
            if self.conn is not None:
                LOG.info("Stopping %s", self.binary)
                self.tg.stop_timers()
                # It has the deadline itself: what of it is missed by a broker that is gone costs nothing.
                well = self._step(Deadline(None), "close its consumers", self.conn.close, deadline.remaining())
                well = self._step(deadline, "stop its manager", self._stop_manager, graceful) and well
            killed = self.tg.stop(graceful, deadline.remaining())
        finally:
            self.conn = None
            self.tg.stop()  # when a deadline further out has run down in one of the steps
        return well and not (graceful and killed)

    def _stop_manager(self, graceful: bool) -> Any:
        stop = getattr(self.manager, "stop", None)
        if stop is None:
            return None
        return stop(graceful) if inspect.signature(stop).parameters else stop()

    def _step(self, deadline: Deadline, what: str, step: Callable[..., Any], *args: Any) -> bool:
        """Take one step of the stop; tell whether it came to a good end. One that says nothing did."""
        try:
            with deadline.limit():
                return step(*args) is not False
        except TimeoutError:
            LOG.error("%s did not %s in time, it is left behind", self.binary, what)
        except Exception:
            LOG.exception("%s failed to %s", self.binary, what)
        return False


def _interval(given: float | None, conf: cfg.ConfigOpts, option: str, default: float) -> float:
    """Return an interval in seconds: as given, or of a registered option, or the default."""
    if given is not None:
        return given
    value: Any = conf
    for part in option.split("."):
        value = getattr(value, part, None)
    return default if value is None else float(value)
