# SPDX-License-Identifier: Apache-2.0
"""Detects drift of applied states: events select the states to observe, and nothing else is observed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from l3agent.dataplane.drift.applied import AppliedStates, Snapshot
from l3agent.dataplane.drift.repairs import Repairs
from l3agent.dataplane.kernel.listener import EventsLost, Listener, Notice
from l3agent.dataplane.observe import Observed
from l3agent.dataplane.ovsdb.ports import Changes, Ports
from l3agent.dataplane.plan.drivers import InterfaceDriver
from l3agent.dataplane.plan.events import route_events
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.dataplane.plan.plan import Plan
from l3agent.dataplane.plan.render import SYSCTLS, entries
from l3agent.model.states import Key, Report, State

#: Maximum age of a snapshot in seconds; an older one is not used, even without an event.
_MAX_SNAPSHOT_AGE_S = 600.0
#: Maximum number of events buffered for one suspended state; with more the state is observed again.
_MAX_BUFFERED = 10_000


class PortMonitor(Ports, Protocol):
    """Reports changes of ports of Open vSwitch, see :class:`l3agent.dataplane.ovsdb.thread.OvsdbThread`."""

    @property
    def descriptor(self) -> int:
        """Descriptor that becomes readable when ports changed, or a transaction is done."""

    def read_changes(self) -> Changes:
        """Return the changes since the last call."""


class Drift:
    """Keeps the applied states and the keys that another program may have changed; used by the kernel thread.

    :param listener: receives events; None disables drift detection, and only requests observe.
    """

    def __init__(self, listener: Listener | None, driver: InterfaceDriver, switch: PortMonitor | None = None) -> None:
        self._listener = listener
        self._switch = switch
        self._applied = AppliedStates(lambda key, state: entries(key, state, driver))
        self._repairs = Repairs()
        self._lost = 0
        #: Events received while the work on a state is suspended; compared with the state once it is applied.
        self._buffered: dict[Key, list[Notice]] = {}
        self.descriptors = listener.descriptors if listener else []
        if switch is not None:
            self.descriptors = [*self.descriptors, switch.descriptor]

    @property
    def indexes(self) -> Mapping[str, int] | None:
        """Indexes of links in the host namespace by name, from events; None without a listener."""
        return self._applied.node.indexes if self._listener else None

    def snapshot(self, key: Key) -> Snapshot | None:
        """Return the snapshot of a state, None if the state has to be observed.

        All events up to now were read, and none of them affects the state. As events do not report defects of our own,
        a snapshot expires.
        """
        self.read_events()
        snapshot = self._applied.snapshot(key)
        if snapshot is None or snapshot.when < time.monotonic() - _MAX_SNAPSHOT_AGE_S:
            return None
        assert snapshot.seen.handle is not None
        return snapshot if snapshot.seen.handle.generation() == snapshot.generation else None

    def begin(self, key: Key, state: State | None) -> None:
        """Record that a state is about to be applied, or removed."""
        self._applied.begin(key, state)
        self._repairs.clear(key)
        if state is None:
            self._repairs.forget(key)

    def record_applied(
        self, key: Key, state: State | None, desired: frozenset[Entry], seen: Observed, plans: Sequence[Plan]
    ) -> None:
        """Record that plans applied or removed a state; read the events of the meantime."""
        if state is not None:
            self._applied.record_applied(key, state, desired, seen)
            self._record_snapshot(key, state, seen, time.monotonic())
        self.read_events(plans)
        self._replay(key, plans)

    def watch(self, key: Key, state: State, desired: frozenset[Entry], seen: Observed) -> None:
        """Record the location of a state that could not be applied: events from now on lead to an observation.

        Events of the attempt itself are read and ignored: the client retries.
        """
        self.read_events()
        self._applied.record_applied(key, state, desired, seen)

    def begin_change(self, key: Key, state: State) -> None:
        """Record that an in-place change of an applied state has begun.

        If an error or a defect stops it, the next request observes the kernel.
        """
        self._applied.begin_change(key, state)

    def invalidate(self, keys: Iterable[Key] | None) -> None:
        """Make the next request for each of some states, or for all, observe the kernel."""
        for key in self._applied.keys() if keys is None else keys:
            self._applied.invalidate(key)

    def record_change(self, key: Key, state: State, snapshot: Snapshot) -> None:
        """Record that an in-place change of an applied state is done."""
        self._record_snapshot(key, state, snapshot.seen, snapshot.when)
        self._replay(key, ())

    def state(self, key: Key) -> State | None:
        """Return the state that was last applied or is being applied under a key."""
        return self._applied.state(key)

    def find_conflict(self, key: Key, state: State, desired: frozenset[Entry]) -> tuple[str, Key] | None:
        """Return a device name that two objects would share, and the key of the state that has it."""
        return self._applied.find_conflict(key, state, desired)

    def buffer_events(self, key: Key) -> None:
        """Buffer the events from now on until the state of a key is applied.

        Earlier events concern entries that the work under way has read or will read.
        """
        if key not in self._buffered:
            self.read_events()
            self._buffered[key] = []

    def discard_events(self, key: Key) -> None:
        """Discard the buffered events of a key, and buffer no more."""
        self._buffered.pop(key, None)

    def read_events(self, plans: Sequence[Plan] = ()) -> None:
        """Read the pending events, and mark the states that they affect."""
        # The descriptor of the switch must be read even without a listener.
        changes = Changes() if self._switch is None else self._switch.read_changes()
        if self._listener is None:
            return
        notices: Iterable[Notice] = self._count_lost(self._listener.read())
        if self._buffered:
            notices = list(notices)
            for buffer in self._buffered.values():
                buffer += notices
                if len(buffer) > _MAX_BUFFERED:
                    buffer[:] = [(None, EventsLost())]
        affected = self._applied.find_affected(notices, plans)
        if self._switch is not None and (changes.names or changes.all):
            affected |= self._applied.find_affected_by_ports(self._switch, changes)
        for key in affected:
            self.mark(key)

    def wait(self) -> float | None:
        """Return the seconds until a state is due for an observation, None if none is marked."""
        return self._repairs.wait(time.monotonic())

    def is_overdue(self) -> bool:
        """Return True if a due observation has waited so long that requests must wait for it."""
        return self._repairs.is_overdue(time.monotonic())

    def next_due(self) -> tuple[Key, State] | None:
        """Return the next state that is due for an observation, None if none is."""
        key = self._repairs.next_due(time.monotonic())
        state = None if key is None else self._applied.state(key)
        return None if key is None or state is None else (key, state)

    def record_repair(self, key: Key, report: Report) -> None:
        """Record the result of an observation."""
        self._repairs.record_result(key, report.operations, report.error, time.monotonic())

    def watched_keys(self) -> list[Key]:
        """Return the keys of the states whose namespaces are known."""
        return self._applied.watched_keys()

    def namespace(self, key: Key) -> str | None:
        """Return the name of the namespace of a state, None where it is not known."""
        return self._applied.namespace(key)

    @property
    def node_devices(self) -> Mapping[int, str]:
        """Names of the devices of watched states in the host namespace, by index."""
        return self._applied.node.names

    def check_device(self, message: bytes) -> bool:
        """Return True if a device of the host namespace is as desired; else mark the states that own it.

        :param message: its RTM_NEWLINK message.
        """
        owners = self._applied.find_affected((None, event) for event in route_events(message))
        for key in owners:
            self.mark(key)
        return not owners

    def links(self, key: Key) -> list[Link]:
        """Return the links of a watched state."""
        return self._applied.links(key)

    def desired(self, key: Key) -> frozenset[Entry]:
        """Return the desired entries of a watched state."""
        return self._applied.desired(key)

    def sysctls(self, key: Key) -> frozenset[Sysctl]:
        """Return the settings that the namespace of a state should have."""
        return frozenset() if key[0] == "network" else SYSCTLS[key[0]]

    def mark(self, key: Key) -> None:
        """Schedule the observation and repair of a state, and drop its snapshot."""
        self._applied.invalidate(key)
        self._repairs.mark(key, time.monotonic())

    def max_ports(self) -> int:
        """Return the number of our ports of the fullest bridge."""
        return self._applied.node.max_ports()

    def uses_bridge(self, bridge: str) -> bool:
        """Return True if an applied state has a port of this bridge."""
        return self._applied.node.uses_bridge(bridge)

    def stats(self) -> dict[str, int]:
        """Return counters since the start of the process, and the number of applied states."""
        return {
            "applied_states": len(self._applied.keys()),
            "observations": self._repairs.observations,
            "repairs": self._repairs.repaired,
            "lost_events": self._lost,
        }

    def _replay(self, key: Key, plans: Sequence[Plan]) -> None:
        """Compare the buffered events with the state that was applied."""
        if (buffer := self._buffered.pop(key, None)) and key in self._applied.find_affected(buffer, plans):
            self.mark(key)

    def _record_snapshot(self, key: Key, state: State, seen: Observed, when: float) -> None:
        """Record a snapshot. The generation is queried before the events of the meantime are read."""
        if self._listener is None or not self._listener.receives_all or seen.handle is None:
            return
        generation = seen.handle.generation()
        if generation is not None:
            seen.handle.cache.clear()
            seen.entries = set()
            self._applied.set_snapshot(key, Snapshot(state, seen, generation, when))

    def _count_lost(self, notices: Iterable[Notice]) -> Iterable[Notice]:
        for notice in notices:
            self._lost += isinstance(notice[1], EventsLost)
            yield notice
