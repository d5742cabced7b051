# SPDX-License-Identifier: Apache-2.0
"""A refusal of one thing stops no other: what should go goes, its flows end, and what stays is translated.

IPv6 next hops are not refused for a route that goes in the same step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

import pytest

from l3agent.model.states import NamespaceState
from tests.support.flows import FIRST, OF_FIRST, SECOND, World, a_floating_ip_removed
from tests.support.kernel import observed
from tests.support.processes import Dataplane
from tests.support.states import bridge, key, namespace, new_id, port, route, router
from tests.support.traffic import Traffic

pytestmark = pytest.mark.kernel


def an_unreachable_next_hop(world: World) -> NamespaceState:
    return replace(world.router, routes=world.router.routes | {route("172.30.0.0/24", (world.blue, "192.0.2.1"))})


def a_port_on_what_is_no_bridge(world: World) -> NamespaceState:
    """Refuse the bridge port after the veth pair was created."""
    more = port(new_id(), "10.0.7.1/24")
    world.machine.sandbox.run(["ip", "link", "add", bridge(more.network_id), "up", "type", "veth"])
    return replace(world.router, ports=world.router.ports | {more})


def a_gateway_on_what_is_no_bridge(world: World) -> NamespaceState:
    more = port(new_id(), "203.0.113.10/24", gateway=True)
    world.machine.sandbox.run(["ip", "link", "add", bridge(more.network_id), "up", "type", "veth"])
    return replace(world.router, gateway=more, routes=frozenset({route("0.0.0.0/0", (more, "203.0.113.1"))}))


REFUSED: list[Callable[[World], NamespaceState]] = [
    an_unreachable_next_hop,
    a_port_on_what_is_no_bridge,
    a_gateway_on_what_is_no_bridge,
]


def links(machine: Dataplane, state: NamespaceState) -> dict[str, dict[str, Any]]:
    return {one["ifname"]: one for one in machine.sandbox.json("ip -j address", netns=namespace(state))}


def addresses(machine: Dataplane, state: NamespaceState) -> set[str]:
    return {info["local"] for link in links(machine, state).values() for info in link["addr_info"]}


@pytest.mark.feature("sync.isolation")
@pytest.mark.parametrize("refused", REFUSED, ids=lambda one: one.__name__.replace("_", "-"))
def test_what_should_go_goes_beside_a_refusal(machine: Dataplane, refused: Callable[[World], NamespaceState]) -> None:
    world = World(machine)
    wanted = replace(refused(world), floating_ips=a_floating_ip_removed(world).floating_ips)
    before = set(links(machine, world.router))
    with Traffic(machine.sandbox) as traffic:
        connections = world.connections(traffic)
        (report,) = machine.reconcile((key(wanted), wanted))
        assert report.error is not None
        assert not world.flows() & OF_FIRST
        assert FIRST not in addresses(machine, wanted)
        rules = machine.sandbox.run(["nft", "list", "table", "ip", "l3agent"], netns=namespace(wanted))
        assert FIRST not in rules and f"{SECOND} : 10.0.1.6" in rules
        if wanted.gateway == world.gateway:
            assert all(traffic.alive(one) for way, one in connections.items() if way not in OF_FIRST)
    # The same again is the same refusal. What was not plugged in carries nothing.
    for _ in range(2):
        assert {name for name, link in links(machine, wanted).items() if "UP" in link["flags"]} <= before
        assert machine.reconcile((key(wanted), wanted))[0].error is not None
    # Without it all is well.
    world.reconcile(world.router)
    assert observed(machine.sandbox, namespace(wanted)).dnat == {FIRST: "10.0.0.5", SECOND: "10.0.1.6"}
    machine.reconcile((key(wanted), None))


def test_an_ipv6_next_hop_may_be_one_that_another_route_led_to(machine: Dataplane) -> None:
    world = World(machine)
    inner = replace(world.blue, addresses=world.blue.addresses | {ip_interface("2001:db8:1::1/64")})
    to_it, over_it = (
        route("2001:db8:1::77/128", (inner, "2001:db8:1::5")),
        route("2001:db8:9::/64", (inner, "2001:db8:1::77")),
    )
    for routes in ({to_it}, {over_it}, {to_it, over_it}):
        state = replace(world.router, ports=frozenset({inner, world.red}), routes=world.router.routes | routes)
        world.reconcile(state)
        assert machine.reconcile((key(state), state), dry_run=True)[0].operations == ()
        found = {to for to, by, _ in observed(machine.sandbox, namespace(state)).routes if by == "agent"}
        assert found == {"0.0.0.0/0", *(str(one.destination) for one in routes)}


@pytest.mark.parametrize("hops", [["2001:db8:1::7"], ["2001:db8:1::7", "2001:db8:1::8"]], ids=["one", "several"])
def test_an_ipv6_route_without_the_flag_of_ours_is_as_good(machine: Dataplane, hops: list[str]) -> None:
    inner = port(new_id(), "2001:db8:1::1/64")
    state = router(inner, routes=[route("2001:db8:9::/64", *((inner, hop) for hop in hops))])
    assert machine.reconcile((key(state), state))[0].error is None
    ways = [word for hop in hops for word in ("nexthop", "via", hop, "dev", inner.device)]
    command = ["ip", "-6", "route", "replace", "2001:db8:9::/64", "protocol", "201", *ways]
    machine.sandbox.run(command, netns=namespace(state))
    assert "onlink" not in machine.sandbox.run(["ip", "-6", "route"], netns=namespace(state))
    assert machine.reconcile((key(state), state))[0].operations == ()
