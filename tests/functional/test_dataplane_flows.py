# SPDX-License-Identifier: Apache-2.0
"""Which flows end when something goes, and that all others live."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.flows import (
    CHANGES,
    FIRST,
    GATEWAY,
    OF_FIRST,
    OUTSIDE,
    SECOND,
    Change,
    World,
    a_floating_ip_moved,
    a_floating_ip_removed,
    snat_switched_off,
    source,
)
from tests.support.kernel import observed
from tests.support.processes import Dataplane
from tests.support.states import namespace
from tests.support.traffic import Traffic
from tests.support.unbroken import nothing_lost
from tests.support.waiting import poll
from tests.support.watch import Program


@pytest.fixture
def traffic(machine: Dataplane) -> Iterator[Traffic]:
    with Traffic(machine.sandbox) as traffic:
        yield traffic


@pytest.mark.feature("router.conntrack")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.replace("_", "-"))
def test_flows_of_what_goes_end_and_all_others_live(machine: Dataplane, traffic: Traffic, change: Change) -> None:
    world = World(machine)
    connections = world.connections(traffic)
    gone = CHANGES[change]
    machines = {source(one): one for one in (world.vm5, world.vm7, world.vm8, world.outside)}
    ways = [(machines[begin], to) for begin, to in set(connections) - gone]
    with nothing_lost(machine.sandbox, [world.vm5, world.vm6, world.vm7, world.outside], ways):
        world.reconcile(change(world))
    # Read before the next packet is sent: a packet of a dropped flow would be the first of a new one.
    assert world.flows() & set(connections) == set(connections) - gone
    for way, connection in connections.items():
        assert traffic.dead(connection) if way in gone else traffic.alive(connection), way
    assert observed(machine.sandbox, namespace(world.router)), "nothing is left in the journal"


def test_a_flush_that_a_killed_process_left_is_finished(dataplane: Dataplane) -> None:
    world = World(dataplane)
    name = namespace(world.router)
    with Traffic(dataplane.sandbox) as traffic:
        connections = world.connections(traffic)
        # What is left when the process dies after the batch and before it dropped the flows.
        dataplane.kill()
        element = f'ip l3agent pending_flush {{ "floating_dnat" . {FIRST} . 10.0.0.5 }}'
        without = f"delete element ip l3agent floating_dnat {{ {FIRST} }}"
        back = "delete element ip l3agent floating_snat { 10.0.0.5 }"
        dataplane.sandbox.run(["nft", f"add element {element}; {without}; {back}"], netns=name)
        dataplane.start()
        world.reconcile(a_floating_ip_removed(world))
        assert world.flows() & set(connections) == set(connections) - OF_FIRST
        assert all(traffic.alive(one) for way, one in connections.items() if way not in OF_FIRST)
    assert observed(dataplane.sandbox, name).dnat == {SECOND: "10.0.1.6"}


@pytest.mark.feature("router.conntrack")
def test_a_stream_to_a_floating_ip_that_was_unassigned_reaches_its_new_instance(
    machine: Dataplane, traffic: Traffic
) -> None:
    world = World(machine)
    connections = world.connections(traffic)
    stream = traffic.open_stream(world.outside, FIRST)
    poll(lambda: traffic.exchange(stream) == namespace(world.vm5), timeout=30)
    world.reconcile(a_floating_ip_removed(world))
    assert traffic.exchange(stream) == ""
    # The datagram made an entry that is not translated, and that each further one keeps alive.
    assert untranslated(world, FIRST)
    world.reconcile(a_floating_ip_moved(world))
    assert not untranslated(world, FIRST)
    poll(lambda: traffic.exchange(stream) == namespace(world.vm7), timeout=30)
    # What an instance opened before keeps the address of the gateway.
    assert all(traffic.alive(one) for way, one in connections.items() if way not in OF_FIRST)
    assert traffic.alive(connections["10.0.0.7", OUTSIDE])
    assert observed(machine.sandbox, namespace(world.router)), "the journal is empty"


def untranslated(world: World, address: str) -> list[str]:
    """Return the conntrack entries towards an address whose replies come from that address."""
    options = ["--orig-dst", address, "--reply-src", address]
    return world.machine.sandbox.run(["conntrack", "-L", *options], netns=namespace(world.router)).splitlines()


def test_snat_that_is_switched_on_translates_what_is_open_from_the_next_packet_on(
    machine: Dataplane, traffic: Traffic
) -> None:
    world = World(machine)
    world.reconcile(snat_switched_off(world))
    # The way back to tenants, without translation.
    machine.sandbox.run(["ip", "route", "add", "10.0.0.0/16", "via", GATEWAY], netns=namespace(world.outside))
    traffic.listen(world.vm5, world.vm6, world.vm7, world.outside)
    stream = traffic.open_stream(world.vm7, OUTSIDE)
    poll(lambda: traffic.exchange(stream) == namespace(world.outside), timeout=30)
    # Between networks of tenants, to and from a floating IP, from outside to a tenant, and of the router itself.
    staying = [
        traffic.connect(machine, to)
        for machine, to in (
            (world.vm8, "10.0.0.7"),
            (world.outside, FIRST),
            (world.vm5, OUTSIDE),
            (world.router, OUTSIDE),
            (world.router, "10.0.0.7"),
        )
    ]
    from_outside = traffic.connect(world.outside, "10.0.0.7")
    assert traffic.connect(world.vm8, OUTSIDE).seen == "10.0.1.8"
    ping = Program(machine.sandbox, ["ping", "-n", "-i", "0.01", OUTSIDE], namespace(world.vm7))
    try:
        poll(lambda: ("10.0.0.7", OUTSIDE, "icmp") in tuples(world), timeout=30)
        before = tuples(world)
        world.reconcile(world.router)
        assert before - tuples(world) <= {(one, OUTSIDE, kind) for one, kind in UNTRANSLATED}
        # Without a pause: each packet of an entry that is not translated keeps it alive.
        poll(lambda: traffic.exchange(stream) == namespace(world.outside), timeout=20)
        answered = len(ping.lines())
        poll(lambda: len(ping.lines()) > answered + 50, timeout=20)
    finally:
        ping.close()
    assert all(f"src={OUTSIDE} dst={GATEWAY} " in line for line in entries(world, "10.0.0.7", OUTSIDE))
    assert not entries(world, "10.0.1.8", OUTSIDE)
    assert all(map(traffic.alive, staying))
    # Its answers do not leave with the address of a tenant, but its entry stays.
    assert traffic.dead(from_outside) and entries(world, OUTSIDE, "10.0.0.7")
    assert observed(machine.sandbox, namespace(world.router)), "the journal is empty"


#: Source and protocol of what began without translation.
UNTRANSLATED = (("10.0.0.7", "udp"), ("10.0.0.7", "icmp"), ("10.0.1.8", "tcp"))


def entries(world: World, source: str, destination: str) -> list[str]:
    """Return the conntrack entries from one address to another."""
    options = ["--orig-src", source, "--orig-dst", destination]
    return world.machine.sandbox.run(["conntrack", "-L", *options], netns=namespace(world.router)).splitlines()


def tuples(world: World) -> set[tuple[str, ...]]:
    """Return source, destination and protocol of each entry as it began."""
    listing = world.machine.sandbox.run(["conntrack", "-L"], netns=namespace(world.router)).splitlines()
    found = (re.search(r"^(\w+) .*?src=(\S+) dst=(\S+)", line) for line in listing)
    return {(one[2], one[3], one[1]) for one in found if one}
