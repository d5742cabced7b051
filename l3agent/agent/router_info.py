# SPDX-License-Identifier: Apache-2.0
"""State of one router in the agent, an immutable value: :mod:`l3agent.agent.router_transition` makes the next one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from l3agent.model.router_keys import router_keys
from l3agent.model.states import Key, RouterState

#: Statuses of a floating IP in the API of the server.
ACTIVE, DOWN, ERROR = "ACTIVE", "DOWN", "ERROR"

#: Rank of an unknown router.
UNKNOWN = 2


def importance(payload: Mapping[str, Any]) -> int:
    """Return the rank of a payload: 0 with floating IPs, 1 with a gateway, 2 without; low ranks are processed first."""
    return 0 if payload.get("_floatingips") else 1 if payload.get("gw_port") else 2


@dataclass(frozen=True, slots=True)
class RouterInfo:
    """A router of this node, from its first update to its removal.

    :param state: the last valid desired state; None before the first.
    :param former_keys: keys that the kernel may have; a request removes the keys that ``state`` does not have.
    :param sequence: sequence number of the payload of ``state`` (see the queue).
    :param floating_ips: last status by id of the floating IP, received from or reported to the server; "" if unknown.
    :param has_lost_floating_ips: True if floating IPs left since the last report; a report of the others makes the
        server set them DOWN.
    :param received_at: monotonic seconds at which the server last sent the payload of this router.
    :param status: ``pending`` before the first result; ``active`` if the kernel has the state of the last payload.
    :param error: reason of status ``error``.
    :param rejection: error of the last payload; None if ``state`` is from it.
    :param updates: number of requests that succeeded.
    :param operations: of the last request that succeeded, as is ``count``, their number.
    :param timings: seconds by phase of the last update that succeeded.
    :param updated_at: monotonic seconds of the last result.
    :param revision: revision number of the payload of ``state``; it grows with each change of the router.
    :param older_revision: lower revision of a rejected answer; a second answer with it is accepted.
    """

    id: str
    name: str = ""
    state: RouterState | None = None
    former_keys: tuple[Key, ...] = ()
    sequence: int = 0
    floating_ips: Mapping[str, str] = field(default_factory=dict)
    has_lost_floating_ips: bool = False
    received_at: float = -math.inf
    status: Literal["active", "pending", "error"] = "pending"
    error: str | None = None
    rejection: str | None = None
    updates: int = 0
    operations: tuple[str, ...] = ()
    count: int = 0
    timings: Mapping[str, float] = field(default_factory=dict)
    updated_at: float = 0.0
    revision: int = 0
    older_revision: int | None = None

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys that the router may have in the data plane."""
        return router_keys(self.id, self.state, self.former_keys)

    @property
    def rank(self) -> int:
        """The rank (see :func:`importance`)."""
        if self.state is None:
            return UNKNOWN
        namespaces = self.state.namespaces
        return 0 if any(one.floating_ips for one in namespaces) else 1 if self.state.gateway else 2
