# SPDX-License-Identifier: Apache-2.0
"""Queue items: one pending action for one router (immutable)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

#: Priorities, lowest first: notifications of the server precede the results of a full sync.
PRIORITY_RPC = 0
PRIORITY_FULL_SYNC = 1


class Action(enum.Enum):
    """The action of a worker on a router."""

    UPDATE = "update"
    DELETE = "delete"
    #: Remove the router, which the server has unscheduled from this agent.
    UNSCHEDULE = "unschedule"
    #: Remove the router, which an answer of the server does not name.
    MISSING = "missing"
    #: Apply the current desired state again, without a fetch.
    REAPPLY = "reapply"


@dataclass(frozen=True, slots=True)
class ResourceUpdate:
    """A pending action for one router.

    :param resource: payload of the server; None if it is not fetched yet.
    :param sequence: position of its data in the order of events (logical clock of the queue).
    :param created_at: time of the first request that it coalesces, by the clock of the queue.
    :param context: of the latest request; None without a request.
    """

    id: str
    action: Action
    priority: int
    sequence: int
    created_at: float
    resource: Mapping[str, Any] | None = None
    context: Any = None

    @property
    def needs_fetch(self) -> bool:
        """Return True if the payload must be fetched from the server."""
        return self.action is Action.UPDATE and self.resource is None

    def with_answer(self, resource: Mapping[str, Any] | None, sequence: int) -> ResourceUpdate:
        """Return this update with the answer of the server; None makes the router missing."""
        action = Action.MISSING if resource is None else Action.UPDATE
        return replace(self, action=action, resource=resource, sequence=sequence)

    def coalesce(self, earlier: ResourceUpdate) -> ResourceUpdate:
        """Return this update with the place of an earlier one of the same router, which it replaces."""
        return replace(
            self,
            priority=min(self.priority, earlier.priority),
            created_at=min(self.created_at, earlier.created_at),
            context=self.context or earlier.context,
        )
