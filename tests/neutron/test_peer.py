# SPDX-License-Identifier: Apache-2.0
"""Neutron's own L3 agent on the same bed: the yardstick."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tests.functional.conftest import show
from tests.neutron.bed import Bed
from tests.neutron.cloud import Cloud, Member
from tests.neutron.expect import wait_equal
from tests.neutron.kernel import in_kernel
from tests.neutron.l3_agents import BINARY, peer
from tests.neutron.programs import Program

pytestmark = pytest.mark.neutron

#: Seconds for the peer to start its privileged helpers and build; each gratuitous ARP takes it most of a second.
PEER_S = 600


@pytest.fixture
def neutrons_agent(bed: Bed) -> Iterator[Program]:
    """Neutron's agent, not started."""
    agent = peer(bed.sandbox, bed.folder, dataclasses.replace(bed.deployment, interface_driver="openvswitch"))
    yield agent
    agent.kill()
    for name in bed.sandbox.namespaces():
        bed.sandbox.run(["ip", "netns", "delete", name])
    show(agent.log)


def test_neutrons_own_agent_builds_what_the_api_says(
    bed: Bed, neutrons_agent: Program, cloud: Cloud, external: Member
) -> None:
    subnet = cloud.subnet()
    neutrons_agent.start()
    bed.wait_alive(BINARY, neutrons_agent)
    router = cloud.router(external, subnet)
    cloud.floating_ip(external, cloud.port(subnet))
    wait_equal(bed, PEER_S)
    assert set(in_kernel(bed.sandbox)) == {router["id"]}
