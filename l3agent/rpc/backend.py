# SPDX-License-Identifier: Apache-2.0
"""The choice of oslo.service's eventlet backend.

Imported first by ``l3agent.rpc`` and ``l3agent.service``: ``import oslo_messaging`` and ``import oslo_service.service``
fix the backend of the process for good, so it is chosen, aloud, before either.
"""

from __future__ import annotations

from oslo_service.backend import BackendType, init_backend
from oslo_service.backend.exceptions import BackendAlreadySelected

from l3agent.exceptions import ConfigError


def select_eventlet() -> None:
    """Choose the eventlet backend of oslo.service; a second call is harmless.

    :raises ConfigError: another backend was chosen earlier in this process.
    """
    try:
        init_backend(BackendType.EVENTLET)
    except BackendAlreadySelected as error:
        raise ConfigError(
            f"l3agent needs the eventlet backend of oslo.service: {error}. "
            "Import l3agent.service before any other oslo library, or drop the other choice."
        ) from error


select_eventlet()
