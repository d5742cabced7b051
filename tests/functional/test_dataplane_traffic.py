# SPDX-License-Identifier: Apache-2.0
"""Real TCP through real routers: who reaches whom, and with which address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from l3agent.model.states import NetworkState
from tests.support.processes import Dataplane
from tests.support.states import bridge, host, key, namespace, new_id, port, route, router
from tests.support.traffic import Traffic
from tests.support.unbroken import nothing_lost

pytestmark = pytest.mark.usefixtures("same_node")

VM1, VM2, VM3 = "10.0.0.5", "10.0.0.6", "10.0.1.5"
FIP1, FIP3 = "203.0.113.100", "203.0.113.101"
OUTSIDE = "203.0.113.1"
SOURCES = [f"203.0.113.{n}" for n in range(200, 216)]
SOURCES6 = [f"2001:db8:ffff::{n:x}" for n in range(0x200, 0x210)]


class World:
    """An external network with an outside host; router 1 with two tenant networks, router 2 with the same addresses."""

    def __init__(self, machine: Dataplane) -> None:
        external, blue, red, green = (new_id() for _ in range(4))
        self.external = external
        inner = [port(blue, "10.0.0.1/24", "2001:db8:1::1/64"), port(red, "10.0.1.1/24")]
        gateway = port(external, "203.0.113.10/24", "2001:db8:ffff::10/64", gateway=True)
        routes = [
            route("0.0.0.0/0", (gateway, OUTSIDE)),
            route("::/0", (gateway, "2001:db8:ffff::1")),
            route("172.30.0.0/24", (inner[0], "10.0.0.7"), (inner[0], "10.0.0.8")),
            route("2001:db8:30::/48", (inner[0], "2001:db8:1::7"), (inner[0], "2001:db8:1::8")),
        ]
        self.router1 = router(*inner, gateway=gateway, routes=routes, fips={FIP1: VM1, FIP3: VM3})
        other = port(external, "203.0.113.20/24", gateway=True)
        self.router2 = router(
            port(green, "10.0.0.1/24"),
            gateway=other,
            routes=[route("0.0.0.0/0", (other, OUTSIDE))],
            fips={"203.0.113.120": VM1},
        )
        default, default6 = {"0.0.0.0/0": "10.0.0.1"}, {"::/0": "2001:db8:1::1"}
        self.vm1 = host(blue, f"{VM1}/24", "2001:db8:1::5/64", routes=default | default6)
        self.vm2 = host(blue, f"{VM2}/24", routes=default)
        self.vm3 = host(red, f"{VM3}/24", routes={"0.0.0.0/0": "10.0.1.1"})
        self.hops = [
            host(
                blue, f"10.0.0.{n}/24", f"2001:db8:1::{n}/64", "172.30.0.9/32", "2001:db8:30::9/128",
                routes=default | default6,
            )
            for n in (7, 8)
        ]  # fmt: skip
        self.same_as_vm1, self.same_as_vm2 = (host(green, f"{vm}/24", routes=default) for vm in (VM1, VM2))
        more = {"2001:db8:1::/64": "2001:db8:ffff::10", "2001:db8:30::/48": "2001:db8:ffff::10"}
        more |= {"172.30.0.0/24": "203.0.113.10", "10.3.0.0/24": "203.0.113.30", "198.51.100.0/24": None}
        self.outside = host(
            external, f"{OUTSIDE}/24", "192.0.2.1/32", "2001:db8:ffff::1/64",
            *(f"{one}/24" for one in SOURCES), *(f"{one}/64" for one in SOURCES6), routes=more,
        )  # fmt: skip
        self.everyone = [self.vm1, self.vm2, self.vm3, *self.hops, self.same_as_vm1, self.same_as_vm2, self.outside]
        states = [self.router1, self.router2, *self.everyone]
        reports = machine.reconcile(*((key(state), state) for state in states))
        assert [report.error for report in reports] == [None] * len(states)


@pytest.fixture(scope="module")
def world(machine: Dataplane) -> World:
    return World(machine)


@pytest.fixture(scope="module")
def traffic(machine: Dataplane, world: World) -> Iterator[Traffic]:
    with Traffic(machine.sandbox) as traffic:
        traffic.listen(*world.everyone)
        yield traffic


def test_the_outside_sees_the_gateway_address_of_a_machine_without_a_floating_ip(
    world: World, traffic: Traffic
) -> None:
    assert traffic.connect(world.vm2, OUTSIDE).seen == "203.0.113.10"
    assert traffic.connect(world.same_as_vm2, OUTSIDE).seen == "203.0.113.20"


def test_the_outside_sees_the_floating_ip_of_a_machine_that_has_one(world: World, traffic: Traffic) -> None:
    assert traffic.connect(world.vm1, OUTSIDE).seen == FIP1
    assert traffic.connect(world.vm3, OUTSIDE).seen == FIP3
    assert traffic.connect(world.same_as_vm1, OUTSIDE).seen == "203.0.113.120"


def test_a_floating_ip_leads_to_its_machine_which_sees_the_true_source(world: World, traffic: Traffic) -> None:
    for address, machine in ((FIP1, world.vm1), (FIP3, world.vm3), ("203.0.113.120", world.same_as_vm1)):
        connection = traffic.connect(world.outside, address)
        assert (connection.name, connection.seen) == (namespace(machine), OUTSIDE)


def test_between_the_networks_of_a_router_nothing_is_translated(world: World, traffic: Traffic) -> None:
    assert traffic.connect(world.vm1, VM3).seen == VM1
    assert traffic.connect(world.vm2, VM3).seen == VM2
    assert traffic.connect(world.vm3, VM2).seen == VM3


def test_a_machine_reaches_a_floating_ip_of_its_own_router(world: World, traffic: Traffic) -> None:
    from_one_with = traffic.connect(world.vm1, FIP3)
    assert (from_one_with.name, from_one_with.seen) == (namespace(world.vm3), FIP1)
    from_one_without = traffic.connect(world.vm2, FIP3)
    assert (from_one_without.name, from_one_without.seen) == (namespace(world.vm3), "203.0.113.10")


def test_a_machine_reaches_a_floating_ip_of_its_own_network_and_its_own(world: World, traffic: Traffic) -> None:
    """The answer would go straight back and be refused, were the source not the router's."""
    neighbour = traffic.connect(world.vm2, FIP1)
    assert (neighbour.name, neighbour.seen) == (namespace(world.vm1), "203.0.113.10")
    itself = traffic.connect(world.vm1, FIP1)
    assert (itself.name, itself.seen) == (namespace(world.vm1), FIP1)


def test_a_machine_reaches_a_floating_ip_of_another_router(world: World, traffic: Traffic) -> None:
    connection = traffic.connect(world.vm2, "203.0.113.120")
    assert (connection.name, connection.seen) == (namespace(world.same_as_vm1), "203.0.113.10")


def test_the_router_itself_reaches_a_floating_ip(world: World, traffic: Traffic) -> None:
    connection = traffic.connect(world.router1, FIP1)
    assert connection.name == namespace(world.vm1)


def test_tenants_with_the_same_addresses_do_not_meet(world: World, traffic: Traffic) -> None:
    assert traffic.connect(world.vm2, VM1).name == namespace(world.vm1)
    assert traffic.connect(world.same_as_vm2, VM1).name == namespace(world.same_as_vm1)
    assert not traffic.reaches(world.same_as_vm2, VM3)


def test_the_outside_reaches_no_machine_without_a_floating_ip(world: World, traffic: Traffic) -> None:
    assert not traffic.reaches(world.outside, "203.0.113.10")
    assert not traffic.reaches(world.outside, "203.0.113.102")


def test_ipv6_is_forwarded_untranslated_in_both_directions(world: World, traffic: Traffic) -> None:
    assert traffic.connect(world.vm1, "2001:db8:ffff::1").seen == "2001:db8:1::5"
    inward = traffic.connect(world.outside, "2001:db8:1::5", source="2001:db8:ffff::1")
    assert (inward.name, inward.seen) == (namespace(world.vm1), "2001:db8:ffff::1")


@pytest.mark.feature("router.routes")
@pytest.mark.parametrize(("target", "sources"), [("172.30.0.9", SOURCES), ("2001:db8:30::9", SOURCES6)])
def test_traffic_is_shared_among_several_next_hops(
    machine: Dataplane, world: World, traffic: Traffic, target: str, sources: list[str]
) -> None:
    """The kernel chooses by source and destination: with 16 sources all take one way once in 32768 runs at most."""
    # Where source NAT is on, no answer leaves with the IPv4 address of a tenant.
    apply_until_unchanged(machine, replace(world.router1, snat=False))
    used = {traffic.connect(world.outside, target, source=one).name for one in sources}
    apply_until_unchanged(machine, world.router1)
    assert used == {namespace(hop) for hop in world.hops}


def test_without_snat_the_outside_sees_the_machine_itself(machine: Dataplane, world: World, traffic: Traffic) -> None:
    network, gateway = new_id(), port(world.external, "203.0.113.30/24", gateway=True)
    state = router(
        port(network, "10.3.0.1/24"), gateway=gateway, routes=[route("0.0.0.0/0", (gateway, OUTSIDE))], snat=False
    )
    vm = host(network, "10.3.0.5/24", routes={"0.0.0.0/0": "10.3.0.1"})
    apply_until_unchanged(machine, state, vm)
    traffic.listen(vm)
    assert traffic.connect(vm, OUTSIDE).seen == "10.3.0.5"
    assert traffic.connect(world.outside, "10.3.0.5").seen == OUTSIDE


@pytest.mark.feature("router.off-subnet-gateway")
def test_a_gateway_outside_its_subnet_carries_traffic(machine: Dataplane, world: World, traffic: Traffic) -> None:
    network, gateway = new_id(), port(world.external, "198.51.100.10/24", gateway=True)
    state = router(
        port(network, "10.4.0.1/24"),
        gateway=gateway,
        routes=[route("192.0.2.1/32", (gateway, None)), route("0.0.0.0/0", (gateway, "192.0.2.1"))],
        fips={"198.51.100.100": "10.4.0.5"},
    )
    vm = host(network, "10.4.0.5/24", routes={"0.0.0.0/0": "10.4.0.1"})
    other = host(network, "10.4.0.6/24", routes={"0.0.0.0/0": "10.4.0.1"})
    apply_until_unchanged(machine, state, vm, other)
    traffic.listen(vm)
    assert traffic.connect(other, OUTSIDE).seen == "198.51.100.10"
    assert traffic.connect(vm, OUTSIDE).seen == "198.51.100.100"
    assert traffic.connect(world.outside, "198.51.100.100").name == namespace(vm)


def test_established_flows_survive_a_restart_of_the_data_plane(
    machine: Dataplane, world: World, traffic: Traffic
) -> None:
    flows = [traffic.connect(world.vm2, OUTSIDE), traffic.connect(world.outside, FIP1)]
    ways = [(world.vm2, OUTSIDE), (world.outside, FIP1), (world.vm2, VM3)]
    with nothing_lost(machine.sandbox, [world.outside, world.vm1, world.vm3], ways):
        machine.kill()
        assert all(map(traffic.alive, flows))
        machine.start()
        (report,) = machine.reconcile((key(world.router1), world.router1))
        assert report.operations == ()
        assert all(map(traffic.alive, flows))


# ---- a real card (one end of a veth pair stands for it) -----------------------------------------------------------


def test_a_physical_port_joins_the_network_and_leaves_it_when_the_network_is_removed(
    machine: Dataplane, traffic: Traffic
) -> None:
    sandbox = machine.sandbox
    machine.name_nics("card0")
    sandbox.run(["ip", "link", "add", "card0", "type", "veth", "peer", "name", "wire0"])
    sandbox.run(["ip", "netns", "add", "elsewhere"])
    sandbox.run(["ip", "link", "set", "wire0", "netns", "elsewhere"])
    for command in ("link set wire0 up", "address add 203.0.113.1/24 dev wire0"):
        sandbox.run(["ip", *command.split()], netns="elsewhere")
    network, tenant = new_id(), new_id()
    gateway = port(network, "203.0.113.10/24", gateway=True)
    state = router(port(tenant, "10.0.0.1/24"), gateway=gateway, fips={FIP1: "10.0.0.5"})
    vm = host(tenant, "10.0.0.5/24", routes={"0.0.0.0/0": "10.0.0.1"})
    wire: tuple[tuple[str, str], NetworkState] = (("network", network), NetworkState(network, "card0"))
    (report,) = machine.reconcile(wire)
    assert report.error is None
    assert sandbox.json("ip -j link show dev card0")[0]["master"] == bridge(network)
    assert machine.reconcile(wire)[0].operations == ()
    apply_until_unchanged(machine, state, vm)
    traffic.listen(vm)
    sandbox.run(["ping", "-c1", "-W2", FIP1], netns="elsewhere")
    assert machine.reconcile((("network", network), None))[0].error is None
    (card,) = sandbox.json("ip -j link show dev card0")
    assert "master" not in card
    assert machine.request("inventory", {})["network"].count(network) == 1
    sandbox.run(["ip", "link", "delete", "card0"])
    assert machine.reconcile(*((key(one), None) for one in (state, vm)))[0].error is None
    sandbox.run(["ip", "netns", "delete", "elsewhere"])


def test_a_missing_physical_port_is_an_error(machine: Dataplane) -> None:
    network = new_id()
    machine.name_nics("eth77")
    (report,) = machine.reconcile((("network", network), NetworkState(network, "eth77")))
    assert report.error is not None
    assert f"ip link set eth77 master {bridge(network)} up" in report.error
    assert "No such device" in report.error


def test_another_card_takes_the_place_of_the_former_also_after_one_that_is_not_there(machine: Dataplane) -> None:
    sandbox, network = machine.sandbox, new_id()
    machine.name_nics("card1", "card2", "card9")
    for number in (1, 2):
        sandbox.run(["ip", "link", "add", f"card{number}", "type", "veth", "peer", "name", f"wire{number}"])

    def ports() -> set[str]:
        found = sandbox.json("ip -j link show type veth")
        return {one["ifname"] for one in found if one.get("master") == bridge(network)}

    def brought(card: str) -> str | None:
        return machine.reconcile((("network", network), NetworkState(network, card)))[0].error

    assert brought("card1") is None
    assert ports() == {"card1"}
    assert "No such device" in str(brought("card9"))
    assert brought("card2") is None
    assert ports() == {"card2"}
    assert brought("card1") is None
    assert ports() == {"card1"}
    assert machine.reconcile((("network", network), None))[0].error is None
    assert ports() == set()
    for number in (1, 2):
        sandbox.run(["ip", "link", "delete", f"card{number}"])


def apply_until_unchanged(machine: Dataplane, *states: object) -> None:
    reports = machine.reconcile(*((key(state), state) for state in states))  # type: ignore[arg-type]
    assert [report.error for report in reports] == [None] * len(states)
