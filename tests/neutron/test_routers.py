# SPDX-License-Identifier: Apache-2.0
"""What users do through the API is what the kernel has, and the API knows that it has."""

from __future__ import annotations

import pytest

from tests.neutron.bed import Bed
from tests.neutron.cloud import Cloud, Member
from tests.neutron.expect import wait_equal, wait_status
from tests.neutron.kernel import in_kernel
from tests.neutron.l3_agents import BINARY, L3Agent

pytestmark = pytest.mark.neutron


@pytest.mark.feature("process.alive")
def test_the_server_shows_the_agent_alive_with_what_its_scheduler_reads(bed: Bed, agent: L3Agent) -> None:
    row = bed.agent_row(BINARY)
    assert row is not None and row["alive"] and row["admin_state_up"]
    assert (row["agent_type"], row["topic"], row["host"]) == ("L3 agent", "l3_agent", bed.deployment.host)
    assert row["availability_zone"] == "nova"
    configurations = row["configurations"]
    assert configurations["agent_mode"] == "legacy" and configurations["handle_internal_only_routers"] is True


@pytest.mark.feature("router.life")
def test_every_change_of_a_router_reaches_the_kernel(bed: Bed, agent: L3Agent, cloud: Cloud, external: Member) -> None:
    red, blue = cloud.subnet(), cloud.subnet()
    router = cloud.router(external, red)
    wait_equal(bed)
    cloud.add_interface(router, blue)
    wait_equal(bed)
    bed.rest.update("routers", router["id"], routes=[{"destination": "172.30.0.0/24", "nexthop": _second(blue)}])
    wait_equal(bed)
    assert in_kernel(bed.sandbox)[router["id"]].routes == {"172.30.0.0/24": _second(blue)}
    bed.rest.update("routers", router["id"], routes=[])
    cloud.remove_interface(router, blue)
    wait_equal(bed)
    bed.rest.update("routers", router["id"], external_gateway_info=None)
    wait_equal(bed)
    bed.rest.update("routers", router["id"], external_gateway_info={"network_id": external["id"]})
    wait_equal(bed)
    bed.rest.update("networks", red["network_id"], mtu=1400)
    wait_equal(bed)
    assert 1400 in {mtu for _, mtu in in_kernel(bed.sandbox)[router["id"]].links.values()}
    cloud.clear_router(bed.rest.get("routers", router["id"]))
    wait_equal(bed)
    assert in_kernel(bed.sandbox) == {}


@pytest.mark.feature("router.floating-ip")
def test_a_floating_ip_moves_and_its_status_follows(bed: Bed, agent: L3Agent, cloud: Cloud, external: Member) -> None:
    red, blue = cloud.subnet(), cloud.subnet()
    first, second = cloud.router(external, red), cloud.router(external, blue)
    floating_ip = cloud.floating_ip(external, cloud.port(red))
    wait_status(bed, floating_ip, "ACTIVE")
    bed.rest.update("floatingips", floating_ip["id"], port_id=cloud.port(red)["id"])
    wait_equal(bed)
    bed.rest.update("floatingips", floating_ip["id"], port_id=cloud.port(blue)["id"])
    wait_equal(bed)
    assert not in_kernel(bed.sandbox)[first["id"]].held and in_kernel(bed.sandbox)[second["id"]].held
    wait_status(bed, floating_ip, "ACTIVE")
    bed.rest.update("floatingips", floating_ip["id"], port_id=None)
    wait_equal(bed)
    wait_status(bed, floating_ip, "DOWN")


@pytest.mark.feature("router.life")
def test_a_router_that_is_switched_off_goes_and_comes_back(
    bed: Bed, agent: L3Agent, cloud: Cloud, external: Member
) -> None:
    router = cloud.router(external, cloud.subnet())
    wait_equal(bed)
    bed.rest.update("routers", router["id"], admin_state_up=False)
    wait_equal(bed)
    assert in_kernel(bed.sandbox) == {}
    bed.rest.update("routers", router["id"], admin_state_up=True)
    wait_equal(bed)
    assert set(in_kernel(bed.sandbox)) == {router["id"]}


def _second(subnet: Member) -> str:
    return str(subnet["cidr"]).replace(".0/24", ".2")
