# SPDX-License-Identifier: Apache-2.0
"""Liveness and readiness of the agent, each as a list of failures; an empty list means success.

A liveness failure calls for a restart: the service manager detects it by the watchdog, Kubernetes by ``/healthz``. A
readiness failure means that a broker, server or data plane is missing; a restart would only delay recovery.
"""

from __future__ import annotations

from collections.abc import Callable

from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.agent.registration import BINARY
from l3agent.agent.view import AgentView

#: Maximum lag of the eventlet hub in seconds.
MAX_HUB_LAG_S = 1.0


class Health:
    """Collects failures from the parts of an agent.

    :param hub_lag: returns the lag of the eventlet hub in seconds.
    :param unhealthy: returns the names of the services whose health check fails.
    :param broker_connected: returns True if the agent is connected to the broker.
    """

    def __init__(
        self,
        agent: AgentView,
        dataplane: DataplaneClient,
        *,
        hub_lag: Callable[[], float],
        unhealthy: Callable[[], list[str]],
        broker_connected: Callable[[], bool],
    ) -> None:
        self._agent = agent
        self._dataplane = dataplane
        self._hub_lag = hub_lag
        self._unhealthy = unhealthy
        self._broker_connected = broker_connected

    def liveness_failures(self) -> list[str]:
        """Return the failures that call for a restart."""
        lag = self._hub_lag()
        reasons = [f"hub: lag of {lag:.1f} s"] if lag > MAX_HUB_LAG_S else []
        stuck = self._agent.stuck()
        # The check of the agent's own service would report the same stuck workers again.
        others = [name for name in self._unhealthy() if not stuck or name != BINARY]
        return [*reasons, *stuck, *(f"service {name}: not healthy" for name in others)]

    def readiness_failures(self) -> list[str]:
        """Return the reasons why router updates do not reach the kernel."""
        checks = {
            "broker: not connected": self._broker_connected(),
            "full sync: none has completed yet": self._agent.full_syncs > 0,
            f"data plane: not connected: {self._dataplane.reason}": self._dataplane.connected,
        }
        return [reason for reason, passed in checks.items() if not passed]
