# SPDX-License-Identifier: Apache-2.0
"""Statuses of floating IPs in the API: of routers that an agent stops serving, and of routers that change nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.functional.conftest import show
from tests.neutron.bed import Bed
from tests.neutron.cloud import Cloud, Member
from tests.neutron.expect import SOON, wait_equal, wait_status
from tests.neutron.kernel import in_kernel
from tests.neutron.l3_agents import BINARY, L3Agent
from tests.support.waiting import poll

pytestmark = pytest.mark.neutron

#: Its own /run keeps its namespaces apart from those of the first node, and Linux bridges keep its ports out of the
#: switch of the first node.
_NODE = """
mount -t tmpfs tmpfs /run && mkdir -p /run/netns && mount --bind /run/netns /run/netns || exit 1
mount --make-shared /run/netns && exec "$@"
"""
#: Seconds in which a wrong late report would have reached the API.
_LATE_S = 5


@pytest.fixture
def second(bed: Bed) -> Iterator[L3Agent]:
    """A second node with our agent; started by the test."""
    folder = bed.folder / "node2"
    folder.mkdir(exist_ok=True)
    deployment = replace(bed.deployment, host="node2", state_path=folder / "state", interface_driver="bridge")
    deployment.state_path.mkdir(exist_ok=True)
    second = L3Agent(bed.sandbox, folder, deployment)
    second.log.unlink(missing_ok=True)
    second.wrap(lambda argv: ["unshare", "--mount", "sh", "-c", _NODE, "sh", *argv])
    try:
        yield second
    finally:
        second.stop()
        show(second.log)
        for row in bed.rest.list("agents", binary=BINARY, host="node2"):
            bed.rest.delete("agents", row["id"])


def test_floating_ips_are_down_when_their_router_is_served_no_more_and_active_again(
    bed: Bed, agent: L3Agent, cloud: Cloud, external: Member
) -> None:
    subnet = cloud.subnet()
    router = cloud.router(external, subnet)
    stays, leaves = (cloud.floating_ip(external, cloud.port(subnet)) for _ in range(2))
    for one in (stays, leaves):
        wait_status(bed, one, "ACTIVE")
    # It leaves a router that is still served.
    bed.rest.update("floatingips", leaves["id"], port_id=None)
    wait_status(bed, leaves, "DOWN")
    assert _status(bed, stays) == "ACTIVE"
    bed.rest.update("routers", router["id"], admin_state_up=False)
    wait_status(bed, stays, "DOWN")
    wait_equal(bed)
    bed.rest.update("routers", router["id"], admin_state_up=True)
    wait_status(bed, stays, "ACTIVE")
    # The last one leaves too.
    bed.rest.update("floatingips", stays["id"], port_id=None)
    wait_status(bed, stays, "DOWN")
    bed.rest.update("floatingips", stays["id"], port_id=cloud.port(subnet)["id"])
    wait_status(bed, stays, "ACTIVE")
    row = bed.wait_alive(BINARY)
    bed.rest.update("agents", row["id"], admin_state_up=False)
    wait_status(bed, stays, "DOWN")
    poll(lambda: not in_kernel(bed.sandbox), SOON)
    bed.rest.update("agents", row["id"], admin_state_up=True)
    wait_status(bed, stays, "ACTIVE")


@pytest.mark.feature("router.floating-ip-status")
def test_a_floating_ip_is_active_after_a_move_between_two_nodes_in_either_order(
    bed: Bed, agent: L3Agent, cloud: Cloud, external: Member, second: L3Agent
) -> None:
    subnet = cloud.subnet()
    router = cloud.router(external, subnet)
    floating_ip = cloud.floating_ip(external, cloud.port(subnet))
    wait_status(bed, floating_ip, "ACTIVE")
    second.start()
    second.wait_in_sync()

    # The first node removes it, then the second one builds it; and back.
    for source, target in (("node1", "node2"), ("node2", "node1")):
        _unschedule(bed, source, router)
        wait_status(bed, floating_ip, "DOWN")
        _schedule(bed, target, router)
        wait_status(bed, floating_ip, "ACTIVE")

    # The second one builds it while the first one stands still; then the first one hears that it has lost it.
    with agent.paused():
        time.sleep(2 * bed.deployment.report_interval + 1)
        _unschedule(bed, "node1", router)
        _schedule(bed, "node2", router)
        wait_status(bed, floating_ip, "ACTIVE")
    poll(lambda: not in_kernel(bed.sandbox), SOON)
    _assert_stays_active(bed, floating_ip)

    # The first one builds it while the second one is away; then the second one starts and removes what it has.
    second.kill()
    _unschedule(bed, "node2", router)
    _schedule(bed, "node1", router)
    wait_status(bed, floating_ip, "ACTIVE")
    poll(lambda: router["id"] in in_kernel(bed.sandbox), SOON)
    second.start()
    second.wait_in_sync()
    assert router["id"] not in second.status()["routers"]
    _assert_stays_active(bed, floating_ip)


def _status(bed: Bed, floating_ip: Member) -> str:
    return str(bed.rest.get("floatingips", floating_ip["id"])["status"])


def _assert_stays_active(bed: Bed, floating_ip: Member) -> None:
    for _ in range(_LATE_S):
        assert _status(bed, floating_ip) == "ACTIVE"
        time.sleep(1)


def _schedule(bed: Bed, host: str, router: Member) -> None:
    bed.rest.request("POST", f"agents/{_agent_id(bed, host)}/l3-routers", {"router_id": router["id"]})


def _unschedule(bed: Bed, host: str, router: Member) -> None:
    bed.rest.request("DELETE", f"agents/{_agent_id(bed, host)}/l3-routers/{router['id']}")


def _agent_id(bed: Bed, host: str) -> str:
    return str(bed.rest.list("agents", binary=BINARY, host=host)[0]["id"])
