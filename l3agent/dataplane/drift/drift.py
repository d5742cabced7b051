# SPDX-License-Identifier: Apache-2.0
"""What was served is kept as it was asked for: events say where to look, and nothing is looked at without reason."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from l3agent.dataplane.drift.applied import AppliedStates, Snapshot
from l3agent.dataplane.drift.repairs import Repairs
from l3agent.dataplane.kernel.listener import Listener, Lost, Notice
from l3agent.dataplane.netlink.route_events import route_events
from l3agent.dataplane.observe import Observed
from l3agent.dataplane.ovsdb.ports import News, Ports
from l3agent.dataplane.plan.diff import Plan
from l3agent.dataplane.plan.drivers import InterfaceDriver
from l3agent.dataplane.plan.entries import Entry, Link, Sysctl
from l3agent.dataplane.plan.render import HOST_SYSCTLS, ROUTER_SYSCTLS, entries
from l3agent.model.states import Key, Report, State

#: Seconds after which a state is looked at although no event says so, when it is asked for.
_LOOK_AGAIN_S = 600.0
#: Events that are kept for one suspended state; with more the state is read again.
_MOST_KEPT = 10_000


class Switch(Ports, Protocol):
    """Hears what happens to ports of Open vSwitch, see :class:`l3agent.dataplane.ovsdb.switch.Switch`."""

    @property
    def descriptor(self) -> int:
        """What becomes readable when there are news, or a change is done."""

    def news(self) -> News:
        """Return what happened since the last call."""


class Drift:
    """Knows the served states and which of them somebody else may have changed; used by the kernel thread.

    :param listener: hears what happens; with None nothing is heard, so nothing is looked at without being asked.
    """

    def __init__(self, listener: Listener | None, driver: InterfaceDriver, switch: Switch | None = None) -> None:
        self._listener = listener
        self._switch = switch
        self._applied = AppliedStates(lambda key, state: entries(key, state, driver))
        self._repairs = Repairs()
        self._lost = 0
        #: What happened while the work on a state is suspended; it is held against the state when that is applied.
        self._kept: dict[Key, list[Notice]] = {}
        self.descriptors = listener.descriptors if listener else []
        if switch is not None:
            self.descriptors = [*self.descriptors, switch.descriptor]

    @property
    def indexes(self) -> Mapping[str, int] | None:
        """Indexes of links in the switch namespace by name, as events tell them; None when none are heard."""
        return self._applied.indexes if self._listener else None

    def snapshot(self, key: Key) -> Snapshot | None:
        """Return what the kernel holds of a state without looking; None when only a look can tell.

        Everything that happened up to now was heard, and nothing of it concerns the state. As events cannot tell of
        defects of our own, each state is looked at now and then all the same.
        """
        self.read_events()
        snapshot = self._applied.snapshot(key)
        if snapshot is None or snapshot.when < time.monotonic() - _LOOK_AGAIN_S:
            return None
        assert snapshot.seen.handle is not None
        return snapshot if snapshot.seen.handle.generation() == snapshot.generation else None

    def begin(self, key: Key, state: State | None) -> None:
        """A state is going to be brought about, or removed."""
        self._applied.expect(key, state)
        self._repairs.unmark(key)
        if state is None:
            self._repairs.forget(key)

    def settled(
        self, key: Key, state: State | None, desired: frozenset[Entry], seen: Observed, plans: Sequence[Plan]
    ) -> None:
        """A state was brought about by plans, or removed; hear what happened meanwhile."""
        if state is not None:
            self._applied.stands(key, state, desired, seen)
            self._keep(key, state, seen, time.monotonic())
        self.read_events(plans)
        self._replay(key, plans)

    def watch(self, key: Key, state: State, desired: frozenset[Entry], seen: Observed) -> None:
        """Record where a state is that could not be brought about: what changes from now on is worth another look.

        What the attempt itself led to is read and ignored: who asked for it tries again.
        """
        self.read_events()
        self._applied.stands(key, state, desired, seen)

    def lead_on(self, key: Key, state: State) -> None:
        """A state that stands is going to be brought to another one of the same ports.

        Whatever stops that, an error or a defect, the next request has to look.
        """
        self._applied.lead_on(key, state)

    def doubt(self, key: Key) -> None:
        """A look found what no event told of: the next request has to look too."""
        self._applied.doubt(key)

    def invalidate(self, keys: Iterable[Key] | None) -> None:
        """Have the next request for each of some states, or for all, read the kernel."""
        for key in self._applied.keys() if keys is None else keys:
            self._applied.doubt(key)

    def changed(self, key: Key, state: State, snapshot: Snapshot) -> None:
        """A state that stood was brought to another one of the same ports."""
        self._keep(key, state, snapshot.seen, snapshot.when)
        self._replay(key, ())

    def state(self, key: Key) -> State | None:
        """Return the state that was last applied or is being applied under a key."""
        return self._applied.state(key)

    def find_conflict(self, key: Key, state: State, desired: frozenset[Entry]) -> tuple[str, Key] | None:
        """Return a device name that two objects would share, and the key of the state that has it."""
        return self._applied.find_conflict(key, state, desired)

    def keep_events(self, key: Key) -> None:
        """Keep the events that come from now on until the state of a key is applied.

        Those that came before concern what the work under way has read or will read.
        """
        if key not in self._kept:
            self.read_events()
            self._kept[key] = []

    def forget_events(self, key: Key) -> None:
        """Keep events for a key no more."""
        self._kept.pop(key, None)

    def read_events(self, plans: Sequence[Plan] = ()) -> None:
        """Read the events that came, and mark what they concern."""
        # The descriptor of the switch must be read even by those who do not want to know.
        news = News() if self._switch is None else self._switch.news()
        if self._listener is None:
            return
        notices: Iterable[Notice] = self._counted(self._listener.read())
        if self._kept:
            notices = list(notices)
            for kept in self._kept.values():
                kept += notices
                if len(kept) > _MOST_KEPT:
                    kept[:] = [(None, Lost())]
        concerned = self._applied.concerned(notices, plans)
        if self._switch is not None and (news.names or news.all):
            concerned |= self._applied.plugged(self._switch, news)
        for key in concerned:
            self.mark(key)

    def wait(self) -> float | None:
        """Return the seconds until something is due for a look, None when nothing is."""
        return self._repairs.wait(time.monotonic())

    def overdue(self) -> bool:
        """Tell whether something waits for so long that requests must wait for it."""
        return self._repairs.overdue(time.monotonic())

    def take(self) -> tuple[Key, State] | None:
        """Return what is due for a look, one at a time."""
        key = self._repairs.take(time.monotonic())
        state = None if key is None else self._applied.state(key)
        return None if key is None or state is None else (key, state)

    def done(self, key: Key, report: Report) -> None:
        """Record what a look led to."""
        self._repairs.done(key, report.operations, report.error, time.monotonic())

    def watched(self) -> list[Key]:
        """Return the keys of the states whose namespaces are known."""
        return self._applied.watched()

    def namespace(self, key: Key) -> str | None:
        """Return the name of the namespace of a state, None where it is not known."""
        return self._applied.namespace(key)

    @property
    def node_devices(self) -> Mapping[int, str]:
        """Names of the devices of watched states in the node's namespace, by index."""
        return self._applied.node_devices

    def check_device(self, message: bytes) -> bool:
        """Return True if a device of the node's namespace is as it should be; mark the states that own another one.

        :param message: what the kernel says of it (RTM_NEWLINK).
        """
        owners = self._applied.concerned((None, event) for event in route_events(message))
        for key in owners:
            self.mark(key)
        return not owners

    def links(self, key: Key) -> list[Link]:
        """Return the links of a watched state."""
        return self._applied.links(key)

    def desired(self, key: Key) -> frozenset[Entry]:
        """Return what the kernel should hold for a watched state."""
        return self._applied.desired(key)

    def sysctls(self, key: Key) -> frozenset[Sysctl]:
        """Return the settings that the namespace of a state should have."""
        return ROUTER_SYSCTLS if key[0] == "router" else HOST_SYSCTLS

    def mark(self, key: Key) -> None:
        """Have a state observed and repaired, and the next request for it read the kernel."""
        self._applied.doubt(key)
        self._repairs.mark(key, time.monotonic())

    def most_ports(self) -> int:
        """Return how many ports of ours the fullest bridge has."""
        return self._applied.most_ports()

    def uses(self, bridge: str) -> bool:
        """Tell whether something that stands has a port of this bridge."""
        return self._applied.uses(bridge)

    def stats(self) -> dict[str, int]:
        """Return counters since the start of the process, and how many states are served."""
        return {
            "served": len(self._applied.keys()),
            "looks": self._repairs.looks,
            "repairs": self._repairs.repaired,
            "lost_events": self._lost,
        }

    def _replay(self, key: Key, plans: Sequence[Plan]) -> None:
        """Hold the events that were kept against the state that was applied."""
        if (kept := self._kept.pop(key, None)) and key in self._applied.concerned(kept, plans):
            self.mark(key)

    def _keep(self, key: Key, state: State, seen: Observed, when: float) -> None:
        """Keep a snapshot. The generation is asked for before what happened meanwhile is heard."""
        if self._listener is None or not self._listener.hears_all or seen.handle is None:
            return
        generation = seen.handle.generation()
        if generation is not None:
            seen.handle.forget_reads()
            seen.entries = set()
            self._applied.keep(key, Snapshot(state, seen, generation, when))

    def _counted(self, notices: Iterable[Notice]) -> Iterable[Notice]:
        for notice in notices:
            self._lost += isinstance(notice[1], Lost)
            yield notice
