# SPDX-License-Identifier: Apache-2.0
"""With source NAT, no IPv4 packet leaves with the address of a tenant, tracked or not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from l3agent.model.states import NamespaceState
from l3agent.testing import wait_until
from tests.support import stray
from tests.support.kernel import observed, rules
from tests.support.processes import Dataplane
from tests.support.states import bridge, host, key, namespace, new_id, only_port, port, route, router
from tests.support.watch import Program, capture

OUTSIDE, GATEWAY, FIP = "203.0.113.1", "203.0.113.10", "203.0.113.100"
OUTSIDE6, INSIDE6 = "2001:db8:ffff::1", "2001:db8:1::5"
WITH_FIP, WITHOUT = "10.0.0.5", "10.0.0.6"
METADATA = "169.254.169.254"
pytestmark = pytest.mark.usefixtures("same_node")

_SCRIPT = str(Path(stray.__file__).resolve())
#: Takes from the rules what the previous release did not have.
_PREVIOUS = "; ".join(
    f"delete {one}" for one in ("chain ip l3agent guard", "set ip l3agent guarded", "set ip l3agent gateway_addresses")
)
_UNTRACKED = """
table ip raw { chain prerouting { type filter hook prerouting priority raw; udp dport 4001 notrack; }; }
"""


class World:
    """A router with source NAT, two machines inside, one of them with a floating IP, and one outside."""

    def __init__(self, machine: Dataplane) -> None:
        self.machine = machine
        self.inner = port(new_id(), "10.0.0.1/24", "2001:db8:1::1/64")
        gateway = port(new_id(), f"{GATEWAY}/24", "2001:db8:ffff::10/64", gateway=True)
        routes = [route("0.0.0.0/0", (gateway, OUTSIDE)), route("::/0", (gateway, OUTSIDE6))]
        self.router = router(self.inner, gateway=gateway, routes=routes, fips={FIP: WITH_FIP})
        default = {"0.0.0.0/0": "10.0.0.1"}
        network = self.inner.network_id
        self.with_fip = host(network, f"{WITH_FIP}/24", f"{INSIDE6}/64", routes=default | {"::/0": "2001:db8:1::1"})
        self.without = host(network, f"{WITHOUT}/24", routes=default)
        back = {"10.0.0.0/24": GATEWAY, "2001:db8:1::/64": "2001:db8:ffff::10"}
        self.outside = host(
            gateway.network_id, f"{OUTSIDE}/24", f"{OUTSIDE6}/64", f"{METADATA}/32", "169.254.1.1/32", routes=back
        )
        self.external = bridge(gateway.network_id)
        self.reconcile(self.router, self.with_fip, self.without, self.outside)

    def reconcile(self, *states: NamespaceState) -> None:
        reports = self.machine.reconcile(*((key(state), state) for state in states))
        assert [report.error for report in reports] == [None] * len(states)

    def shell(self, at: NamespaceState, command: str) -> str:
        """Run a command of bash in a namespace and return what it wrote."""
        return self.machine.sandbox.run(["bash", "-ec", command], netns=namespace(at), timeout=60)

    def ping(self, machine: NamespaceState, to: str, *, seconds: float = 10) -> bool:
        return "bytes from" in self.shell(machine, f"ping -c 1 -W {seconds} {to} || :")

    def send_udp(self, machine: NamespaceState, to: str, number: int) -> None:
        self.shell(machine, f"echo > /dev/udp/{to}/{number}")

    def send_stray(self, machine: NamespaceState, source: str, to: str) -> int:
        """Send packets that conntrack does not track from a machine, and wait for the answer to a tracked one."""
        count = int(self.shell(machine, f"{sys.executable} -I {_SCRIPT} {source} {to}"))
        assert self.ping(machine, OUTSIDE6 if ":" in to else OUTSIDE)
        return count

    def everything(self) -> object:
        name = namespace(self.router)
        return rules(self.machine.sandbox, name), observed(self.machine.sandbox, name)


@pytest.fixture(scope="module")
def world(machine: Dataplane) -> World:
    return World(machine)


@pytest.fixture
def frames(world: World) -> Iterator[Program]:
    """Packets captured outside: ``-v`` has two lines for a packet, addresses are in the second."""
    assert world.ping(world.without, OUTSIDE)
    with capture(world.machine.sandbox, world.external, "ip or ip6") as frames:
        yield frames


def leaks(frames: Program) -> list[str]:
    return [line for line in frames.lines() if " 10.0.0." in line.partition(" > ")[0]]


def wait_seen(frames: Program, *texts: str) -> None:
    for text in texts:
        wait_until(lambda text=text: any(text in line for line in frames.lines()), timeout=20)


@pytest.mark.feature("router.snat-leaks")
def test_nothing_without_a_connection_leaves_with_the_address_of_a_tenant(world: World, frames: Program) -> None:
    for machine, source in ((world.with_fip, WITH_FIP), (world.without, WITHOUT)):
        assert world.send_stray(machine, source, OUTSIDE) == 19
    world.machine.kill()
    world.machine.start()
    world.send_stray(world.without, WITHOUT, OUTSIDE)
    world.shell(world.router, f"nft '{_UNTRACKED}'")
    world.send_udp(world.without, OUTSIDE, 4001)
    assert world.ping(world.without, OUTSIDE)
    world.shell(world.router, "nft delete table ip raw")
    # A connection that the outside opens to an address of the tenants' network has no translation either.
    assert not world.ping(world.outside, "10.0.0.1", seconds=0.3)
    assert not world.ping(world.outside, WITHOUT, seconds=0.3)
    assert leaks(frames) == []


@pytest.mark.feature("router.snat-leaks")
def test_errors_about_a_connection_leave_with_its_translation(world: World, frames: Program) -> None:
    """ICMP port unreachable from inside and from the router, and time exceeded from the router, are RELATED."""
    for to in (FIP, GATEWAY):
        world.send_udp(world.outside, to, 4009)
        wait_seen(frames, f"{to} > {OUTSIDE}: ICMP {to} udp port 4009 unreachable")
    world.shell(world.outside, f"ping -c 1 -W 0.1 -t 1 {FIP} || :")
    wait_seen(frames, f"> {OUTSIDE}: ICMP time exceeded")
    assert leaks(frames) == []


@pytest.mark.feature("router.link-local")
def test_link_local_destinations_leave_by_no_gateway(world: World, frames: Program) -> None:
    for snat in (True, False):
        world.reconcile(replace(world.router, snat=snat))
        for to in (METADATA, "169.254.1.1"):
            world.send_udp(world.without, to, 80)
            world.ping(world.with_fip, to, seconds=0.1)
        world.ping(world.with_fip, f"fe80::a9fe:a9fe%{only_port(world.with_fip).device}", seconds=0.1)
        assert world.ping(world.without, OUTSIDE)
    world.reconcile(world.router)
    assert [line for line in frames.lines() if "169.254." in line or "a9fe:a9fe" in line] == []


@pytest.mark.feature("router.snat-leaks")
def test_without_source_nat_and_in_ipv6_all_leaves_as_it_is(world: World, frames: Program) -> None:
    assert world.send_stray(world.with_fip, INSIDE6, OUTSIDE6) == 1
    wait_seen(frames, f"{INSIDE6}.4000 > {OUTSIDE6}.80: Flags [R]")
    world.reconcile(replace(world.router, snat=False))
    try:
        count = world.send_stray(world.without, WITHOUT, OUTSIDE)
        wait_seen(frames, *(f"id {number}," for number in range(1, count + 1)))
    finally:
        world.reconcile(world.router)


def test_the_rules_of_the_previous_release_are_replaced_and_no_packet_is_lost(world: World) -> None:
    before = world.everything()
    sandbox, command = world.machine.sandbox, ["ping", "-q", "-i", "0.005", "-c", "1000", "-W", "20"]
    ways = ((world.without, OUTSIDE), (world.with_fip, OUTSIDE), (world.outside, FIP))
    pings = [sandbox.popen([*command, to], netns=namespace(at), stdout=-1, text=True) for at, to in ways]
    for _ in range(2):
        world.machine.kill()
        world.shell(world.router, f"nft '{_PREVIOUS}'")
        world.machine.start()
        world.reconcile(world.router)
        assert world.everything() == before
    for one in pings:
        output, _ = one.entrance.communicate(timeout=60)
        assert "1000 received" in output, output
