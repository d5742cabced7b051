# SPDX-License-Identifier: Apache-2.0
"""Detects drift of applied states: events select the states to observe, and nothing else is observed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence

from l3agent.dataplane.backend import Backends, Observed
from l3agent.dataplane.drift.applied import AppliedStates, Snapshot
from l3agent.dataplane.drift.repairs import Repairs
from l3agent.dataplane.plan.drivers import InterfaceDriver
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.observation import AllChanged, Notice
from l3agent.dataplane.plan.plan import Plan
from l3agent.dataplane.plan.render import entries
from l3agent.model.states import Key, State

#: Maximum age of a snapshot in seconds; an older one is not used, even without an event.
_MAX_SNAPSHOT_AGE_S = 600.0
#: Maximum number of events buffered for one suspended state; with more the state is observed again.
_MAX_BUFFERED = 10_000


class Drift:
    """Compares events with the applied states; used by the kernel thread.

    The condition of a state decides what an event of it does:

    =============  ==============================  ==============================================================
    condition      begins with                     an event that differs from the desired entries
    =============  ==============================  ==============================================================
    being applied  begin                           nothing: the work under way observes afterwards (but lost events
                                                   schedule a repair of every state)
    applied        record_applied, record_change   drops the snapshot and schedules a repair
    in change      begin_change                    the same, compared with the new state
    watched        watch                           schedules a repair; there is no snapshot
    =============  ==============================  ==============================================================

    A repair begins when no request for the state is under way. While a part of the work on a state runs in the second
    thread (``buffer_events``), events are kept as well, and compared once the state is applied.

    :param repairs_drift: compare events; without it only requests observe.
    :param reports_all: True if the backends report the changes in all namespaces; else there are no snapshots.
    :ivar applied: the applied states.
    :ivar repairs: the schedule of the repairs.
    """

    def __init__(
        self, backends: Backends, driver: InterfaceDriver, *, repairs_drift: bool = True, reports_all: bool = True
    ) -> None:
        self._backends = backends
        self._repairs_drift = repairs_drift
        self._has_snapshots = repairs_drift and reports_all
        self.applied = AppliedStates(lambda key, state: entries(key, state, driver))
        self.repairs = Repairs()
        self._lost = 0
        #: Events received while the work on a state is suspended; compared with the state once it is applied.
        self._buffered: dict[Key, list[Notice]] = {}

    @property
    def indexes(self) -> Mapping[str, int] | None:
        """Indexes of links in the host namespace by name, from events; None where events are not compared."""
        return self.applied.node.indexes if self._repairs_drift else None

    def snapshot(self, key: Key) -> Snapshot | None:
        """Return the snapshot of a state, None if the state has to be observed.

        All events up to now were read, and none of them affects the state. As events do not report defects of our own,
        a snapshot expires.
        """
        self.read_events()
        snapshot = self.applied.snapshot(key)
        if snapshot is None or snapshot.when < time.monotonic() - _MAX_SNAPSHOT_AGE_S:
            return None
        assert snapshot.seen.handle is not None
        return snapshot if snapshot.seen.handle.generation() == snapshot.generation else None

    def begin(self, key: Key, state: State | None) -> None:
        """Record that a state is about to be applied, or removed."""
        self.applied.begin(key, state)
        self.repairs.clear(key)
        if state is None:
            self.repairs.forget(key)

    def record_applied(
        self, key: Key, state: State | None, desired: frozenset[Entry], seen: Observed, plans: Sequence[Plan]
    ) -> None:
        """Record that plans applied or removed a state; read the events of the meantime."""
        if state is not None:
            self.applied.record_applied(key, state, desired, seen)
            self._record_snapshot(key, state, seen, time.monotonic())
        self.read_events(plans)
        self._replay(key, plans)

    def watch(self, key: Key, state: State, desired: frozenset[Entry], seen: Observed) -> None:
        """Record the location of a state that could not be applied: events from now on lead to an observation.

        Events of the attempt itself are read and ignored: the client retries.
        """
        self.read_events()
        self.applied.record_applied(key, state, desired, seen)

    def record_change(self, key: Key, state: State, snapshot: Snapshot) -> None:
        """Record that an in-place change of an applied state is done."""
        self._record_snapshot(key, state, snapshot.seen, snapshot.when)
        self._replay(key, ())

    def invalidate(self, keys: Iterable[Key] | None) -> None:
        """Make the next request for each of some states, or for all, observe the kernel."""
        for key in self.applied.keys() if keys is None else keys:
            self.applied.invalidate(key)

    def buffer_events(self, key: Key) -> None:
        """Buffer the events from now on, the pending ones included, until the state of a key is applied.

        The work under way may have read the entries that a pending event concerns, from a snapshot for example.
        """
        if key not in self._buffered:
            self._buffered[key] = []
            self.read_events()

    def discard_events(self, key: Key) -> None:
        """Discard the buffered events of a key, and buffer no more."""
        self._buffered.pop(key, None)

    def read_events(self, plans: Sequence[Plan] = ()) -> None:
        """Read the pending events, and mark the states that they affect."""
        if not (notices := self._backends.events()):
            return
        notices = self._count_lost(notices)
        if not self._repairs_drift:
            deque(notices, maxlen=0)
            return
        if self._buffered:
            notices = list(notices)
            for buffer in self._buffered.values():
                buffer += notices
                if len(buffer) > _MAX_BUFFERED:
                    buffer[:] = [(None, AllChanged())]
        for key in self.applied.find_affected(notices, plans):
            self.mark(key)

    def mark(self, key: Key) -> None:
        """Schedule the observation and repair of a state, and drop its snapshot."""
        if self._repairs_drift:
            self.applied.invalidate(key)
            self.repairs.mark(key, time.monotonic())

    def next_due(self, busy: Container[Key] = ()) -> tuple[Key, State] | None:
        """Return the next state that is due for an observation, None if none is.

        :param busy: keys with a request under way; their marks stay until it has ended.
        """
        key = self.repairs.next_due(time.monotonic(), busy)
        state = None if key is None else self.applied.state(key)
        return None if key is None or state is None else (key, state)

    def stats(self) -> dict[str, int]:
        """Return counters since the start of the process, and the number of applied states."""
        return {
            "applied_states": len(self.applied.keys()),
            "observations": self.repairs.observations,
            "repairs": self.repairs.repaired,
            "lost_events": self._lost,
        }

    # ---- private ---------------------------------------------------------------------------------------------

    def _replay(self, key: Key, plans: Sequence[Plan]) -> None:
        """Compare the buffered events with the state that was applied."""
        if (buffer := self._buffered.pop(key, None)) and key in self.applied.find_affected(buffer, plans):
            self.mark(key)

    def _record_snapshot(self, key: Key, state: State, seen: Observed, when: float) -> None:
        """Record a snapshot. The generation is queried before the events of the meantime are read."""
        if not self._has_snapshots or seen.handle is None:
            return
        generation = seen.handle.generation()
        if generation is not None:
            seen.handle.cache.clear()
            self.applied.set_snapshot(key, Snapshot(state, seen.without_entries(), generation, when))

    def _count_lost(self, notices: Iterable[Notice]) -> Iterable[Notice]:
        for notice in notices:
            self._lost += isinstance(notice[1], AllChanged) and notice[1].are_lost
            yield notice
