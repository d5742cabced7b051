# SPDX-License-Identifier: Apache-2.0
"""Index of applied states: maps a kernel event to the states it may invalidate. Pure: values in, keys out.

An event is held against what is wanted: what it tells is as it should be, or its key is worth a look. So what the
kernel does in consequence of our own changes (link states, IPv6 addresses) costs no look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Interface

from l3agent.dataplane.kernel.listener import Lost, Notice, PinGone
from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.netlink.route_events import (
    AddressEvent,
    Event,
    LinkEvent,
    RouteEvent,
)
from l3agent.dataplane.netlink.rtnl import LinkInfo
from l3agent.dataplane.observe import OURS, Observed
from l3agent.dataplane.ovsdb.ports import News, Ports, as_wanted
from l3agent.dataplane.plan.diff import Plan
from l3agent.dataplane.plan.encode import is_foreign, is_marked
from l3agent.dataplane.plan.entries import (
    Bridge,
    ConnectedRoute,
    DeviceAddress,
    Entry,
    KernelRoute,
    Link,
    Namespace,
    PhysicalPort,
    SwitchPort,
)
from l3agent.model.states import HostState, Key, RouterState, State

Entries = frozenset[Entry]


@dataclass(slots=True)
class _Place:
    """Where a state is.

    :param namespace: name of its namespace, and its number.
    :param devices: our devices inside, by index.
    :param outside: what it has in the switch namespace, by name.
    :param has_ipv6: the namespace had IPv6 when it was observed.
    """

    state: State
    namespace: str | None = None
    nsid: int | None = None
    devices: dict[int, str] = field(default_factory=dict)
    outside: dict[str, Link | Bridge | PhysicalPort] = field(default_factory=dict)
    has_ipv6: bool = True
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the kernel holds of a state that stands: what the state says.

    :param seen: where things are; without entries, for they follow from the state.
    :param generation: of the rules in the namespace.
    :param when: monotonic seconds of the last look.
    """

    state: State
    seen: Observed
    generation: int
    when: float


class AppliedStates:
    """The states that were applied, with where each of them is in the kernel.

    :param render: what the kernel should hold for a state; called for what seldom happens.
    """

    def __init__(self, render: Callable[[Key, State], Entries]) -> None:
        self._render = render
        self._places: dict[Key, _Place] = {}
        self._by_number: dict[int, Key] = {}
        self._by_pin: dict[str, Key] = {}
        #: Names in the switch namespace: who has them, and their indexes as far as they are known.
        self._users: dict[str, set[Key]] = {}
        #: How many of the links are ports of a bridge, by its name.
        self._plugged: Counter[str] = Counter()
        self.indexes: dict[str, int] = {}
        self._name: dict[int, str] = {}
        self._last: tuple[State, Entries] | None = None

    def keys(self) -> list[Key]:
        """Return the keys of all that is served."""
        return list(self._places)

    def most_ports(self) -> int:
        """Return how many ports of ours the fullest bridge has."""
        return max(self._plugged.values(), default=0)

    def uses(self, bridge: str) -> bool:
        """Tell whether something that stands has a port of this bridge."""
        return self._plugged[bridge] > 0

    def state(self, key: Key) -> State | None:
        """Return what was asked for under a key."""
        place = self._places.get(key)
        return None if place is None else place.state

    def watched(self) -> list[Key]:
        """Return the keys of the states whose namespaces are known."""
        return [key for key, place in self._places.items() if place.namespace is not None]

    def namespace(self, key: Key) -> str | None:
        """Return the name of the namespace of a state, None where it is not known."""
        place = self._places.get(key)
        return None if place is None else place.namespace

    @property
    def node_devices(self) -> Mapping[int, str]:
        """Names in the switch namespace by index, as far as the indexes are known."""
        return self._name

    def links(self, key: Key) -> list[Link]:
        """Return the links of a state."""
        place = self._places.get(key)
        return [] if place is None else [one for one in place.outside.values() if isinstance(one, Link)]

    def desired(self, key: Key) -> Entries:
        """Return what the kernel should hold for a state."""
        return self._desired(key, self._places[key])

    def snapshot(self, key: Key) -> Snapshot | None:
        """Return what is known of a state that stands and that events are told of."""
        place = self._places.get(key)
        return None if place is None or place.nsid is None else place.snapshot

    def keep(self, key: Key, snapshot: Snapshot) -> None:
        """Know from now on that a state stands as a snapshot says; its ports are those that it had."""
        place = self._places[key]
        place.state, place.snapshot = snapshot.state, snapshot

    def lead_on(self, key: Key, state: State) -> None:
        """A state that stands is going to be brought to another one of the same ports; until then only a look can tell.

        Where it is stays known, and what events tell is held against the new one.
        """
        place = self._places[key]
        place.state, place.snapshot = state, None

    def doubt(self, key: Key) -> None:
        """An event concerns a state: only a look can tell whether it still stands."""
        place = self._places.get(key)
        if place is not None:
            place.snapshot = None

    def find_conflict(self, key: Key, state: State, desired: Entries) -> tuple[str, Key] | None:
        """Return a device name that two objects would share, and the key of the state that has it.

        Names have the first 11 characters of the id of a port or network. Of two ports or networks with the same ones
        only one can be served; a port that moved from one state to another has one id, and is no rival of itself.
        """
        own: dict[str, str | None] = {}
        for entry in desired:
            if isinstance(entry, Link | Bridge):
                name, identity = _outer_name(entry), _full_id(state, entry)
                if own.setdefault(name, identity) != identity:
                    return name, key
                # All others agree, since a rival of theirs was rejected.
                other = next((one for one in self._users.get(name, ()) if one != key), None)
                if other is not None:
                    place = self._places[other]
                    if _full_id(place.state, place.outside[name]) != identity:
                        return name, other
        return None

    def expect(self, key: Key, state: State | None) -> None:
        """A state is wanted, or none any more; until it stands, no event concerns it."""
        self._forget(key)
        if state is not None:
            self._places[key] = _Place(state)

    def stands(self, key: Key, state: State, desired: Entries, seen: Observed) -> None:
        """A state was brought about.

        :param seen: as it was seen last, with the indexes of what was made since.
        """
        self._forget(key)
        ours = {entry.device for entry in desired if isinstance(entry, Link)}
        place = self._places[key] = _Place(state)
        if seen.handle is not None:
            place.namespace, place.nsid = seen.handle.name, seen.handle.nsid
            place.has_ipv6 = seen.handle.has_ipv6
            place.devices = {index: name for name, index in seen.devices.items() if name in ours}
            self._by_pin[seen.handle.name] = key
            if place.nsid is not None:
                self._by_number[place.nsid] = key
        for entry in desired:
            if isinstance(entry, Link | Bridge | PhysicalPort):
                name = _outer_name(entry)
                place.outside[name] = entry
                self._users.setdefault(name, set()).add(key)
        self._plugged.update(_ports(place))
        for name, index in (*seen.bridges.items(), *seen.taps.items()):
            self._note(name, index)
        self._last = state, desired

    def concerned(self, notices: Iterable[Notice], plans: Iterable[Plan] = ()) -> set[Key]:
        """Return the keys that events concern and that may not be as they should.

        :param plans: what was carried out meanwhile: of what they touched only the last word counts.
        """
        touched = {name for plan in plans for name in _touched(plan)}
        last: dict[Hashable, Notice] = {}
        found: set[Key] = set()
        for number, event in notices:
            if isinstance(event, LinkEvent) and event.name in touched:
                last[number, event.name] = number, event
            else:
                found.update(self._concerned(number, event))
        for number, event in last.values():
            found.update(self._concerned(number, event))
        return found

    def plugged(self, ports: Ports, news: News) -> set[Key]:
        """Return the keys whose ports of Open vSwitch may not be as they should."""
        if news.all:
            return set(self._places)
        users = ((name, key) for name in news.names for key in self._users.get(name, ()))
        return {key for name, key in users if not self._is_plugged_right(ports, name, key)}

    # ---- private ---------------------------------------------------------------------------------------------

    def _is_plugged_right(self, ports: Ports, name: str, key: Key) -> bool:
        desired = self._desired(key, self._places[key])
        wanted = next((one for one in desired if isinstance(one, SwitchPort) and one.name == name), None)
        found = ports.port(name)
        if wanted is None or found is None:
            return wanted is None and found is None
        return as_wanted(found, wanted, True) == wanted

    def _forget(self, key: Key) -> None:
        place = self._places.pop(key, None)
        if place is None:
            return
        if place.nsid is not None and self._by_number.get(place.nsid) == key:
            del self._by_number[place.nsid]
        if place.namespace is not None:
            del self._by_pin[place.namespace]
        for bridge in _ports(place):
            self._plugged[bridge] -= 1
            if not self._plugged[bridge]:
                del self._plugged[bridge]
        for name in place.outside:
            self._users[name].discard(key)
            if not self._users[name]:
                del self._users[name]
                self._lose(name)

    def _concerned(self, number: int | None, event: Event | PinGone | Lost) -> Iterable[Key]:
        if isinstance(event, Lost):
            return self.keys()
        if isinstance(event, PinGone):
            return filter(None, (self._by_pin.get(event.name),))
        if number is None:
            return self._outside(event) if isinstance(event, LinkEvent) else ()
        key = self._by_number.get(number)
        return () if key is None or self._is_right_inside(key, self._places[key], event) else (key,)

    def _is_right_inside(self, key: Key, place: _Place, event: Event) -> bool:
        match event:
            case LinkEvent(gone, index):
                known = place.devices.get(index)
                return known is None if gone else self._is_right_link(key, place, event, known)
            case AddressEvent(gone, rtnl.LOOPBACK, IPv6Interface(ip=ip)) if ip.is_loopback:
                # The kernel takes ::1 away when IPv6 is disabled, and gives it back when it is enabled.
                return place.has_ipv6 != gone
            case AddressEvent(gone, index, interface):
                device = place.devices.get(index)
                return device is None or (DeviceAddress(device, interface) in self._desired(key, place)) != gone
            case RouteEvent(gone, destination, ours):
                # A foreign one beside ours is no harm; one that comes may have taken the place of ours. Default routes
                # are ours by their device, of which the event says nothing.
                return (
                    (gone or not ours)
                    and destination.prefixlen > 0
                    and not any(
                        (isinstance(entry, KernelRoute) and entry.destination == destination)
                        or (isinstance(entry, ConnectedRoute) and entry.network == destination)
                        for entry in self._desired(key, place)
                    )
                )
            case _:
                return False

    def _is_right_link(self, key: Key, place: _Place, event: LinkEvent, known: str | None) -> bool:
        if event.name == "lo":
            return event.info.up
        if known is None:
            return not event.name.startswith(OURS)
        wanted = (one for one in self._desired(key, place) if isinstance(one, Link) and one.device == known)
        link, info = next(wanted), event.info
        right = (info.name, info.mac, info.up, info.arp, info.multicast) == (known, link.mac, True, True, True)
        return right and link.mtu in (None, info.mtu)

    def _outside(self, event: LinkEvent) -> Iterator[Key]:
        """Yield who has a link of this name, or of this index under another name, unless it is as it should be.

        Of what is not, the index is forgotten: whoever wants to be plugged in there has to look.
        """
        users = self._users.get(event.name, ())
        known = self._name.get(event.index)
        if known is not None and known != event.name:
            self._lose(known)
            yield from self._users.get(known, ())
        if not users:
            return
        entry = self._places[next(iter(users))].outside[event.name]
        if isinstance(entry, Link) and entry.is_ovs_internal:
            # Its place is inside: the switch has made it anew.
            yield from () if event.gone else users
        elif event.gone or not self._is_right_outside(entry, event.info):
            self._lose(event.name)
            yield from users
        else:
            self._note(event.name, event.index)

    def _is_right_outside(self, entry: Link | Bridge | PhysicalPort, info: LinkInfo) -> bool:
        if self.indexes.get(info.name, info.index) != info.index:
            return False
        if isinstance(entry, Bridge):
            return info.up and (is_foreign(entry, info) or (info.is_isolated and is_marked(entry, info)))
        plugged = entry.bridge is None or info.master == self.indexes.get(entry.bridge)
        right = plugged and info.up
        return right and (isinstance(entry, PhysicalPort) or (entry.mtu in (None, info.mtu) and info.is_isolated))

    def _note(self, name: str, index: int) -> None:
        if name in self._users:
            self.indexes[name] = index
            self._name[index] = name

    def _lose(self, name: str) -> None:
        self._name.pop(self.indexes.pop(name, 0), None)

    def _desired(self, key: Key, place: _Place) -> Entries:
        if self._last is None or self._last[0] is not place.state:
            self._last = place.state, self._render(key, place.state)
        return self._last[1]


def _full_id(state: State, entry: Link | Bridge | PhysicalPort) -> str | None:
    """Return the id of the port or network whose device an entry is."""
    if isinstance(entry, Bridge | PhysicalPort):
        return entry.network_id
    ports = (
        state.all_ports() if isinstance(state, RouterState) else [state.port] if isinstance(state, HostState) else []
    )
    return next((port.id for port in ports if port.device == entry.device), None)


def _ports(place: _Place) -> list[str]:
    """Return the bridge of each link that is a port of one."""
    return [one.bridge for one in place.outside.values() if isinstance(one, Link) and one.bridge]


def _outer_name(entry: Link | Bridge | PhysicalPort) -> str:
    if isinstance(entry, Link):
        return entry.tap
    return entry.name if isinstance(entry, Bridge) else entry.interface


def _touched(plan: Plan) -> set[str]:
    """Return the names of links that a plan makes or changes."""
    names: set[str] = set()
    for operation in plan.of(Namespace, Link, Bridge, PhysicalPort):
        match operation.entry:
            case Namespace():
                names.add("lo")
            case Link(device=device, tap=tap):
                names |= {device, tap}
            case Bridge() | PhysicalPort() as entry:
                names.add(_outer_name(entry))
            case _:
                pass
    return names
