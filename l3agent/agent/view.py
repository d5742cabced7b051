# SPDX-License-Identifier: Apache-2.0
"""The agent as its operation sees it: status, metrics, health and reports read this view and nothing else of the agent.

=================  ==============================================================
subject            members of the view
=================  ==============================================================
node               ``host``, ``admin``, ``paused``, ``cleanup_on_shutdown``
routers            ``router_info``, ``router_keys``, ``recent_removals``
full sync          ``in_sync``, ``full_syncs``, ``orphans``, ``held``, ``suspected_answers``
queue, workers     ``queue``, ``worker_count``, ``busy_workers``, ``stuck``
results            ``recent_errors``, ``statuses_flushed``
events             ``result_observers``, ``full_sync_observers``
=================  ==============================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any

from l3agent.agent.l3_agent import L3NATAgent
from l3agent.agent.queue_state import QueueState
from l3agent.agent.results import UpdateResult
from l3agent.agent.router_info import RouterInfo
from l3agent.model.states import Key


class AgentView:
    """The state of an agent, to read: each member reads memory, and none waits.

    :param agent: it need not be started.
    """

    __slots__ = ("_agent", "_parts", "_records")

    def __init__(self, agent: L3NATAgent) -> None:
        self._agent, self._parts, self._records = agent, agent.parts, agent.parts.records

    # The node

    @property
    def host(self) -> str:
        """Name of this node towards the server."""
        return self._agent.host

    @property
    def admin(self) -> str:
        """State of its maintenance: ``serving``, ``draining`` or ``drained``."""
        return self._parts.maintenance.state

    @property
    def paused(self) -> Set[str]:
        """Ids of the paused routers."""
        return self._parts.maintenance.paused

    @property
    def cleanup_on_shutdown(self) -> bool:
        """True if a stop removes all routers."""
        return bool(self._agent.conf.cleanup_on_shutdown)

    # Routers

    @property
    def router_info(self) -> Mapping[str, RouterInfo]:
        """The routers of this node, by id."""
        return self._parts.routers.info

    def router_keys(self, router_id: str) -> tuple[Key, ...]:
        """Return the keys that a router may have in the data plane."""
        return self._parts.routers.keys(router_id)

    @property
    def recent_removals(self) -> list[dict[str, Any]]:
        """The last removals, newest last: id, operations, timings."""
        return list(self._parts.routers.recent_removals)

    # Full sync

    @property
    def in_sync(self) -> bool:
        """True if a full sync is complete, none is requested, and each router it enqueued was processed."""
        return self._records.sync_requests.in_sync

    @property
    def full_syncs(self) -> int:
        """Number of full syncs completed since the start of the process."""
        return self._records.sync_requests.completed

    @property
    def orphans(self) -> dict[str, float]:
        """Seconds since each orphan was found, by id of the router."""
        return self._records.orphans.ages()

    @property
    def held(self) -> list[str]:
        """Ids of the routers that the mass-deletion guard holds."""
        return sorted(self._records.mass_delete_guard.held)

    @property
    def suspected_answers(self) -> int:
        """Number of answers of the server that would have removed many routers at once."""
        return self._records.mass_delete_guard.suspected_answers

    # Queue and workers

    @property
    def queue(self) -> QueueState:
        """The reading half of the queue."""
        return self._records.queue

    @property
    def worker_count(self) -> int:
        """Number of workers, busy and idle."""
        return int(self._agent.pool.size)

    @property
    def busy_workers(self) -> dict[str, float]:
        """Seconds since a worker started to process a router, by id of the router."""
        return self._parts.in_flight.ages()

    def stuck(self) -> list[str]:
        """Return one message per stuck part, which only a restart may repair."""
        return self._agent.stuck()

    # Results

    @property
    def recent_errors(self) -> list[dict[str, Any]]:
        """The last failures of updates, newest last, as JSON objects."""
        return list(self._records.results.errors)

    def statuses_flushed(self) -> bool:
        """Return True if the server has received all statuses of floating IPs."""
        return not self._parts.statuses.pending_count

    @property
    def result_observers(self) -> list[Callable[[UpdateResult], object]]:
        """Functions called with each result; operation adds its own, which must not wait."""
        return self._records.results.observers

    @property
    def full_sync_observers(self) -> list[Callable[[str, float], object]]:
        """Functions called at the end of each full sync with its result and seconds; operation adds its own."""
        return self._parts.full_sync.observers
