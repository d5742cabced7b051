# SPDX-License-Identifier: Apache-2.0
"""Launcher that handles no signals, and the check of the interface of services."""

from __future__ import annotations

import inspect
from contextlib import suppress

from oslo_config import cfg
from oslo_service import service as oslo_service

from l3agent.service.service_calls import ServiceLike
from l3agent.service.services import Services


class Launcher(oslo_service.Launcher):  # type: ignore[misc]
    """Runs services in this process and handles no signals, for tests and programs with their own handlers.

    ``wait`` returns after ``stop`` was called.

    :param restart_method: effect of ``restart``: ``reload`` (reload all options and restart the services) or ``mutate``
        (apply changed mutable options and reset the services).
    :raises ValueError: the restart method is unknown.
    """

    def __init__(self, conf: cfg.ConfigOpts, restart_method: str = "reload") -> None:
        super().__init__(conf, restart_method=restart_method)
        self.services = Services(restart_method, stop_timeout=conf.graceful_shutdown_timeout)

    def launch_service(self, service: ServiceLike, workers: int | None = 1) -> None:
        """Add a service and set its attribute ``backdoor_port`` to the port of eventlet's backdoor, or None.

        :param workers: 1 or None.
        :raises ValueError: more than one worker, which requires a ``ProcessLauncher``.
        :raises TypeError: the service lacks start, stop, wait or reset.
        """
        if workers not in (None, 1):
            raise ValueError(f"workers: {workers}: {type(self).__name__} runs services in this process")
        check_service(service)
        with suppress(AttributeError):  # a class with __slots__
            service.backdoor_port = self.backdoor_port  # type: ignore[attr-defined]
        self.services.add(service)


def check_service(service: object) -> None:
    """Check that an object has the four methods of a service, without calling its ``__getattr__``.

    :raises TypeError: a method is missing.
    """
    if any(inspect.getattr_static(service, name, None) is None for name in ("start", "stop", "wait", "reset")):
        raise TypeError(f"{service!r} is no service: it must have start, stop, wait and reset")
