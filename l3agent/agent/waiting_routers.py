# SPDX-License-Identifier: Apache-2.0
"""Routers that wait for a worker: by priority, then by arrival."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Collection, Iterator
from typing import NamedTuple

from l3agent.agent.resource_update import PRIORITY_FULL_SYNC, PRIORITY_RPC, ResourceUpdate


class _Slot(NamedTuple):
    """The heap entry of a router; the lowest is next."""

    priority: int
    number: int
    router_id: str
    needs_fetch: bool


class WaitingRouters:
    """A slot per waiting router, in two heaps: updates that need a fetch, and updates that do not.

    Two, since a worker that must not wait for the server skips all routers of the first.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        # A heap entry is valid only while the table beside it holds it: replaced entries stay until they surface.
        self._heaps: dict[bool, list[_Slot]] = {True: [], False: []}
        self._slots: dict[str, _Slot] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def __contains__(self, router_id: str) -> bool:
        return router_id in self._slots

    def put(self, update: ResourceUpdate) -> None:
        """Give a router a slot; a router keeps its slot unless its priority improves or its need of a fetch changes."""
        slot = self._slots.get(update.id)
        if slot is None or update.priority < slot.priority:
            self._push(_Slot(update.priority, next(self._numbers), update.id, update.needs_fetch))
        elif update.needs_fetch != slot.needs_fetch:
            self._push(slot._replace(needs_fetch=update.needs_fetch))

    def discard(self, router_id: str) -> None:
        """Remove the slot of a router. Idempotent."""
        self._slots.pop(router_id, None)

    def pop(self, *, may_fetch: bool) -> str | None:
        """Remove the first router and return its id; None if no router can start.

        :param may_fetch: False: skip the routers that need a fetch.
        """
        heaps = (False, True) if may_fetch else (False,)
        first = min(filter(None, map(self._peek, heaps)), default=None)
        if first is None:
            return None
        del self._slots[first.router_id]
        return first.router_id

    def peek_waiting_for_fetch(self, limit: int, *, skip: Collection[str]) -> list[str]:
        """Return the ids of the first routers that need a fetch, in order."""
        slots = (
            slot for slot in self._heaps[True] if self._slots.get(slot.router_id) is slot and slot.router_id not in skip
        )
        return [slot.router_id for slot in heapq.nsmallest(limit, slots)]

    def depth(self) -> dict[int, int]:
        """Return the number of routers by priority."""
        waiting = Counter(slot.priority for slot in self._slots.values())
        return {priority: waiting[priority] for priority in (PRIORITY_RPC, PRIORITY_FULL_SYNC)}

    def _push(self, slot: _Slot) -> None:
        self._slots[slot.router_id] = slot
        heapq.heappush(self._heaps[slot.needs_fetch], slot)

    def _peek(self, needs_fetch: bool) -> _Slot | None:
        heap = self._heaps[needs_fetch]
        while heap and self._slots.get(heap[0].router_id) is not heap[0]:
            heapq.heappop(heap)
        return heap[0] if heap else None
