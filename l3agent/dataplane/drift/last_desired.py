# SPDX-License-Identifier: Apache-2.0
"""The desired entries of the state that the last event was compared with: events of one state come in bursts."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from l3agent.dataplane.plan.kinds.base import Entry, select
from l3agent.dataplane.plan.kinds.neighbour import KernelNeighbour
from l3agent.model.states import Key, State

Entries = frozenset[Entry]


class LastDesired:
    """The entries of the last state, and the identities of its neighbours once an event is compared with them.

    :param render: returns the desired entries of a state; called for another state than the last one.
    """

    def __init__(self, render: Callable[[Key, State], Entries]) -> None:
        self._render = render
        self._last: tuple[State, Entries] | None = None
        self._neighbours: frozenset[Hashable] | None = None

    def record(self, state: State, desired: Entries) -> None:
        """Record the desired entries of a state."""
        self._last, self._neighbours = (state, desired), None

    def entries(self, key: Key, state: State) -> Entries:
        """Return the desired entries of a state."""
        if self._last is None or self._last[0] is not state:
            self.record(state, self._render(key, state))
        assert self._last is not None
        return self._last[1]

    def neighbours(self, key: Key, state: State) -> frozenset[Hashable]:
        """Return the identities of the desired neighbours of a state: the kernel reports each removed one twice."""
        desired = self.entries(key, state)
        if self._neighbours is None:
            self._neighbours = frozenset(one.identity() for one in select(desired, KernelNeighbour))
        return self._neighbours
