# SPDX-License-Identifier: Apache-2.0
"""The manager of a service: its base class, and how a service makes one."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import periodic_task
from oslo_utils import importutils

from l3agent.exceptions import ConfigError
from l3agent.rpc.context import Context

LOG = logging.getLogger(__name__)


def default_host(conf: cfg.ConfigOpts) -> str:
    """Return the option ``host``, or the node's own name where there is no such option or it is empty."""
    return getattr(conf, "host", None) or socket.gethostname()


class Manager(periodic_task.PeriodicTasks):  # type: ignore[misc]
    """What a service is about: its public methods are its RPC, the methods here are for its :class:`Service` alone.

    A subclass states the version of its RPC in ``target = Target(version=...)``, and decorates periodic tasks with
    ``oslo_service.periodic_task.periodic_task``.
    """

    not_rpc: frozenset[str]

    def __init__(self, conf: cfg.ConfigOpts | None = None, host: str | None = None) -> None:
        """Read the options of periodic tasks.

        :param conf: ``cfg.CONF``, or what a subclass has put into ``self.conf`` before, when left out.
        :param host: name of this node; option ``host`` or the node's own name when left out.
        :raises TypeError: the arguments are swapped: managers of Neutron have the host first. Pass them by name.
        """
        conf = getattr(self, "conf", cfg.CONF) if conf is None else conf
        if not isinstance(conf, cfg.ConfigOpts):
            raise TypeError(f"Manager: conf: {conf!r} is not a ConfigOpts; pass conf= and host= by name")
        if not isinstance(host, str | None):
            raise TypeError(f"Manager: host: {host!r} is not a string; pass conf= and host= by name")
        super().__init__(conf)
        self.host: str = host or default_host(conf)

    def init_host(self) -> None:
        """Get ready; called first of all, before there are consumers."""

    def initialize_service_hook(self, service: Any) -> None:
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


def make_manager(given: Any, conf: cfg.ConfigOpts, host: str) -> Any:
    """Return a manager.

    :param given: a manager, or what makes one, or the dotted path of that. It is called with ``conf=`` and ``host=``,
        by name, so the order in its signature is free; it may leave out either.
    :raises ConfigError: nothing is given, the path cannot be imported, or a parameter has another name and no default.
    """
    if isinstance(given, str):
        try:
            given = importutils.import_class(given)
        except ImportError as error:
            raise ConfigError(f"manager: {given}: cannot be imported: {error}") from error
    if given is None:
        raise ConfigError("Service.create: no manager is given")
    manager = given(**_accepted(given, {"conf": conf, "host": host})) if callable(given) else given
    if not hasattr(manager, "not_rpc"):  # a manager of Neutron
        with suppress(AttributeError):
            manager.not_rpc = Manager.not_rpc
    return manager


def _accepted(factory: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return those arguments that a callable has a parameter for."""
    parameters = inspect.signature(factory).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return arguments
    named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    required = [one.name for one in parameters if one.default is one.empty and one.kind is not one.VAR_POSITIONAL]
    if unknown := [name for name in required if name not in arguments]:
        raise ConfigError(
            f"manager: {factory!r}: parameter {', '.join(unknown)}: a manager is called with conf= and host= by name"
        )
    return {one.name: arguments[one.name] for one in named if one.name in arguments}
