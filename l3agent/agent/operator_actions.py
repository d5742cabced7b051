# SPDX-License-Identifier: Apache-2.0
"""The actions that an operator may request of a running agent."""

from __future__ import annotations

import eventlet

from l3agent.agent.l3_agent import L3NATAgent


class OperatorActions:
    """Changes an agent on request; its state is read by :class:`~l3agent.agent.view.AgentView`.

    :param agent: it need not be started.
    """

    def __init__(self, agent: L3NATAgent) -> None:
        self._agent = agent
        maintenance = agent.parts.maintenance
        #: Pause and drain, see :class:`~l3agent.agent.maintenance.Maintenance`.
        self.pause, self.resume = maintenance.pause, maintenance.resume
        self.drain, self.undrain = maintenance.drain, maintenance.undrain

    def update_router(self, router_id: str) -> None:
        """Enqueue an update of a router, as a notification of the server does."""
        self._agent.routers_updated(None, [router_id])

    def request_full_sync(self, reason: str) -> None:
        """Request a full sync."""
        self._agent.parts.records.sync_requests.request(reason)

    def report_soon(self) -> None:
        """Send a state report now, without waiting for its answer."""
        eventlet.spawn_n(self._agent.parts.registration.report)
