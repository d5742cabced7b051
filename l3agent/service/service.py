# SPDX-License-Identifier: Apache-2.0
"""A service: the RPC consumers, timers and threads around one manager; and the manager's base class."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import periodic_task
from oslo_service import service as oslo_service
from oslo_utils import importutils

from l3agent.exceptions import ConfigError
from l3agent.rpc.connection import Connection
from l3agent.rpc.context import Context, admin_context
from l3agent.rpc.deadline import Deadline
from l3agent.rpc.transport import get_transport
from l3agent.service.threadgroup import ThreadGroup
from l3agent.service.worker import is_first_worker

LOG = logging.getLogger(__name__)

# A service is done, kill included, before the container's own guard (all of graceful_shutdown_timeout) has to act.
OWN_SHARE = 0.9


class Manager(periodic_task.PeriodicTasks):  # type: ignore[misc]
    """What a service is about: its public methods are its RPC, the methods here are for its :class:`Service` alone.

    A subclass states the version of its RPC in ``target = Target(version=...)``, and decorates periodic tasks with
    ``oslo_service.periodic_task.periodic_task``.
    """

    not_rpc: frozenset[str]

    def __init__(self, conf: cfg.ConfigOpts, host: str) -> None:
        super().__init__(conf)
        self.host = host

    def init_host(self) -> None:
        """Get ready; called first of all, before there are consumers."""

    def initialize_service_hook(self, service: Service) -> None:
        """Add to a service whose consumers exist but do not consume yet, such as more consumers on ``service.conn``."""

    def after_start(self) -> None:
        """Start what needs the consumers; called last."""

    def report_state(self) -> None:
        """Tell the server how the agent does; called every ``report_interval`` seconds, first after one of them."""

    def periodic_tasks(self, context: Context, raise_on_error: bool = False) -> float:
        """Run the periodic tasks that are due.

        :returns: seconds until the next one is.
        """
        idle: float = self.run_periodic_tasks(context, raise_on_error=raise_on_error)
        return idle

    def connection_lost(self) -> None:
        """Make good for messages that are gone; called each time a consumer lost its broker and is back."""

    def agent_updated(self, context: Context, payload: dict[str, Any]) -> None:
        """Take a change of the agent's record on the server (RPC)."""
        LOG.debug("agent_updated: %s", payload)

    def healthy(self) -> bool:
        """Tell whether all goes well; while it does not, the watchdog is not fed, and may end the process."""
        return True

    def ready(self) -> bool:
        """Tell whether what the service is for is done; asked after the start, until it says yes: see READY=1."""
        return True

    def reset(self) -> None:
        """Take over changed options; called on SIGHUP."""

    def stop(self, graceful: bool = True) -> None:
        """Bring work in hand to an end; called when no message arrives any more, before the threads go."""


# Whoever reaches the broker may call an endpoint; nobody there shall stop an agent or make it start twice.
Manager.not_rpc = frozenset(dir(Manager)) - {"agent_updated"}


class Service(oslo_service.Service):  # type: ignore[misc]
    """Runs a manager on a topic. Made by :meth:`create`."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        manager: Manager,
        *,
        host: str,
        binary: str,
        topic: str,
        transport: Any = None,
        report_interval: float = 30,
        periodic_interval: float = 40,
        periodic_fuzzy_delay: float = 5,
    ) -> None:
        super().__init__()
        self.tg = ThreadGroup()
        for group, opts in oslo_service.list_opts():
            conf.register_opts(opts, group=group)
        self.conf = conf
        self.manager = manager
        self.host = host
        self.binary = binary
        self.topic = topic
        self.transport = transport
        self.conn: Connection | None = None
        self.report_interval = report_interval
        self.periodic_interval = periodic_interval
        self.periodic_fuzzy_delay = periodic_fuzzy_delay

    @classmethod
    def create(
        cls,
        binary: str | None = None,
        topic: str | None = None,
        report_interval: float = 30,
        manager: Manager | Callable[[cfg.ConfigOpts, str], Manager] | str | None = None,
        *,
        conf: cfg.ConfigOpts,
        host: str | None = None,
        transport: Any = None,
        periodic_interval: float = 40,
        periodic_fuzzy_delay: float = 5,
    ) -> Service:
        """Return a service, not started.

        :param binary: name of the program; the topic when left out.
        :param topic: where it consumes; ``binary`` without ``neutron-`` when left out.
        :param report_interval: seconds between two calls of ``Manager.report_state``; 0: none.
        :param manager: a manager, or what makes one of ``(conf, host)``, or the dotted path of that.
        :param host: name of this node; option ``host`` or the node's own name when left out.
        :param transport: from ``get_transport``; made from ``conf`` at the start when left out.
        :param periodic_interval: most seconds between two looks for periodic tasks that are due; 0: none. A task with
            a shorter spacing is run when it is due.
        :param periodic_fuzzy_delay: the first look comes after a random time up to this, in seconds.
        :raises ConfigError: no name, no manager, or its dotted path leads nowhere.
        """
        name = binary or topic
        if name is None:
            raise ConfigError("Service.create: neither binary nor topic is given")
        host = host or getattr(conf, "host", None) or socket.gethostname()
        return cls(
            conf,
            _manager(manager, conf, host),
            host=host,
            binary=name,
            topic=topic or name.removeprefix("neutron-"),
            transport=transport,
            report_interval=report_interval,
            periodic_interval=periodic_interval,
            periodic_fuzzy_delay=periodic_fuzzy_delay,
        )

    def start(self) -> None:
        """Start: host, consumers, hook, consuming, timers, and the manager's own last word, in this order."""
        LOG.info("Starting %s on %s, topic %s", self.binary, self.host, self.topic)
        self.manager.init_host()
        self.transport = self.transport or get_transport(self.conf)
        self.conn = Connection(self.transport, host=self.host, on_lost=self.manager.connection_lost)
        self.conn.create_consumer(self.topic, [self.manager])
        self.manager.initialize_service_hook(self)
        self.conn.consume_in_threads()
        self._start_timers()
        self.manager.after_start()

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
        self.manager.report_state()

    # It says that the agent lives, and a server that does not answer must not keep it from its end.
    report_state.endless = True  # type: ignore[attr-defined]

    def periodic_tasks(self) -> float:
        """Let the manager run what is due; called by a timer.

        :returns: seconds until the next one is.
        """
        try:
            return self.manager.periodic_tasks(admin_context())
        except Exception:
            LOG.exception("Error in the periodic tasks of %s, they go on", self.binary)
            return self.periodic_interval

    def healthy(self) -> bool:
        """Ask the manager."""
        return self.manager.healthy()

    def ready(self) -> bool:
        """Ask the manager."""
        return self.manager.ready()

    def reset(self) -> None:
        """Let the manager take over changed options."""
        self.manager.reset()

    def stop(self, graceful: bool = True) -> bool:
        """Stop: timers, consumers, the manager's work, threads. Safe at any time; a failing step does not end it.

        :param graceful: let work in hand come to its end within ``graceful_shutdown_timeout``; what is not done by then
            is killed and named in the log.
        :returns: whether all that should came to its end.
        """
        timeout = self.conf.graceful_shutdown_timeout * OWN_SHARE if graceful else 0.0
        deadline = Deadline(None if graceful and not timeout else timeout)
        well = True
        try:
            if self.conn is not None:
                LOG.info("Stopping %s", self.binary)
                self.tg.stop_timers()
                # It has the deadline itself: what of it is missed by a broker that is gone costs nothing.
                well = self._step(Deadline(None), "close its consumers", self.conn.close, deadline.left())
                well = self._step(deadline, "stop its manager", self.manager.stop, graceful) and well
            killed = self.tg.stop(graceful, deadline.left())
        finally:
            self.conn = None
            self.tg.stop()  # when a deadline further out has run down in one of the steps
        return well and not (graceful and killed)

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


def _manager(given: Any, conf: cfg.ConfigOpts, host: str) -> Manager:
    if isinstance(given, str):
        try:
            given = importutils.import_class(given)
        except ImportError as error:
            raise ConfigError(f"manager: {given}: cannot be imported: {error}") from error
    if given is None:
        raise ConfigError("Service.create: no manager is given")
    manager: Manager = given(conf, host) if callable(given) else given
    return manager
