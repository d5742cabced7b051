# SPDX-License-Identifier: Apache-2.0
"""The agent's section of the guru meditation report, which SIGUSR2 writes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.agent.view import AgentView
from l3agent.ops.status import count_unserved_features

TITLE = "L3 agent"
#: Maximum number of warnings per router.
_WARNINGS_SHOWN = 10


def summary(agent: AgentView, dataplane: DataplaneClient) -> dict[str, Any]:
    """Return the state of the agent: queue, workers with their age, routers by status, the last error of each.

    All values are in memory: the report must not depend on a data plane or server that hangs.
    """
    routers = agent.router_info.values()
    return {
        "full sync": {"in sync": agent.in_sync, "completed": agent.full_syncs},
        "queue": {**agent.queue.counts(), "oldest": f"{agent.queue.longest_wait():.3f} s"},
        "workers": {
            "size": agent.worker_count,
            "busy": {router_id: f"{age:.3f} s" for router_id, age in agent.busy_workers.items()},
            "stuck": agent.stuck(),
        },
        "data plane": {"connected": dataplane.connected, "pid": dataplane.pid},
        "routers": dict(Counter(info.status for info in routers)),
        "errors": {f"{info.id} {info.name}": info.error for info in routers if info.error},
        "unserved features": {name: count for name, count in count_unserved_features(agent).items() if count},
        "warnings": {
            f"{info.id} {info.name}": list(info.state.warnings[:_WARNINGS_SHOWN])
            for info in routers
            if info.state is not None and info.state.warnings
        },
        "held by the mass-deletion guard": agent.held,
        "last failures": [f"{one['router']}: {one['error']}" for one in agent.recent_errors[-10:]],
    }
