# SPDX-License-Identifier: Apache-2.0
"""What is to be done for one router, as those who say so and the workers know it. Values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

#: Priorities, the low number first. What the server says now goes before what a full sync brings.
PRIORITY_RPC = 0
PRIORITY_FULL_SYNC = 1


class Action(enum.Enum):
    """What is to be done with a router."""

    UPDATE = "update"
    DELETE = "delete"
    #: Remove it: it exists, and this agent stops serving it.
    UNSCHEDULE = "unschedule"
    #: Remove it, for the server was asked for it and did not name it.
    MISSING = "missing"
    #: Bring the state that is known already to the data plane once more; no call to the server.
    REAPPLY = "reapply"


@dataclass(frozen=True, slots=True)
class ResourceUpdate:
    """One thing to do for one router.

    :param resource: the payload of the server, when it is here already.
    :param sequence: place in the order of events of what is known with this update.
    :param created_at: when it was asked for first, by the clock of the queue.
    :param context: of the request that asked for it last; None when nobody did.
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
        """Tell whether the payload is still to be had from the server."""
        return self.action is Action.UPDATE and self.resource is None

    def with_answer(self, resource: Mapping[str, Any] | None, sequence: int) -> ResourceUpdate:
        """Return this update with the server's answer; a router the server does not name is missing."""
        action = Action.MISSING if resource is None else Action.UPDATE
        return replace(self, action=action, resource=resource, sequence=sequence)
