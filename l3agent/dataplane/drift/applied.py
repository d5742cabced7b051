# SPDX-License-Identifier: Apache-2.0
"""Index of applied states: maps a kernel event to the states it may invalidate. Pure: values in, keys out.

An event is compared with the desired entries: it agrees with them, or its key needs an observation. So what the kernel
does in consequence of our own changes (link states, IPv6 addresses) costs no observation.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from l3agent.dataplane.backend import Observed
from l3agent.dataplane.drift.last_desired import Entries, LastDesired
from l3agent.dataplane.drift.node_index import NodeIndex
from l3agent.dataplane.plan.kinds.base import NodeEntry, select
from l3agent.dataplane.plan.kinds.bridge import Bridge
from l3agent.dataplane.plan.kinds.link import Link, LinkEvent
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.observation import AllChanged, Event, Notice, PinRemoved
from l3agent.dataplane.plan.kinds.switch_port import PortEvent
from l3agent.dataplane.plan.order import NODE_KINDS
from l3agent.dataplane.plan.plan import Plan
from l3agent.model.names import ROUTER_KINDS
from l3agent.model.states import Key, NamespaceState, State


@dataclass(slots=True)
class _Location:
    """The location of a state in the kernel.

    :param namespace: name of its namespace; ``nsid`` is the id of that.
    :param devices: our devices inside, by index.
    :param outside: its entries in the host namespace, by name.
    :param has_ipv6: the namespace had IPv6 when it was observed.
    """

    state: State
    namespace: str | None = None
    nsid: int | None = None
    devices: dict[int, str] = field(default_factory=dict)
    outside: dict[str, NodeEntry] = field(default_factory=dict)
    has_ipv6: bool = True
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The kernel state of an applied state, which equals the desired one.

    :param seen: indexes of its devices; without entries, since they follow from the state.
    :param generation: of the rules in the namespace.
    :param when: monotonic seconds of the last observation.
    """

    state: State
    seen: Observed
    generation: int
    when: float


class AppliedStates:
    """The states that were applied, with where each of them is in the kernel.

    :param render: returns the desired entries of a state; called for rare events.
    """

    def __init__(self, render: Callable[[Key, State], Entries]) -> None:
        self._locations: dict[Key, _Location] = {}
        self._by_nsid: dict[int, Key] = {}
        self._by_pin: dict[str, Key] = {}
        self.node = NodeIndex()
        self._last = LastDesired(render)

    def keys(self) -> list[Key]:
        """Return the keys of all applied states."""
        return list(self._locations)

    def state(self, key: Key) -> State | None:
        """Return the state of a key."""
        location = self._locations.get(key)
        return None if location is None else location.state

    def watched_keys(self) -> list[Key]:
        """Return the keys of the states whose namespaces are known."""
        return [key for key, location in self._locations.items() if location.namespace is not None]

    def namespace(self, key: Key) -> str | None:
        """Return the name of the namespace of a state, None where it is not known."""
        location = self._locations.get(key)
        return None if location is None else location.namespace

    def links(self, key: Key) -> list[Link]:
        """Return the links of a state."""
        location = self._locations.get(key)
        return [] if location is None else select(location.outside.values(), Link)

    def desired(self, key: Key) -> Entries:
        """Return what the kernel should hold for a state."""
        return self._last.entries(key, self._locations[key].state)

    def neighbours(self, key: Key) -> frozenset[Hashable]:
        """Return the identities of the neighbours that the kernel should hold for a state."""
        return self._last.neighbours(key, self._locations[key].state)

    def snapshot(self, key: Key) -> Snapshot | None:
        """Return the snapshot of a state, None if there is none or its namespace has no nsid for events."""
        location = self._locations.get(key)
        return None if location is None or location.nsid is None else location.snapshot

    def set_snapshot(self, key: Key, snapshot: Snapshot) -> None:
        """Record the snapshot of an applied state, which has the same ports as before."""
        location = self._locations[key]
        location.state, location.snapshot = snapshot.state, snapshot

    def begin_change(self, key: Key, state: State) -> None:
        """Record that an in-place change has begun; the snapshot is invalid until it ends.

        The location stays, and events are compared with the new state.
        """
        location = self._locations[key]
        location.state, location.snapshot = state, None

    def invalidate(self, key: Key) -> None:
        """Drop the snapshot of a state: the next request for it observes the kernel."""
        location = self._locations.get(key)
        if location is not None:
            location.snapshot = None

    def find_conflict(self, key: Key, state: State, desired: Entries) -> tuple[str, Key] | None:
        """Return a device name that two objects would share, and the key of the state that has it.

        Names have the first 11 characters of the id of a port or network. Of two ports or networks with the same name
        only one can be served; a port that moved from one state to another has one id and does not conflict.
        """
        own: dict[str, str | None] = {}
        ports = _port_ids(state)
        for entry in (*select(desired, Link), *select(desired, Bridge)):
            name, identity = entry.node_device(), entry.object_id(ports)
            if own.setdefault(name, identity) != identity:
                return name, key
            # All others agree, since a conflicting state was rejected.
            other = next((one for one in self.node.users(name) if one != key), None)
            if other is not None:
                location = self._locations[other]
                if location.outside[name].object_id(_port_ids(location.state)) != identity:
                    return name, other
        return None

    def begin(self, key: Key, state: State | None) -> None:
        """Record that a state is about to be applied, or removed if None; no event affects it until it is applied."""
        self._forget(key)
        if state is not None:
            self._locations[key] = _Location(state)

    def record_applied(self, key: Key, state: State, desired: Entries, seen: Observed) -> None:
        """Record that a state was applied.

        :param seen: the last observation, with the indexes of devices created since.
        """
        self._forget(key)
        links = select(desired, Link)
        ours = {link.device for link in links}
        location = self._locations[key] = _Location(state)
        if seen.handle is not None:
            location.namespace, location.nsid = seen.handle.name, seen.handle.cache.nsid
            location.has_ipv6 = seen.handle.cache.has_ipv6
            location.devices = {index: name for name, index in seen.devices.items() if name in ours}
            self._by_pin[seen.handle.name] = key
            if location.nsid is not None:
                self._by_nsid[location.nsid] = key
        location.outside = {one.node_device(): one for kind in NODE_KINDS for one in select(desired, kind)}
        self.node.add(key, location.outside)
        for name, index in (*seen.bridges.items(), *seen.taps.items()):
            self.node.set_index(name, index)
        self._last.record(state, desired)

    def find_affected(self, notices: Iterable[Notice], plans: Iterable[Plan] = ()) -> set[Key]:
        """Return the keys whose kernel state may differ from the desired one after some events.

        :param plans: plans applied meanwhile: of the links that they touch only the last event counts.
        """
        touched = {name for plan in plans for name in _touched_links(plan)}
        last: dict[Hashable, Notice] = {}
        found: set[Key] = set()
        for number, event in notices:
            if isinstance(event, LinkEvent) and event.name in touched:
                last[number, event.name] = number, event
            elif number is None or self._by_nsid.get(number) not in found:
                # Another event of an affected state adds nothing, and there may be thousands.
                found.update(self._find_affected(number, event))
        for number, event in last.values():
            found.update(self._find_affected(number, event))
        return found

    # ---- private ---------------------------------------------------------------------------------------------

    def _forget(self, key: Key) -> None:
        location = self._locations.pop(key, None)
        if location is None:
            return
        if location.nsid is not None and self._by_nsid.get(location.nsid) == key:
            del self._by_nsid[location.nsid]
        if location.namespace is not None:
            del self._by_pin[location.namespace]
        self.node.remove(key, location.outside)

    def _find_affected(self, number: int | None, event: Event | PinRemoved | AllChanged) -> Iterable[Key]:
        match event:
            case AllChanged():
                return self.keys()
            case PinRemoved():
                return filter(None, (self._by_pin.get(event.name),))
            case LinkEvent() if number is None:
                return self._find_affected_outside(event)
            case PortEvent():
                return self._differing(self._users_of_port(event), event)
        key = None if number is None else self._by_nsid.get(number)
        return () if key is None else self._differing((key,), event)

    def _differing(self, keys: Iterable[Key], event: Event) -> list[Key]:
        """Return the keys whose states differ from an event."""
        return [key for key in keys if not event.is_as_desired(_AppliedState(self, key, self._locations[key]))]

    def _users_of_port(self, event: PortEvent) -> set[Key]:
        """Return the keys that have a port, and those of the router that it is marked with."""
        owner = event.owner
        marked = () if owner is None else ((kind, owner) for kind in ROUTER_KINDS)
        return {*self.node.users(event.name), *(key for key in marked if self.namespace(key) is not None)}

    def _find_affected_outside(self, event: LinkEvent) -> Iterator[Key]:
        """Yield the keys that use a link of this name, or of this index under another name, unless it is as desired.

        The index of a link that is not is removed: a state that needs it has to observe it.
        """
        users, node = self.node.users(event.name), self.node
        known = node.names.get(event.index)
        if known is not None and known != event.name:
            node.forget_index(known)
            yield from node.users(known)
        if not users:
            return
        entry = self._locations[next(iter(users))].outside[event.name]
        if entry.is_ovs_internal:
            # It belongs inside: Open vSwitch has created it anew.
            yield from () if event.is_removal else users
        elif event.is_removal or not node.is_as_desired(entry, event.info):
            node.forget_index(event.name)
            yield from users
        else:
            node.set_index(event.name, event.index)


@dataclass(frozen=True, slots=True)
class _AppliedState:
    """An applied state, for the comparison with an event inside its namespace."""

    states: AppliedStates
    key: Key
    location: _Location

    @property
    def devices(self) -> Mapping[int, str]:
        """Our devices inside, by index."""
        return self.location.devices

    @property
    def has_ipv6(self) -> bool:
        """True if the namespace had IPv6 when it was observed."""
        return self.location.has_ipv6

    def desired(self) -> Entries:
        """Return what the kernel should hold."""
        return self.states.desired(self.key)

    def neighbours(self) -> frozenset[Hashable]:
        """Return the identities of the desired neighbours."""
        return self.states.neighbours(self.key)


def _port_ids(state: State) -> dict[str, str]:
    """Return the ids of the ports of a state by device."""
    ports = state.all_ports() if isinstance(state, NamespaceState) else ()
    return {port.device: port.id for port in ports}


def _touched_links(plan: Plan) -> set[str]:
    """Return the names of links that a plan makes or changes."""
    names = {"lo"} if plan.of(Namespace) else set()
    names.update(one.entry.device for one in plan.of(Link))
    for kind in NODE_KINDS:
        names.update(one.entry.node_device() for one in plan.of(kind))
    return names
