# SPDX-License-Identifier: Apache-2.0
"""Launches services in this process or in several forked ones."""

from __future__ import annotations

from collections.abc import Sequence

from oslo_config import cfg

from l3agent.service.hub_monitor import HUB_LIMIT_S
from l3agent.service.inprocess import START_TIMEOUT_S, ServiceLauncher
from l3agent.service.log_mutex import complete_log_mutex
from l3agent.service.service_calls import ServiceLike
from l3agent.service.workers import ProcessLauncher

__all__ = ["ProcessLauncher", "ServiceLauncher", "launch"]


def launch(
    conf: cfg.ConfigOpts,
    service: ServiceLike | Sequence[ServiceLike],
    workers: int | None = 1,
    restart_method: str = "reload",
    no_fork: bool = False,
    *,
    hub_limit: float = HUB_LIMIT_S,
    start_timeout: float = START_TIMEOUT_S,
) -> ServiceLauncher | ProcessLauncher:
    """Launch services. In one process they start when ``wait`` is called, which returns the exit status.

    :param service: one service, or several that start in order and stop in reverse order.
    :param workers: 1 or None: this process runs the services; more: number of forked processes per service.
    :param restart_method: effect of SIGHUP: ``reload`` (reload all options and restart the services) or ``mutate``
        (apply changed mutable options and reset the services).
    :param no_fork: has no effect, as in the eventlet backend of oslo.service.
    :param hub_limit: seconds of a block of the hub after which the log names the blocking code; 0 disables the monitor.
    :param start_timeout: seconds after which a ``start()`` that has not returned is reported in the log and in the
        service manager's status; 0: never.
    :raises ConfigError: more than one worker on the asyncio hub, which does not survive a fork.
    :raises ValueError: ``workers`` is less than 1.
    :raises TypeError: a service lacks start, stop, wait or reset, or ``workers`` is no integer.
    """
    if not isinstance(workers, int | None):
        raise TypeError(f"workers: {workers!r}: must be an integer")
    if workers is not None and workers < 1:
        raise ValueError(f"workers: {workers}: must be 1 or more")
    complete_log_mutex()
    kind = ServiceLauncher if workers in (None, 1) else ProcessLauncher
    launcher: ServiceLauncher | ProcessLauncher = kind(
        conf, restart_method=restart_method, hub_limit=hub_limit, start_timeout=start_timeout
    )
    for one in service if isinstance(service, Sequence) else [service]:
        launcher.launch_service(one, workers=workers)
    return launcher
