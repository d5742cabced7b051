# SPDX-License-Identifier: Apache-2.0
"""A router that Neutron's own agent built changes hands, and back, under traffic that does not notice."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator

import pytest

from tests.functional.conftest import show
from tests.functional.support.neutron_router import Steady, totals
from tests.functional.support.processes import SCRIPTS
from tests.neutron.bed import Bed
from tests.neutron.cloud import Cloud, Member
from tests.neutron.expect import wait_equal
from tests.neutron.l3_agents import BINARY, L3Agent, peer
from tests.neutron.machines import Machines, machines_on
from tests.neutron.programs import Program
from tests.neutron.test_peer import PEER_S

pytestmark = pytest.mark.neutron

OUTSIDE = "198.18.0.1"


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


def test_a_router_of_neutrons_own_agent_changes_hands_and_back_and_nothing_is_lost(
    bed: Bed, agents: Agents, cloud: Cloud, external: Member, machines: Machines
) -> None:
    subnet = cloud.subnet()
    agents.neutrons.start()
    bed.wait_alive(BINARY, agents.neutrons)
    router = cloud.router(external, subnet)
    port, other = cloud.port(subnet), cloud.port(subnet)
    floating = cloud.floating_ip(external, port)["floating_ip_address"]
    wait_equal(bed, PEER_S)
    inside, without = (machines.instance(one, subnet) for one in (port, other))
    outside = machines.outside()
    ways = [(inside, OUTSIDE), (without, OUTSIDE), (outside, floating)]
    for name, to in ways:
        machines.wait_reaches(name, to)
    clients = [(kind, name, to) for kind in ("stream", "connections", "datagrams") for name, to in ways]
    with Steady(bed.sandbox, [outside, inside], clients, ways) as steady:
        steady.goes_on()
        assert tables(bed, router) == (True, False)
        agents.neutrons.stop()
        agents.ours.start()
        agents.ours.wait_in_sync()
        assert tables(bed, router) == (False, True)
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
        steady.goes_on()
        nothing_is_lost(steady)
        wait_equal(bed)
