# SPDX-License-Identifier: Apache-2.0
"""Parts go, under load, and come back: the kernel ends as the API says, and nobody has to help."""

from __future__ import annotations

from collections.abc import Iterator

import eventlet
import pytest

from tests.neutron.bed import Bed
from tests.neutron.cloud import Cloud, Member
from tests.neutron.expect import wait_equal
from tests.neutron.kernel import in_kernel
from tests.neutron.l3_agents import BINARY, L3Agent
from tests.support.waiting import poll

pytestmark = pytest.mark.neutron

#: Seconds until all is well again after a part came back; calls that were lost time out within them.
BACK_WITHIN = 300


@pytest.fixture
def load(cloud: Cloud, external: Member) -> Iterator[eventlet.GreenThread]:
    """A user who builds and changes routers, one call after the other; the fixture is who does it."""

    def work() -> None:
        subnets = [cloud.subnet() for _ in range(3)]
        routers = [cloud.router(external, subnet) for subnet in subnets]
        for subnet in subnets:
            cloud.floating_ip(external, cloud.port(subnet))
        cloud.clear_floating_ips()
        cloud.clear_router(cloud.rest.get("routers", routers[0]["id"]))
        cloud.floating_ip(external, cloud.port(subnets[1]))

    user = eventlet.spawn(work)
    yield user
    user.kill()


@pytest.mark.feature("process.revived")
def test_the_rpc_server_is_upgraded_under_load(bed: Bed, agent: L3Agent, load: eventlet.GreenThread) -> None:
    eventlet.sleep(3)
    bed.neutron.rpc.stop()
    load.wait()
    bed.neutron.rpc.start()
    wait_equal(bed, BACK_WITHIN)
    assert len(in_kernel(bed.sandbox)) == 2


@pytest.mark.parametrize("part", ["ovs-vswitchd", "ovsdb-server", "neutron-openvswitch-agent", "l3-dataplane"])
def test_a_part_of_the_node_is_killed_under_load(
    bed: Bed, agent: L3Agent, load: eventlet.GreenThread, part: str
) -> None:
    eventlet.sleep(3)
    if part == "l3-dataplane":
        # The agent starts another.
        bed.sandbox.run(["kill", "-KILL", str(agent.status()["dataplane"]["pid"])])
    else:
        program = {one.name: one for one in (bed.ovs.switch, bed.ovs.database, bed.l2_agent)}[part]
        program.kill()
        eventlet.sleep(2)
        program.start()
    load.wait()
    wait_equal(bed, BACK_WITHIN)
    assert len(in_kernel(bed.sandbox)) == 2


@pytest.mark.parametrize("part", ["mariadb", "neutron-api"])
def test_a_part_of_the_server_is_killed_and_the_agent_goes_on(
    bed: Bed, agent: L3Agent, cloud: Cloud, external: Member, part: str
) -> None:
    subnet = cloud.subnet()
    cloud.router(external, subnet)
    port = cloud.port(subnet)
    wait_equal(bed)
    program = {one.name: one for one in (bed.database.program, bed.neutron.api)}[part]
    program.kill()
    eventlet.sleep(5)
    program.start()
    poll(bed.neutron.answers, BACK_WITHIN)
    cloud.floating_ip(external, port)
    wait_equal(bed, BACK_WITHIN)
    assert agent.status()["removed"] == []


@pytest.mark.feature("process.without-server")
def test_our_agent_is_killed_under_load(bed: Bed, agent: L3Agent, load: eventlet.GreenThread) -> None:
    eventlet.sleep(3)
    agent.kill()
    eventlet.sleep(3)
    agent.start()
    load.wait()
    wait_equal(bed, BACK_WITHIN)


@pytest.mark.feature("process.without-server")
def test_our_agent_is_restarted_while_the_user_works_and_the_server_keeps_its_row(
    bed: Bed, agent: L3Agent, load: eventlet.GreenThread
) -> None:
    row = bed.wait_alive(BINARY)
    agent.stop()
    load.wait()
    agent.start()
    wait_equal(bed, BACK_WITHIN)
    assert bed.wait_alive(BINARY)["id"] == row["id"]


@pytest.mark.feature("process.heartbeat")
def test_the_broker_is_restarted_and_nothing_that_was_cast_meanwhile_is_missed(
    bed: Bed, agent: L3Agent, cloud: Cloud, external: Member
) -> None:
    subnet = cloud.subnet()
    router = cloud.router(external, subnet)
    wait_equal(bed)
    bed.rabbit.stop()
    # The API answers when its cast has left, so what the user does now ends when the broker is back.
    user = eventlet.spawn(lambda: cloud.floating_ip(external, cloud.port(subnet)))
    eventlet.sleep(2)
    bed.rabbit.start()
    user.wait()
    wait_equal(bed, BACK_WITHIN)
    assert len(in_kernel(bed.sandbox)[router["id"]].floating) == 1


@pytest.mark.feature("sync.agent-record")
def test_an_agent_that_is_switched_off_and_on_serves_its_routers_again(
    bed: Bed, agent: L3Agent, cloud: Cloud, external: Member
) -> None:
    cloud.router(external, cloud.subnet())
    wait_equal(bed)
    row = bed.wait_alive(BINARY)
    syncs = agent.status()["full_syncs"]
    bed.rest.update("agents", row["id"], admin_state_up=False)
    poll(lambda: agent.status()["full_syncs"] > syncs, BACK_WITHIN)
    bed.rest.update("agents", row["id"], admin_state_up=True)
    wait_equal(bed, BACK_WITHIN)


@pytest.mark.feature("sync.agent-record")
def test_an_agent_whose_row_is_deleted_comes_back_and_serves_its_routers(
    bed: Bed, agent: L3Agent, cloud: Cloud, external: Member
) -> None:
    subnet = cloud.subnet()
    router = cloud.router(external, subnet)
    wait_equal(bed)
    row = bed.wait_alive(BINARY)
    bed.rest.delete("agents", row["id"])
    assert bed.wait_alive(BINARY)["id"] != row["id"]
    poll(lambda: hosting(bed, router) == [bed.deployment.host], BACK_WITHIN)
    cloud.floating_ip(external, cloud.port(subnet))
    wait_equal(bed, BACK_WITHIN)


@pytest.mark.feature("sync.agent-record")
def test_a_node_is_drained_and_used_again_by_the_api(bed: Bed, agent: L3Agent, cloud: Cloud, external: Member) -> None:
    router = cloud.router(external, cloud.subnet())
    wait_equal(bed)
    path = f"agents/{bed.wait_alive(BINARY)['id']}/l3-routers"
    bed.rest.request("DELETE", f"{path}/{router['id']}")
    poll(lambda: not in_kernel(bed.sandbox), BACK_WITHIN)
    bed.rest.request("POST", path, {"router_id": router["id"]})
    wait_equal(bed)


def hosting(bed: Bed, router: Member) -> list[str]:
    """Name the hosts that the server has a router on."""
    return [agent["host"] for agent in bed.rest.request("GET", f"routers/{router['id']}/l3-agents")["agents"]]
