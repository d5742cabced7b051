# SPDX-License-Identifier: Apache-2.0
"""Laws of events: those of the desired state affect no key, others affect the key of their entries."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface, ip_network
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from l3agent.dataplane.backend import Observed
from l3agent.dataplane.drift.applied import AppliedStates, Snapshot
from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.plan.diff import diff
from l3agent.dataplane.plan.drivers import load_driver
from l3agent.dataplane.plan.events import route_events
from l3agent.dataplane.plan.kinds.address import AddressEvent, DeviceAddress
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.bridge import Bridge, bridge_mac
from l3agent.dataplane.plan.kinds.connected_route import ConnectedRoute
from l3agent.dataplane.plan.kinds.link import Link, LinkEvent
from l3agent.dataplane.plan.kinds.observation import AllChanged, Notice, PinRemoved
from l3agent.dataplane.plan.kinds.route import KernelRoute, RouteEvent
from l3agent.dataplane.plan.kinds.table import RulesEvent
from l3agent.dataplane.plan.render import entries
from l3agent.model.names import namespace_name
from l3agent.model.states import Key, NamespaceState
from tests.support.strategies import router_states

DRIVER = load_driver("bridge")
NSID = 7


class AppliedRouter:
    """An applied router, and the events of the kernel about it."""

    def __init__(self, state: NamespaceState) -> None:
        self.key: Key = ("router", state.id)
        self.desired = entries(self.key, state, DRIVER)
        self.links = [one for one in self.desired if isinstance(one, Link)]
        self.devices = {link.device: index for index, link in enumerate(self.links, start=2)}
        self.taps = {link.tap: index for index, link in enumerate(self.links, start=100)}
        self.bridges = {one.name: index for index, one in enumerate(self.of(Bridge), start=200)}
        handle = cast(
            Any, SimpleNamespace(name=namespace_name(*self.key), cache=SimpleNamespace(nsid=NSID, has_ipv6=True))
        )
        seen = Observed(handle=handle, devices=self.devices, taps=self.taps, bridges=self.bridges)
        self.applied = AppliedStates(lambda key, state: entries(key, state, DRIVER))
        self.applied.begin(self.key, state)
        self.applied.record_applied(self.key, state, self.desired, seen)

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.desired if isinstance(one, kind)]

    def find_affected(self, *notices: Notice, plans: Any = ()) -> set[Key]:
        return self.applied.find_affected(notices, plans)

    def inner(self, link: Link, **other: Any) -> Notice:
        right = {"name": link.device, "mac": link.mac, "mtu": link.mtu, "up": True, "arp_and_multicast": True}
        return NSID, _link_event(self.devices[link.device], **(right | other))

    def outer(self, link: Link, **other: Any) -> Notice:
        right = {"name": link.tap, "mtu": link.mtu, "up": True, "master": self.bridges[link.bridge]}
        return None, _link_event(self.taps[link.tap], **(right | other))

    def all_as_desired(self) -> list[Notice]:
        addresses = [
            (NSID, AddressEvent(False, self.devices[one.device], one.interface)) for one in self.of(DeviceAddress)
        ]
        bridges = [(None, _link_event(index, name=name, up=True)) for name, index in self.bridges.items()]
        return [*addresses, *bridges, *map(self.inner, self.links), *map(self.outer, self.links)]


def _link_event(index: int, **attributes: Any) -> LinkEvent:
    (event,) = route_events(rtnl.set_link(index=index, **attributes))
    assert isinstance(event, LinkEvent)
    return event


applied_routers = router_states().map(AppliedRouter)


@given(applied_routers)
def test_events_of_the_desired_state_affect_no_key(router: AppliedRouter) -> None:
    assert router.find_affected(*router.all_as_desired()) == set()


@given(applied_routers, st.data())
def test_any_removal_affects_its_router(router: AppliedRouter, data: st.DataObject) -> None:
    goes: list[Notice] = [
        (None, PinRemoved(namespace_name(*router.key))),
        (NSID, RulesEvent()),
        (None, AllChanged()),
    ]
    for one in router.desired:
        goes += _removals(router, one)
    assert router.find_affected(data.draw(st.sampled_from(goes))) == {router.key}


def _removals(router: AppliedRouter, entry: Entry) -> list[Notice]:
    match entry:
        case DeviceAddress(device, interface):
            return [(NSID, AddressEvent(True, router.devices[device], interface))]
        case KernelRoute(destination, table=table):
            replaced = RouteEvent(False, destination, is_ours=False, table=table)
            return [*((NSID, RouteEvent(gone, destination, table=table)) for gone in (True, False)), (NSID, replaced)]
        case Bridge(name):
            index = router.bridges[name]
            down = _link_event(index, name=name, up=False)
            mac = bridge_mac(entry.network_id)
            unmarked = [_link_event(index, name=name, up=True, mac=mac, alias=alias) for alias in ("", "mine")]
            return [(None, LinkEvent(True, index, name, b"")), (None, down), *((None, one) for one in unmarked)]
        case ConnectedRoute(_, network):
            return [(NSID, RouteEvent(True, network, is_ours=False)), (NSID, RouteEvent(False, network, is_ours=False))]
        case Link() as link:
            wrong: list[dict[str, Any]] = [{"up": False}, {"mtu": 599}, {"name": "renamed"}]
            flags = {"arp_and_multicast": False}
            inside = [router.inner(link, **one) for one in [*wrong, {"mac": "02:00:00:00:00:01"}, flags]]
            outside = [router.outer(link, **one) for one in [*wrong, {"master": 4711}]]
            gone: list[Notice] = [
                (NSID, LinkEvent(True, router.devices[link.device], link.device, b"")),
                (None, LinkEvent(True, router.taps[link.tap], link.tap, b"")),
            ]
            if link.mtu is None:
                return [*gone, inside[0], outside[0]]
            return [*inside, *outside, *gone]
        case _:
            return []


@given(applied_routers)
def test_additions_to_our_devices_affect_their_router(router: AppliedRouter) -> None:
    stray = NSID, AddressEvent(False, next(iter(router.devices.values()), 0), ip_interface("198.51.100.77/32"))
    assert router.find_affected(stray) == ({router.key} if router.devices else set())
    assert router.find_affected((NSID, _link_event(99, name="qr-stray", up=True))) == {router.key}


@given(applied_routers)
def test_foreign_events_affect_no_key(router: AppliedRouter) -> None:
    elsewhere = [(NSID + 1, event) for number, event in router.all_as_desired() if number == NSID]
    foreign: list[Notice] = [
        (NSID, AddressEvent(False, 99, ip_interface("198.51.100.77/32"))),
        (NSID, _link_event(99, name="mine0", up=False)),
        (NSID, RouteEvent(False, ip_network("198.51.100.77/32"), is_ours=False)),
        (None, _link_event(99, name="mine1", up=False)),
        (None, PinRemoved("mine")),
        (NSID + 1, RulesEvent()),
        *elsewhere,
    ]
    assert router.find_affected(*foreign) == set()


@given(applied_routers)
def test_of_links_that_a_plan_touches_only_the_last_event_counts(router: AppliedRouter) -> None:
    plan = diff(router.desired, frozenset())
    born = [event for link in router.links for event in (router.inner(link, up=False), router.outer(link, up=False))]
    as_desired = router.all_as_desired()
    assert router.find_affected(*born, *as_desired, plans=[plan]) == set()
    assert router.find_affected(*as_desired, *born, plans=[plan]) == ({router.key} if born else set())


@given(applied_routers)
def test_events_of_an_affected_state_are_not_compared_again(router: AppliedRouter) -> None:
    class Counted:
        compared = 0

        def is_as_desired(self, _: object) -> bool:
            self.compared += 1
            return False

    event = Counted()
    assert router.find_affected(*[(NSID, event)] * 1000) == {router.key}
    assert event.compared == 1


@given(applied_routers)
def test_events_of_removed_states_affect_no_key(router: AppliedRouter) -> None:
    router.applied.begin(router.key, None)
    assert router.find_affected(*router.all_as_desired(), (NSID, RulesEvent()), (None, AllChanged())) == set()
    assert router.applied.keys() == []


@given(applied_routers, st.data())
def test_the_index_of_a_changed_bridge_is_dropped(router: AppliedRouter, data: st.DataObject) -> None:
    """The next port must not use a bridge that got another name, or went down."""
    if not router.bridges:
        return
    name, index = data.draw(st.sampled_from(sorted(router.bridges.items())))
    attributes = data.draw(st.sampled_from([{"name": "other0", "up": True}, {"name": name, "up": False}]))
    assert router.find_affected((None, _link_event(index, **attributes))) == {router.key}
    assert name not in router.applied.node.indexes


@given(applied_routers)
def test_a_state_has_no_snapshot_during_an_in_place_change(router: AppliedRouter) -> None:
    applied, key = router.applied, router.key
    state = applied.state(key)
    assert isinstance(state, NamespaceState)
    snapshot = Snapshot(state, Observed(), 1, 0.0)
    applied.set_snapshot(key, snapshot)
    assert applied.snapshot(key) is snapshot
    other = replace(state, snat=not state.snat)
    applied.begin_change(key, other)
    assert (applied.state(key), applied.snapshot(key)) == (other, None)
    applied.set_snapshot(key, replace(snapshot, state=other))
    assert applied.snapshot(key) == replace(snapshot, state=other)
