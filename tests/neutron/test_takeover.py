# SPDX-License-Identifier: Apache-2.0
"""A router that Neutron's own agent built changes hands, and back, under traffic that does not notice."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator

import pytest

from tests.functional.conftest import show
from tests.neutron.bed import Bed
from tests.neutron.cloud import Cloud, Member
from tests.neutron.expect import wait_equal
from tests.neutron.l3_agents import BINARY, L3Agent, peer
from tests.neutron.machines import Machines, machines_on
from tests.neutron.programs import Program
from tests.neutron.test_peer import PEER_S
from tests.support.neutron_router import Steady, totals
from tests.support.processes import SCRIPTS
from tests.support.waiting import poll

pytestmark = pytest.mark.neutron

OUTSIDE = "198.18.0.1"
EXTERNAL6, INTERNAL6 = "2001:db8:f::", "2001:db8:1::"


@dataclasses.dataclass(frozen=True)
class Agents:
    """The two agents of one host, with the files of one deployment; neither is started."""

    neutrons: Program
    ours: L3Agent
    files: list[str]


@pytest.fixture
def agents(bed: Bed) -> Iterator[Agents]:
    deployment = bed.deployment
    files = deployment.write(bed.folder / "etc-release", "neutron.conf", "l3_agent.ini")
    agents = Agents(peer(bed.sandbox, bed.folder, deployment), L3Agent(bed.sandbox, bed.folder, deployment), files)
    yield agents
    for agent in (agents.neutrons, agents.ours):
        agent.kill()
        show(agent.log)
    for name in bed.sandbox.namespaces():
        bed.sandbox.run(["ip", "netns", "delete", name])


@pytest.fixture
def machines(bed: Bed) -> Iterator[Machines]:
    with machines_on(bed) as (machines, _):
        yield machines


def nothing_is_lost(steady: Steady) -> None:
    counts = steady.counts()
    print(f"sent: {totals(counts)}; pings answered: {steady.answered()}")
    assert {one["lost"] for one in counts.values()} == {0}, counts
    assert not any(steady.unanswered()), counts


def tables(bed: Bed, router: Member) -> tuple[bool, bool]:
    """Tell whether the rules of Neutron, and ours, are in a router."""
    netns = f"qrouter-{router['id']}"
    listing = bed.sandbox.run(["sh", "-c", "nft list ruleset"], netns=netns)
    return "chain neutron-l3-agent-snat" in listing, "table ip l3agent" in listing


def give_ipv6(bed: Bed, router: Member, inside: str, outside: str) -> None:
    """Give an instance and the outside IPv6 addresses, ``::99`` and ``::1``, and routes to each other."""
    fixed_ips = bed.rest.get("routers", router["id"])["external_gateway_info"]["external_fixed_ips"]
    (gateway,) = (one["ip_address"] for one in fixed_ips if ":" in one["ip_address"])
    for name, cidr, to, via in (
        (inside, INTERNAL6, "default", f"{INTERNAL6}1"),
        (outside, EXTERNAL6, f"{INTERNAL6}/64", gateway),
    ):
        address = f"{cidr}{1 if name == outside else 99}/64"
        device = bed.sandbox.run(["sh", "-c", "ip -o link | grep -v lo: | cut -d' ' -f2"], netns=name).strip(" :\n")
        # Neutron's agent advertises the router, which ours does not do yet.
        bed.sandbox.run(["sysctl", "-qw", f"net.ipv6.conf.{device}.accept_ra=0"], netns=name)
        bed.sandbox.run(["ip", "-6", "route", "flush", "proto", "ra"], netns=name)
        bed.sandbox.run(["ip", "address", "add", address, "dev", device, "nodad"], netns=name)
        bed.sandbox.run(["ip", "-6", "route", "replace", to, "via", via], netns=name)
    poll(lambda: "bytes from" in _ping(bed, inside, f"{EXTERNAL6}1"), PEER_S)


def _ping(bed: Bed, name: str, to: str) -> str:
    return bed.sandbox.run(["sh", "-c", f"ping -c 1 -W 1 {to} || :"], netns=name)


def default_routes(bed: Bed, router: Member) -> list[Member]:
    """Return the default routes of both families as the kernel tells of them, flags and protocol among them."""
    netns = f"qrouter-{router['id']}"
    return [one for family in (4, 6) for one in bed.sandbox.json(f"ip -j -{family} route show default", netns=netns)]


@pytest.mark.feature("operation.hand-back")
def test_a_router_of_neutrons_own_agent_changes_hands_and_back_and_nothing_is_lost(
    bed: Bed, agents: Agents, cloud: Cloud, external: Member, machines: Machines
) -> None:
    subnet = cloud.subnet()
    for network_id, cidr in ((external["id"], EXTERNAL6), (subnet["network_id"], INTERNAL6)):
        values = {"ip_version": 6, "cidr": f"{cidr}/64", "gateway_ip": f"{cidr}1", "enable_dhcp": False}
        bed.rest.create("subnets", network_id=network_id, **values)
    (subnet6,) = bed.rest.list("subnets", network_id=subnet["network_id"], ip_version=6)
    agents.neutrons.start()
    bed.wait_alive(BINARY, agents.neutrons)
    router = cloud.router(external, subnet, subnet6)
    port, other = cloud.port(subnet), cloud.port(subnet)
    floating = cloud.floating_ip(external, port)["floating_ip_address"]
    wait_equal(bed, PEER_S)
    inside, without = (machines.instance(one, subnet) for one in (port, other))
    outside = machines.outside()
    give_ipv6(bed, router, inside, outside)
    ways = [(inside, OUTSIDE), (without, OUTSIDE), (outside, floating)]
    for name, to in ways:
        machines.wait_reaches(name, to)
    clients = [(kind, name, to) for kind in ("stream", "connections", "datagrams") for name, to in ways]
    with Steady(bed.sandbox, [outside, inside], clients, [*ways, (inside, f"{EXTERNAL6}1")]) as steady:
        steady.goes_on()
        assert tables(bed, router) == (True, False)
        defaults = default_routes(bed, router)
        agents.neutrons.stop()
        agents.ours.start()
        agents.ours.wait_in_sync()
        assert tables(bed, router) == (False, True)
        assert default_routes(bed, router) == defaults
        wait_equal(bed)
        steady.goes_on()
        nothing_is_lost(steady)
        agents.ours.stop()
        release = subprocess.Popen(
            bed.sandbox.argv([str(SCRIPTS / "l3-agentctl"), "release", *agents.files]),
            stdout=subprocess.PIPE,
            text=True,
        )
        agents.neutrons.start()
        said, _ = release.communicate(timeout=PEER_S)
        assert (release.returncode, said) == (0, f"router {router['id']}: handed back\n")
        assert tables(bed, router) == (True, False)
        assert default_routes(bed, router) == defaults
        steady.goes_on()
        nothing_is_lost(steady)
        wait_equal(bed)
