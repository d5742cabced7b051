# SPDX-License-Identifier: Apache-2.0
"""The launcher that leaves signals alone, and the check of what is launched."""

from __future__ import annotations

import inspect
from contextlib import suppress

from oslo_config import cfg
from oslo_service import service as oslo_service

from l3agent.service.services import ServiceLike, Services


class Launcher(oslo_service.Launcher):  # type: ignore[misc]
    """Runs services in this process and handles no signal, for a program that does so itself, or a test.

    ``wait`` returns when ``stop`` was called.

    :param restart_method: what ``restart`` does: ``reload`` (read all options again and restart the services) or
        ``mutate`` (take over changed mutable options and reset the services).
    :raises ValueError: another restart method.
    """

    def __init__(self, conf: cfg.ConfigOpts, restart_method: str = "reload") -> None:
        super().__init__(conf, restart_method=restart_method)
        self.services = Services(restart_method, stop_timeout=conf.graceful_shutdown_timeout)

    def launch_service(self, service: ServiceLike, workers: int | None = 1) -> None:
        """Add a service. Its attribute ``backdoor_port`` becomes the port of eventlet's backdoor, or None.

        :param workers: 1 or None.
        :raises ValueError: more than one worker; those need a ``ProcessLauncher``.
        :raises TypeError: it lacks one of start, stop, wait, reset.
        """
        if workers not in (None, 1):
            raise ValueError(f"workers: {workers}: {type(self).__name__} runs services in this process")
        check(service)
        with suppress(AttributeError):  # a class with __slots__
            service.backdoor_port = self.backdoor_port  # type: ignore[attr-defined]
        self.services.add(service)


def check(service: object) -> None:
    """Make sure that an object has the four methods of a service; a ``__getattr__`` that has any name does not count.

    :raises TypeError: one is missing.
    """
    if any(inspect.getattr_static(service, name, None) is None for name in ("start", "stop", "wait", "reset")):
        raise TypeError(f"{service!r} is no service: it must have start, stop, wait and reset")
