# SPDX-License-Identifier: Apache-2.0
"""Changes of a living router end where a fresh build ends, and flows that have nothing to do with them live."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

import pytest

from l3agent.model.states import NamespaceState, Port, Route
from l3agent.testing import wait_until
from tests.support.kernel import observed
from tests.support.processes import Dataplane, a_machine
from tests.support.states import (
    bridge,
    floating_ips,
    host,
    key,
    mac_of,
    namespace,
    new_id,
    only_port,
    port,
    route,
    router,
    tap,
)
from tests.support.traffic import Traffic
from tests.support.unbroken import nothing_lost

Change = Callable[["World"], NamespaceState]


class World:
    """A router with a blue and a red network and a gateway; a flow inside red's and one from red to the outside."""

    def __init__(self, machine: Dataplane) -> None:
        self.machine = machine
        self.blue = port(new_id(), "10.0.0.1/24", "2001:db8:1::1/64")
        self.red = port(new_id(), "10.0.1.1/24", "2001:db8:2::1/64")
        self.gateway = port(new_id(), "203.0.113.10/24", "2001:db8:ffff::10/64", gateway=True)
        self.routes = [
            route("0.0.0.0/0", (self.gateway, "203.0.113.1")),
            route("::/0", (self.gateway, "2001:db8:ffff::1")),
            route("172.30.0.0/24", (self.blue, "10.0.0.7"), (self.red, "10.0.1.7")),
            route("2001:db8:30::/48", (self.blue, "2001:db8:1::7"), (self.blue, "2001:db8:1::8")),
        ]
        self.fips = {"203.0.113.100": "10.0.0.5", "203.0.113.101": "10.0.1.5"}
        self.state = router(self.blue, self.red, gateway=self.gateway, routes=self.routes, fips=self.fips)

    def apply_until_unchanged(self, *states: NamespaceState) -> None:
        reports = self.machine.reconcile(*((key(state), state) for state in states))
        assert [report.error for report in reports] == [None] * len(states)

    def with_blue(self, **changes: Any) -> NamespaceState:
        return replace(self.state, ports=frozenset({replace(self.blue, **changes), self.red}))


def another_mac(world: World) -> NamespaceState:
    return world.with_blue(mac="fa:16:3e:aa:bb:cc")


def a_smaller_mtu(world: World) -> NamespaceState:
    return world.with_blue(mtu=1400)


def a_larger_mtu(world: World) -> NamespaceState:
    return world.with_blue(mtu=9000)


def mac_and_mtu_of_the_gateway(world: World) -> NamespaceState:
    return replace(world.state, gateway=replace(world.gateway, mac="fa:16:3e:aa:bb:cc", mtu=1450))


def longer_prefixes(world: World) -> NamespaceState:
    return world.with_blue(addresses=frozenset(map(ip_interface, ("10.0.0.1/25", "2001:db8:1::1/80"))))


def shorter_prefixes(world: World) -> NamespaceState:
    return world.with_blue(addresses=frozenset(map(ip_interface, ("10.0.0.1/23", "2001:db8:1::1/48"))))


def other_addresses_of_the_same_subnets(world: World) -> NamespaceState:
    return world.with_blue(addresses=frozenset(map(ip_interface, ("10.0.0.254/24", "2001:db8:1::fe/64"))))


def more_addresses(world: World) -> NamespaceState:
    more = map(ip_interface, ("10.0.0.2/24", "10.0.9.1/24", "2001:db8:9::1/64"))
    return world.with_blue(addresses=world.blue.addresses | frozenset(more))


def another_network(world: World) -> NamespaceState:
    return world.with_blue(network_id=new_id())


def the_port_is_gone(world: World) -> NamespaceState:
    routes = _without_device(world.routes, world.blue)
    return replace(
        world.state,
        ports=frozenset({world.red}),
        routes=routes,
        floating_ips=floating_ips({"203.0.113.101": "10.0.1.5"}),
    )


def a_port_more(world: World) -> NamespaceState:
    return replace(world.state, ports=world.state.ports | {port(new_id(), "10.0.2.1/24", "2001:db8:3::1/64")})


def routes_come_change_and_go(world: World) -> NamespaceState:
    routes = [
        route("0.0.0.0/0", (world.gateway, "203.0.113.2")),
        route("::/0", (world.gateway, "2001:db8:ffff::1"), (world.gateway, "2001:db8:ffff::2")),
        route("172.30.0.0/24", (world.red, "10.0.1.7")),
        route("172.31.0.0/24", (world.blue, "10.0.0.7"), (world.blue, "10.0.0.8")),
        route("198.51.100.0/24", (world.gateway, None)),
        route("2001:db8:31::/48", (world.red, "2001:db8:2::7")),
    ]
    return replace(world.state, routes=frozenset(routes))


def no_ipv4_address_under_an_ipv4_route(world: World) -> NamespaceState:
    """With the last IPv4 address of a device the kernel removes all IPv4 routes of it, desired ones too."""
    on_link = route("198.51.100.0/24", (world.blue, None))
    routes = _without_device(world.routes, world.blue) | {on_link}
    only_ipv6 = world.with_blue(addresses=frozenset({ip_interface("2001:db8:1::1/64")}))
    return replace(only_ipv6, routes=frozenset(routes), floating_ips=floating_ips({"203.0.113.101": "10.0.1.5"}))


def no_gateway(world: World) -> NamespaceState:
    return replace(
        world.state,
        gateway=None,
        routes=_without_device(world.routes, world.gateway),
        floating_ips=frozenset(),
        nat_address=None,
        snat=False,
    )


def another_gateway_port_on_another_network(world: World) -> NamespaceState:
    gateway = port(new_id(), "203.0.113.77/24", "2001:db8:ffff::77/64", gateway=True)
    routes = [
        route("0.0.0.0/0", (gateway, "203.0.113.1")),
        route("::/0", (gateway, "2001:db8:ffff::1")),
        *_without_device(world.routes, world.gateway),
    ]
    (nat,) = {one.ip for one in gateway.addresses if one.version == 4}
    return replace(world.state, gateway=gateway, routes=frozenset(routes), nat_address=nat)


def another_gateway_address(world: World) -> NamespaceState:
    addresses = frozenset(map(ip_interface, ("203.0.113.99/24", "2001:db8:ffff::99/64")))
    return replace(
        world.state, gateway=replace(world.gateway, addresses=addresses), nat_address=ip_interface("203.0.113.99").ip
    )


def no_snat(world: World) -> NamespaceState:
    return replace(world.state, snat=False)


def other_floating_ips(world: World) -> NamespaceState:
    return replace(world.state, floating_ips=floating_ips({"203.0.113.100": "10.0.1.5", "203.0.113.150": "10.0.0.9"}))


def _without_device(routes: list[Route], gone: Port) -> frozenset[Route]:
    left = (replace(one, hops=frozenset(hop for hop in one.hops if hop.device != gone.device)) for one in routes)
    return frozenset(one for one in left if one.hops)


CHANGES: list[Change] = [
    another_mac,
    a_smaller_mtu,
    a_larger_mtu,
    mac_and_mtu_of_the_gateway,
    longer_prefixes,
    shorter_prefixes,
    other_addresses_of_the_same_subnets,
    more_addresses,
    another_network,
    the_port_is_gone,
    a_port_more,
    routes_come_change_and_go,
    no_ipv4_address_under_an_ipv4_route,
    no_gateway,
    another_gateway_port_on_another_network,
    another_gateway_address,
    no_snat,
    other_floating_ips,
]


def meaning(machine: Dataplane, state: NamespaceState) -> dict[str, Any]:
    """Return all that a router is: what ``observed`` reads, and where its ports are plugged in and how."""
    outside = {link["ifname"]: link for link in machine.sandbox.json("ip -j link")}
    taps = {
        one.device: [outside[tap(one)]["master"], outside[tap(one)]["mtu"]]
        + ["UP" in outside[device]["flags"] for device in (tap(one), bridge(one.network_id))]
        for one in state.all_ports()
    }
    flags = {
        (link["ifname"], info["local"]): (info.get("broadcast"), info["scope"], info.get("dynamic"))
        for link in machine.sandbox.json("ip -j addr", netns=namespace(state))
        for info in link["addr_info"]
    }
    (table,) = machine.sandbox.json("nft -j list tables ip", netns=namespace(state))["nftables"][1:]
    of_the_table = table["table"].get("flags")
    facts = dataclasses.asdict(observed(machine.sandbox, namespace(state)))
    return {**facts, "taps": taps, "flags": flags, "table": of_the_table}


def fresh(machine: Dataplane, state: NamespaceState) -> dict[str, Any]:
    """Build a state from nothing, look at it, and take it away."""
    wait_until_removed(machine, state)
    (report,) = machine.reconcile((key(state), state))
    assert report.error is None
    found = meaning(machine, state)
    wait_until_removed(machine, state)
    return found


def wait_until_removed(machine: Dataplane, state: NamespaceState) -> None:
    (report,) = machine.reconcile((key(state), None))
    assert report.error is None


@pytest.fixture
def world(machine: Dataplane) -> Iterator[World]:
    world = World(machine)
    yield world
    wait_until_removed(machine, world.state)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.replace("_", "-"))
def test_a_change_and_its_way_back_end_like_a_fresh_build(machine: Dataplane, world: World, change: Change) -> None:
    changed = change(world)
    before, wanted = fresh(machine, world.state), fresh(machine, changed)
    world.apply_until_unchanged(world.state)
    for state, expected in ((changed, wanted), (world.state, before), (changed, wanted)):
        world.apply_until_unchanged(state)
        assert meaning(machine, state) == expected
        assert machine.reconcile((key(state), state))[0].operations == ()


@pytest.mark.parametrize(
    "change",
    [one for one in CHANGES if one not in (no_gateway, another_gateway_port_on_another_network)],
    ids=lambda change: change.__name__.replace("_", "-"),
)
def test_flows_that_have_nothing_to_do_with_a_change_survive_it(
    machine: Dataplane, world: World, change: Change
) -> None:
    to_red = {"0.0.0.0/0": "10.0.1.1"}
    vm, other = host(world.red.network_id, "10.0.1.6/24", routes=to_red), host(world.red.network_id, "10.0.1.8/24")
    far = host(world.red.network_id, "10.0.1.9/24", routes=to_red)
    outside = host(world.gateway.network_id, "203.0.113.1/24")
    world.apply_until_unchanged(world.state, vm, other, far, outside)
    with Traffic(machine.sandbox) as traffic:
        traffic.listen(outside)
        flow = traffic.connect(vm, "203.0.113.1")
        assert flow.seen == "203.0.113.10"
        if change in (another_gateway_address, no_snat):
            return
        with nothing_lost(machine.sandbox, [outside, far], [(vm, "203.0.113.1"), (vm, "10.0.1.9")]):
            world.apply_until_unchanged(change(world))
        assert traffic.alive(flow)
    machine.reconcile(*((key(one), None) for one in (vm, other, far, outside)))


# ---- hosts --------------------------------------------------------------------------------------------------------


def test_a_host_with_another_port_is_plugged_in_anew(machine: Dataplane) -> None:
    first = host(new_id(), "10.0.0.5/24", "2001:db8:1::5/64", routes={"0.0.0.0/0": "10.0.0.1", "::/0": "2001:db8:1::1"})
    new_port = new_id()
    moved_port = replace(only_port(first), id=new_port, network_id=new_id(), mac=mac_of(new_port))
    moved = replace(first, ports=frozenset({moved_port}))
    for state in (first, moved, first):
        (report,) = machine.reconcile((key(state), state))
        assert report.error is None
        (again,) = machine.reconcile((key(state), state))
        assert again.operations == ()
        (inner,) = (
            link for link in machine.sandbox.json("ip -j addr", netns=namespace(state)) if link["ifname"] == "eth0"
        )
        assert inner["address"] == only_port(state).mac
        assert {"10.0.0.5", "2001:db8:1::5"} <= {info["local"] for info in inner["addr_info"]}
        (outer,) = machine.sandbox.json(f"ip -j link show dev {tap(only_port(state))}")
        assert outer["master"] == bridge(only_port(state).network_id)
        assert "10.0.0.1" in machine.sandbox.run(["ip", "route", "show", "default"], netns=namespace(state))
    machine.reconcile((key(first), None))


# ---- removal ------------------------------------------------------------------------------------------------------


def leftovers(machine: Dataplane, state: NamespaceState) -> list[str]:
    names = {tap(one) for one in state.all_ports()} | {bridge(one.network_id) for one in state.all_ports()}
    found = [link["ifname"] for link in machine.sandbox.json("ip -j link") if link["ifname"] in names]
    return found + [one for one in machine.sandbox.namespaces() if one == namespace(state)]


def test_the_taps_and_unused_bridges_of_a_removed_router_are_deleted(machine: Dataplane) -> None:
    world = World(machine)
    other = router(port(world.blue.network_id, "10.0.0.2/24"))
    world.apply_until_unchanged(world.state, other)
    wait_until_removed(machine, world.state)
    assert namespace(world.state) not in machine.sandbox.namespaces()
    wait_until(lambda: leftovers(machine, world.state) == [bridge(world.blue.network_id)], timeout=10)
    wait_until_removed(machine, other)
    wait_until(lambda: leftovers(machine, world.state) == [], timeout=10)


def links(machine: Dataplane) -> set[str]:
    return {one["ifname"] for one in machine.sandbox.json("ip -j link show")}


@pytest.fixture(scope="module")
def unrepaired() -> Iterator[Dataplane]:
    with a_machine(repair_drift=False) as machine:
        yield machine


def test_the_bridges_of_many_that_go_at_once_go_too(machine: Dataplane) -> None:
    hosts = [host(new_id(), "10.0.0.5/24") for _ in range(40)]
    for wanted in (True, False):
        reports = machine.reconcile(*((key(one), one if wanted else None) for one in hosts))
        assert [report.error for report in reports] == [None] * len(hosts)
    names = {bridge(only_port(one).network_id) for one in hosts}
    wait_until(lambda: not names & links(machine), timeout=20)


@pytest.mark.parametrize("command", ["ip netns delete NS", "ip link set TAP nomaster", "ip link delete TAP"])
def test_a_bridge_whose_port_another_program_removed_is_deleted(unrepaired: Dataplane, command: str) -> None:
    state = router(inner := port(new_id(), "10.0.0.1/24"))
    (report,) = unrepaired.reconcile((key(state), state))
    assert report.error is None
    unrepaired.sandbox.run(command.replace("NS", namespace(state)).replace("TAP", tap(inner)).split())
    wait_until_removed(unrepaired, state)
    name = bridge(inner.network_id)
    wait_until(lambda: name not in links(unrepaired), timeout=20)


def test_a_router_is_removed_with_a_process_inside_its_namespace(machine: Dataplane) -> None:
    """An operator's shell keeps the namespace alive; its devices must not stay in the tenants' networks."""
    world = World(machine)
    world.apply_until_unchanged(world.state)
    shell = machine.sandbox.popen(["cat"], netns=namespace(world.state), stdin=-1, stdout=-1)
    shell.entrance.stdin.write(b"in\n")
    shell.entrance.stdin.flush()
    assert shell.entrance.stdout.readline() == b"in\n"
    wait_until_removed(machine, world.state)
    try:
        wait_until(lambda: leftovers(machine, world.state) == [], timeout=10)
    finally:
        shell.entrance.communicate()


def test_a_router_that_is_removed_is_there_again_at_once(machine: Dataplane) -> None:
    world = World(machine)
    world.apply_until_unchanged(world.state)
    wanted = meaning(machine, world.state)
    for _ in range(10):
        reports = machine.reconcile((key(world.state), None), (key(world.state), world.state))
        assert [report.error for report in reports] == [None, None]
        assert meaning(machine, world.state) == wanted
    wait_until_removed(machine, world.state)


def test_what_does_not_exist_is_removed_without_a_word(machine: Dataplane) -> None:
    keys: list[Any] = [("router", new_id()), ("host", "nobody"), ("network", new_id())]
    reports = machine.reconcile(*((one, None) for one in keys))
    assert [(report.error, report.operations) for report in reports] == [(None, ())] * 3


def test_a_plain_file_in_the_place_of_a_namespace_is_healed(machine: Dataplane) -> None:
    world = World(machine)
    machine.sandbox.run(["touch", f"/run/netns/{namespace(world.state)}"])
    world.apply_until_unchanged(world.state)
    assert meaning(machine, world.state)["dnat"] == world.fips
    wait_until_removed(machine, world.state)
    machine.sandbox.run(["touch", f"/run/netns/{namespace(world.state)}"])
    wait_until_removed(machine, world.state)
    assert namespace(world.state) not in machine.sandbox.namespaces()
