# SPDX-License-Identifier: Apache-2.0
"""``launch``: services as a process, or as several."""

from __future__ import annotations

from collections.abc import Sequence

from oslo_config import cfg

from l3agent.service.hub_monitor import HUB_LIMIT_S
from l3agent.service.inprocess import START_TIMEOUT_S, ServiceLauncher
from l3agent.service.log_mutex import complete_log_mutex
from l3agent.service.services import ServiceLike
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
    """Launch services; in one process they start when ``wait`` is called, which returns the exit status.

    :param service: one, or several that start in order and stop in reverse.
    :param workers: 1 or None: in this process; more: each service in so many forked ones.
    :param restart_method: what SIGHUP does: ``reload`` (read all options again and restart) or ``mutate`` (take over
        changed mutable options).
    :param no_fork: has no effect, as in the eventlet backend of oslo.service.
    :param hub_limit: seconds that the hub may be blocked before the log names what blocks it; 0: not looked at.
    :param start_timeout: seconds after which a service whose ``start()`` has not returned is named in the log and in
        the status that the service manager shows; 0: never.
    :raises ConfigError: more than one worker, and the hub is asyncio's, which does not survive a fork.
    :raises ValueError: workers is less than 1.
    :raises TypeError: a service lacks one of start, stop, wait, reset; workers is no number.
    """
    if not isinstance(workers, int | None):
        raise TypeError(f"workers: {workers!r}: must be a whole number")
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
