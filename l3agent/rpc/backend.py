# SPDX-License-Identifier: Apache-2.0
"""Selection of oslo.service's eventlet backend.

``l3agent.rpc`` and ``l3agent.service`` import this module first: ``import oslo_messaging`` and
``import oslo_service.service`` fix the backend of the process permanently, so it is selected explicitly before.
"""

from __future__ import annotations

from oslo_service.backend import BackendType, init_backend
from oslo_service.backend.exceptions import BackendAlreadySelected

from l3agent.exceptions import ConfigError


def select_eventlet() -> None:
    """Select the eventlet backend of oslo.service. Idempotent.

    :raises ConfigError: another backend was selected before in this process.
    """
    try:
        init_backend(BackendType.EVENTLET)
    except BackendAlreadySelected as error:
        raise ConfigError(
            f"l3agent needs the eventlet backend of oslo.service: {error}. "
            "Import l3agent.service before any other oslo library, or do not select another backend."
        ) from error


select_eventlet()
