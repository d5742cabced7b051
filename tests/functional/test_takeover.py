# SPDX-License-Identifier: Apache-2.0
"""Routers change hands between neutron-l3-agent and this agent, under traffic that does not notice."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from l3agent.model.states import NamespaceState
from l3agent.testing import wait_until
from tests.support.crashes import Mortal
from tests.support.kernel import RouterFacts, observed
from tests.support.neutron_router import Steady, build, captured_router, put_rules, rules, totals
from tests.support.processes import Dataplane
from tests.support.sandbox import Sandbox
from tests.support.states import host, key, namespace, new_id, tap
from tests.support.traffic import Traffic
from tests.support.watch import ip_events

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
        hosts: list[NamespaceState] = [self.vm, self.floating, self.outside]
        reports = machine.reconcile(*((key(one), one) for one in hosts))
        assert [report.error for report in reports] == [None] * 3
        build(machine.sandbox, self.router)

    def take_over(self) -> None:
        (report,) = self.machine.reconcile((key(self.router), self.router))
        assert report.error is None

    def steady(self) -> Steady:
        """Return traffic of each kind, translated in each way."""
        vm, floating, outside = map(namespace, (self.vm, self.floating, self.outside))
        ways = [(vm, OUTSIDE), (floating, OUTSIDE), (outside, FLOATING), (vm, FLOATING)]
        kinds = ("stream", "connections", "datagrams")
        clients = [(kind, name, to) for kind in kinds for name, to in ways]
        return Steady(self.machine.sandbox, [outside, floating], clients, ways)


def nothing_is_lost(steady: Steady) -> None:
    counts = steady.counts()
    print(f"sent: {totals(counts)}; pings answered: {steady.answered()}")
    assert {(one["lost"], one["again"]) for one in counts.values()} == {(0, 0)}, counts
    assert steady.unanswered() == [set()] * 4


def neutrons(saved: str) -> list[str]:
    """Return the rules but for those that lead to the metadata proxy."""
    lines = [line for line in saved.splitlines() if line.startswith("-A")]
    return [line for line in lines if not METADATA.search(line) and " -j neutron-l3-agent-" not in line]


@pytest.fixture
def world(dataplane: Dataplane) -> World:
    return World(dataplane)


@pytest.mark.feature("operation.takeover")
def test_a_router_is_taken_over_and_nothing_is_lost(world: World, expected: RouterFacts) -> None:
    sandbox, router = world.machine.sandbox, world.router
    name = namespace(router)
    foreign = "INPUT -s 192.0.2.7/32 -j DROP"
    sandbox.run(["iptables", "-A", *foreign.split()], netns=name)
    devices = {link["ifname"]: link["ifindex"] for link in sandbox.json("ip -j link", netns=name)}
    with world.steady() as steady, ip_events(sandbox, name) as events:
        steady.goes_on()
        world.take_over()
        steady.goes_on()
        nothing_is_lost(steady)
        # Both agents make them in one form.
        assert [line for line in events.so_far() if "default" in line] == []
    assert observed(sandbox, name) == expected
    assert {link["ifname"]: link["ifindex"] for link in sandbox.json("ip -j link", netns=name)} == devices
    left = rules(sandbox, router)
    assert neutrons(left) == [f"-A {foreign}"]
    assert len(METADATA.findall(left)) == 8
    assert world.machine.reconcile((key(router), router))[0].operations == ()


@pytest.mark.feature("operation.takeover-crash")
def test_what_is_no_longer_wanted_goes_with_the_takeover(world: World) -> None:
    """A floating IP and a route that the server took back while no agent ran; a route by hand is somebody else's."""
    sandbox, router = world.machine.sandbox, world.router
    name = namespace(router)
    stale = "203.0.113.7"
    assert router.gateway is not None
    commands = [
        f"ip -n {name} address add {stale}/32 dev {router.gateway.device}",
        f"ip -n {name} route add 192.0.2.0/25 via {OUTSIDE} protocol static",
        f"ip -n {name} route add 192.0.2.128/25 via {OUTSIDE}",
        "iptables -t nat -A neutron-l3-agent-PREROUTING -d 203.0.113.7/32 -j DNAT --to-destination 10.0.0.77",
    ]
    sandbox.run(["sh", "-e", "-c", "\n".join(commands)], netns=name)
    with Traffic(sandbox) as traffic:
        traffic.listen(world.vm, world.floating)
        going, staying = traffic.connect(world.outside, stale), traffic.connect(world.outside, FLOATING)
        world.take_over()
        assert f"dst={stale} " not in sandbox.run(["conntrack", "-L"], netns=name)
        assert traffic.dead(going) and traffic.alive(staying)
    destinations = {route["dst"]: route.get("protocol", "boot") for route in sandbox.json("ip -j route", netns=name)}
    assert "192.0.2.0/25" not in destinations and destinations["192.0.2.128/25"] == "boot"
    assert [destination for destination, by in destinations.items() if by == "static"] == ["default"]
    assert stale not in sandbox.run(["ip", "-j", "address"], netns=name)


@pytest.mark.feature("operation.takeover-crash")
def test_killed_after_any_of_its_sends_a_takeover_is_completed(
    sandbox: Sandbox, folder: Path, expected: RouterFacts
) -> None:
    machine = Mortal(sandbox, folder)
    machine.start()
    router, deaths = captured_router(), 0

    def prepare() -> None:
        machine.reconcile((key(router), None))
        taps = set(map(tap, router.all_ports()))
        wait_until(lambda: taps.isdisjoint(link["ifname"] for link in sandbox.json("ip -j link")))
        build(sandbox, router)

    for _ in machine.deaths(key(router), prepare, router):
        deaths += 1
        (report,) = machine.reconcile((key(router), router))
        assert report.error is None
        assert observed(sandbox, namespace(router)) == expected
        assert neutrons(rules(sandbox, router)) == []
    assert deaths >= 3
    machine.hang_up()


@pytest.mark.feature("operation.takeover-crash")
def test_the_plan_of_a_takeover_typed_does_the_same(world: World, expected: RouterFacts) -> None:
    sandbox, router = world.machine.sandbox, world.router
    (report,) = world.machine.reconcile((key(router), router), dry_run=True)
    sandbox.run(["sh", "-e", "-c", "\n".join(report.operations)])
    # Settings are read at the first sight of a router.
    world.machine.kill()
    world.machine.start()
    assert world.machine.reconcile((key(router), router), dry_run=True)[0].operations == ()
    assert observed(sandbox, namespace(router)) == expected
    assert neutrons(rules(sandbox, router)) == []


@pytest.mark.feature("operation.hand-back")
def test_a_router_is_handed_back_and_taken_over_again_and_nothing_is_lost(world: World, folder: Path) -> None:
    sandbox, router = world.machine.sandbox, world.router
    name = namespace(router)
    before = rules(sandbox, router)
    world.take_over()
    world.machine.stop()
    conf = str(folder / "dataplane.conf")
    with world.steady() as steady:
        steady.goes_on()
        for put in (lambda: None, lambda: put_rules(sandbox, router, skeleton=True)):
            put()
            said = release(sandbox, conf, 0)
            waiting = f"router {router.id}: the rules of neutron-l3-agent are incomplete; ours stay\n"
            assert (said.returncode, said.stdout) == (75, waiting), said.stderr
            assert "table ip l3agent" in sandbox.run(["nft", "list", "tables"], netns=name)
            steady.goes_on()
        put_rules(sandbox, router, pause=lambda: steady.goes_on(5))
        said = release(sandbox, conf, 30)
        assert (said.returncode, said.stdout) == (0, f"router {router.id}: handed back\n"), said.stderr
        steady.goes_on()
        assert "l3agent" not in sandbox.run(["nft", "list", "tables"], netns=name)
        assert rules(sandbox, router) == before
        assert sandbox.run(["cat", "/proc/sys/net/ipv6/conf/default/addr_gen_mode"], netns=name) == "0\n"
        with (folder / "dataplane.conf").open("a") as options:
            options.write("count_traffic = True\n")
        world.machine.start()
        world.take_over()
        steady.goes_on()
        nothing_is_lost(steady)
    assert "table ip l3agent-traffic" in sandbox.run(["nft", "list", "tables"], netns=name)
    world.machine.stop()
    put_rules(sandbox, router)
    assert release(sandbox, conf, 30).returncode == 0
    assert "l3agent" not in sandbox.run(["nft", "list", "tables"], netns=name)


def release(sandbox: Sandbox, conf: str, timeout: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "l3agent.cli.main", "release", "--config-file", conf, "--timeout", str(timeout)]
    return subprocess.run(sandbox.argv(command), capture_output=True, text=True, timeout=60, check=False)


# ---- what is not taken over ---------------------------------------------------------------------------------------


def refused(world: World, reason: str) -> None:
    """Check that the router is refused in one line and stays as it is, and that others go on."""
    before = rules(world.machine.sandbox, world.router)
    other = host(new_id(), "10.9.0.1/24")
    report, fine = world.machine.reconcile((key(world.router), world.router), (key(other), other))
    assert fine.error is None
    assert report.error is not None and report.error.startswith("not taken over: ") and reason in report.error
    assert "\n" not in report.error
    assert rules(world.machine.sandbox, world.router) == before
    assert "l3agent" not in world.machine.sandbox.run(["nft", "list", "tables"], netns=namespace(world.router))


@pytest.mark.feature("operation.takeover")
def test_rules_of_legacy_iptables_are_refused(world: World) -> None:
    """Its empty tables, which any look at them makes, are none."""
    sandbox, name = world.machine.sandbox, namespace(world.router)
    sandbox.run(["iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE"], netns=name)
    sandbox.run(["ip6tables-legacy", "-t", "mangle", "-L"], netns=name)
    refused(world, "rules of legacy iptables here (IPv4, tables nat)")
    sandbox.run(["iptables-legacy", "-t", "nat", "-F"], netns=name)
    world.take_over()


@pytest.mark.feature("operation.takeover")
def test_rules_of_an_extension_that_is_not_there_are_refused(world: World) -> None:
    sandbox, name = world.machine.sandbox, namespace(world.router)
    chain = "neutron-l3-agent-fip-pf"
    forward = f"{chain} -d 203.0.113.135/32 -p tcp --dport 2222 -j DNAT --to-destination 10.0.0.146:22"
    sandbox.run(["iptables", "-t", "nat", "-N", chain], netns=name)
    sandbox.run(["iptables", "-t", "nat", "-A", *forward.split()], netns=name)
    refused(world, f"chains {chain}")
    sandbox.run(["iptables", "-t", "nat", "-F", chain], netns=name)
    world.take_over()
    assert chain not in rules(sandbox, world.router)
