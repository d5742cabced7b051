# SPDX-License-Identifier: Apache-2.0
"""Base class of managers, and the factory that a service calls."""

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
    """Return option ``host``, or the host name of the node if the option is missing or empty."""
    return getattr(conf, "host", None) or socket.gethostname()


class Manager(periodic_task.PeriodicTasks):  # type: ignore[misc]
    """Base class of managers. Public methods of a subclass are its RPC; its :class:`Service` calls the methods below.

    A subclass declares the version of its RPC as ``target = Target(version=...)`` and decorates periodic tasks with
    ``oslo_service.periodic_task.periodic_task``.
    """

    not_rpc: frozenset[str]

    def __init__(self, conf: cfg.ConfigOpts | None = None, host: str | None = None) -> None:
        """Read the options of periodic tasks.

        :param conf: default: ``self.conf`` if a subclass has set it, else ``cfg.CONF``.
        :param host: name of this node; default: option ``host``, else the host name.
        :raises TypeError: the arguments are swapped (managers of Neutron take the host first). Pass them by name.
        """
        conf = getattr(self, "conf", cfg.CONF) if conf is None else conf
        if not isinstance(conf, cfg.ConfigOpts):
            raise TypeError(f"Manager: conf: {conf!r} is not a ConfigOpts; pass conf= and host= by name")
        if not isinstance(host, str | None):
            raise TypeError(f"Manager: host: {host!r} is not a string; pass conf= and host= by name")
        super().__init__(conf)
        self.host: str = host or default_host(conf)

    def init_host(self) -> None:
        """Initialize; called first, before consumers exist."""

    def initialize_service_hook(self, service: Any) -> None:
        """Extend a service, for example by consumers on ``service.conn``, before its consumers start to consume."""

    def after_start(self) -> None:
        """Start work that needs the consumers; called last."""

    def report_state(self) -> None:
        """Report the state of the agent to the server; called after each ``report_interval``."""

    def periodic_tasks(self, context: Context, raise_on_error: bool = False) -> float:
        """Run the periodic tasks that are due.

        :returns: seconds until the next one is due.
        """
        idle: float = self.run_periodic_tasks(context, raise_on_error=raise_on_error)
        return idle

    def connection_lost(self) -> None:
        """Recover from lost messages; called each time a consumer has reconnected to its broker."""

    def agent_updated(self, context: Context, payload: dict[str, Any]) -> None:
        """Process a change of the agent's record on the server (RPC)."""
        LOG.debug("agent_updated: %s", payload)

    def healthy(self) -> bool:
        """Return False to suspend the watchdog notifications, after which the service manager may end the process."""
        return True

    def ready(self) -> bool:
        """Return False to delay READY=1; called after the start until it returns True."""
        return True

    def reset(self) -> None:
        """Apply changed options; called on SIGHUP."""

    def stop(self, graceful: bool = True) -> None:
        """Finish work in progress; called after the consumers have stopped and before the threads are stopped."""


# Any client of the broker may call an endpoint; none may stop an agent or start it twice.
Manager.not_rpc = frozenset(dir(Manager)) - {"agent_updated"}


def make_manager(source: Any, conf: cfg.ConfigOpts, host: str) -> Any:
    """Return a manager.

    :param source: a manager, a factory, or the dotted path of a factory. A factory is called with ``conf=`` and
        ``host=``, by name; its signature may have them in any order and may lack either.
    :raises ConfigError: the source is None, the path cannot be imported, or the factory requires another parameter.
    """
    if isinstance(source, str):
        try:
            source = importutils.import_class(source)
        except ImportError as error:
            raise ConfigError(f"manager: {source}: cannot be imported: {error}") from error
    if source is None:
        raise ConfigError("Service.create: manager is missing")
    arguments = {"conf": conf, "host": host}
    manager = source(**_select_arguments(source, arguments)) if callable(source) else source
    if not hasattr(manager, "not_rpc"):  # a manager of Neutron
        with suppress(AttributeError):
            manager.not_rpc = Manager.not_rpc
    return manager


def _select_arguments(factory: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments for which a callable has a parameter."""
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
