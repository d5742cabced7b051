# SPDX-License-Identifier: Apache-2.0
"""Routers change hands between neutron-l3-agent and this agent, under traffic that does not notice."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from l3agent.model.states import HostState
from tests.functional.support.kernel import RouterFacts, observed
from tests.functional.support.neutron_router import Steady, build, captured_router, rules
from tests.functional.support.processes import Dataplane
from tests.functional.support.states import host, key, namespace

pytestmark = pytest.mark.kernel

OUTSIDE, GATEWAY, FLOATING = "203.0.113.1", "203.0.113.53", "203.0.113.222"
#: What stays of Neutron's: the way to the metadata proxy, which this agent does not have.
METADATA = re.compile(r"169\.254\.169\.254|fe80::a9fe:a9fe|0x1/0xffff -j ACCEPT|--dport 9697 -j DROP")


class World:
    """The captured router made by neutron-l3-agent, two machines behind it and one outside."""

    def __init__(self, machine: Dataplane) -> None:
        self.machine = machine
        self.router = captured_router()
        assert self.router.gateway is not None
        (blue,) = (one for one in self.router.ports if any(a.version == 4 for a in one.addresses))
        default = {"0.0.0.0/0": "10.0.0.1"}
        self.vm = host(blue.network_id, "10.0.0.77/24", routes=default)
        self.floating = host(blue.network_id, "10.0.0.215/24", routes=default)
        self.outside = host(self.router.gateway.network_id, f"{OUTSIDE}/24")
        hosts: list[HostState] = [self.vm, self.floating, self.outside]
        reports = machine.reconcile(*((key(one), one) for one in hosts))
        assert [report.error for report in reports] == [None] * 3
        build(machine.sandbox, self.router)

    def steady(self) -> Steady:
        """Return traffic of each kind, translated in each way."""
        vm, floating, outside = map(namespace, (self.vm, self.floating, self.outside))
        ways = [(vm, OUTSIDE), (floating, OUTSIDE), (outside, FLOATING), (vm, FLOATING)]
        kinds = ("stream", "connections", "datagrams")
        clients = [(kind, name, to) for kind in kinds for name, to in ways]
        return Steady(self.machine.sandbox, [outside, floating], clients, ways)


@pytest.fixture
def world(dataplane: Dataplane) -> Iterator[World]:
    return World(dataplane)


def test_a_router_is_taken_over_and_nothing_is_lost(world: World, expected: RouterFacts) -> None:
    sandbox, router = world.machine.sandbox, world.router
    name = namespace(router)
    foreign = "INPUT -s 192.0.2.7/32 -j DROP"
    sandbox.run(["iptables", "-A", *foreign.split()], netns=name)
    devices = {link["ifname"]: link["ifindex"] for link in sandbox.json("ip -j link", netns=name)}
    with world.steady() as steady:
        steady.goes_on()
        (report,) = world.machine.reconcile((key(router), router))
        assert report.error is None
        steady.goes_on()
        unanswered, counts = steady.unanswered(), steady.counts()
    assert {(one["lost"], one["again"]) for one in counts.values()} == {(0, 0)}, counts
    assert unanswered == [set()] * 4
    assert observed(sandbox, name) == expected
    assert {link["ifname"]: link["ifindex"] for link in sandbox.json("ip -j link", netns=name)} == devices
    left = [line for line in rules(sandbox, router).splitlines() if line.startswith("-A")]
    assert f"-A {foreign}" in left
    own = [line for line in left if not METADATA.search(line) and " -j neutron-l3-agent-" not in line]
    assert own == [f"-A {foreign}"]
    assert sum(bool(METADATA.search(line)) for line in left) == 8
    assert world.machine.reconcile((key(router), router))[0].operations == ()
