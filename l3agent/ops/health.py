# SPDX-License-Identifier: Apache-2.0
"""Whether the agent lives, and whether it serves. Each is a list of reasons why not; an empty one means yes.

Not alive means that a restart helps: the service manager does it by the watchdog, Kubernetes by ``/healthz``. Not ready
means that something else is missing, and a restart would only take longer.
"""

from __future__ import annotations

from collections.abc import Callable

from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.agent.l3_agent import L3NATAgent
from l3agent.agent.registration import BINARY

#: Seconds that a timer of the hub may be late.
MAX_HUB_LAG_S = 1.0


class Health:
    """Asks the parts of an agent.

    :param hub_lag: how late the hub is, in seconds.
    :param unhealthy: names of the services that say of themselves that they are not well.
    :param broker_connected: tells whether messages of the server arrive.
    """

    def __init__(
        self,
        agent: L3NATAgent,
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
        """Return why a restart is called for."""
        lag = self._hub_lag()
        reasons = [f"hub: {lag:.1f} s late"] if lag > MAX_HUB_LAG_S else []
        stuck = self._agent.stuck()
        # Of what is stuck the agent's own service knows no more.
        others = [name for name in self._unhealthy() if not stuck or name != BINARY]
        return [*reasons, *stuck, *(f"service {name}: not healthy" for name in others)]

    def readiness_failures(self) -> list[str]:
        """Return what is missing before updates of routers reach the kernel."""
        checks = {
            "broker: not connected": self._broker_connected(),
            "full sync: none is complete yet": self._agent.full_sync.completed > 0,
            f"data plane: not connected: {self._dataplane.reason}": self._dataplane.connected,
        }
        return [reason for reason, fine in checks.items() if not fine]
