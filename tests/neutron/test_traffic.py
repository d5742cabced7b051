# SPDX-License-Identifier: Apache-2.0
"""Packets of an instance: through Open vSwitch as the L2 agent wired it, and through the router that we made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.neutron.bed import Bed
from tests.neutron.cloud import Cloud, Member
from tests.neutron.expect import wait_equal
from tests.neutron.kernel import in_kernel
from tests.neutron.l3_agents import L3Agent
from tests.neutron.machines import Machines, machines_on
from tests.support.traffic import Traffic

pytestmark = pytest.mark.neutron

#: Seconds for fifty routers, most of them the server's, on a machine that others use too.
MANY_S = 600


@pytest.fixture
def machines(bed: Bed) -> Iterator[tuple[Machines, Traffic]]:
    with machines_on(bed) as pair:
        yield pair


@pytest.mark.feature("driver.openvswitch-traffic")
def test_traffic_of_an_instance_goes_outside_and_comes_back(
    bed: Bed, agent: L3Agent, cloud: Cloud, external: Member, machines: tuple[Machines, Traffic]
) -> None:
    hosts, traffic = machines
    outside, subnet = hosts.outside(), cloud.subnet()
    router = cloud.router(external, subnet)
    port = cloud.port(subnet)
    instance = hosts.instance(port, subnet)
    wait_equal(bed)
    [world] = bed.sandbox.json("ip -j -4 addr show dev outside0", netns=outside)
    far = world["addr_info"][0]["local"]
    hosts.wait_reaches(instance, far)
    gateway = router["external_gateway_info"]["external_fixed_ips"][0]["ip_address"]
    assert traffic.connect(instance, far).seen == gateway

    floating_ip = cloud.floating_ip(external, port)
    floating = floating_ip["floating_ip_address"]
    wait_equal(bed)
    hosts.wait_reaches(outside, floating)
    there = traffic.connect(outside, floating)
    assert (there.name, there.seen) == (instance, far)
    assert traffic.connect(instance, far).seen == floating

    agent.kill()
    assert traffic.alive(there)
    agent.start()
    agent.wait_in_sync()
    assert traffic.alive(there)

    bed.rest.delete("floatingips", floating_ip["id"])
    wait_equal(bed)
    assert traffic.dead(there)
    assert traffic.connect(instance, far).seen == gateway


@pytest.mark.feature("driver.openvswitch-traffic")
def test_two_tenants_meet_only_by_a_router(
    bed: Bed, agent: L3Agent, cloud: Cloud, external: Member, machines: tuple[Machines, Traffic]
) -> None:
    hosts, traffic = machines
    red, blue = cloud.subnet(), cloud.subnet()
    ports = [cloud.port(red), cloud.port(blue)]
    one, other = (hosts.instance(port, subnet) for port, subnet in zip(ports, (red, blue), strict=True))
    router = cloud.router(None, red)
    wait_equal(bed)
    there = ports[1]["fixed_ips"][0]["ip_address"]
    assert not traffic.reaches(one, there)
    cloud.add_interface(router, blue)
    wait_equal(bed)
    hosts.wait_reaches(one, there)
    assert traffic.connect(one, there).name == other


@pytest.mark.feature("router.life")
def test_fifty_routers_of_bulk_calls_are_built_and_go(bed: Bed, agent: L3Agent, cloud: Cloud, external: Member) -> None:
    routers = cloud.build(50, external)
    wait_equal(bed, MANY_S)
    seen = in_kernel(bed.sandbox)
    assert seen.keys() == {router["id"] for router in routers}
    assert all(len(one.floating) == 2 and one.default for one in seen.values())
    cloud.clear()
    wait_equal(bed, MANY_S)
    assert in_kernel(bed.sandbox) == {}
