# SPDX-License-Identifier: Apache-2.0
"""What the agent tells of itself: plain values, ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l3agent.agent.l3_agent import L3NATAgent
from l3agent.agent.router_info import RouterInfo
from l3agent.dataplane.client import DataplaneClient
from l3agent.exceptions import L3AgentError
from l3agent.model.states import Key, State


def status(agent: L3NATAgent, dataplane: DataplaneClient) -> dict[str, Any]:
    """Return how the agent, its queue, its workers, its data plane and each of its routers do."""
    return {
        "in_sync": agent.full_sync.in_sync,
        "full_syncs": agent.full_sync.completed,
        "queue": agent.queue.counts(),
        "mass_delete": {"held": sorted(agent.doubt.held), "doubted": agent.doubt.doubted},
        "workers": {"size": agent.pool.size, "busy": agent.busy_workers},
        "dataplane": {"connected": dataplane.connected, "pid": dataplane.pid},
        "routers": {router_id: _router(info) for router_id, info in agent.router_info.items()},
        "removed": list(agent.routers.gone),
    }


def plans(agent: L3NATAgent, dataplane: DataplaneClient, router_id: str | None) -> Mapping[str, list[str]]:
    """Return what would be done to the kernel now, by id of the router; nothing is done.

    :param router_id: one router; None for all.
    :raises DataplaneUnavailable: the data plane does not answer.
    :raises L3AgentError: there is no such router here.
    """
    if router_id is not None and router_id not in agent.router_info:
        raise L3AgentError(f"router {router_id}: not on this node")
    chosen = agent.router_info.values() if router_id is None else [agent.router_info[router_id]]
    states: list[tuple[Key, State | None]] = [(("router", info.id), info.state) for info in chosen if info.state]
    return {report.id: list(report.operations) for report in dataplane.reconcile(states, dry_run=True)}


def _router(info: RouterInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "state": info.status,
        "error": info.error,
        "updates": info.updates,
        "last": {"operations": list(info.operations), "timings": info.timings},
        "updated_at": info.updated_at,
    }
