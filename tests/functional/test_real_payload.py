# SPDX-License-Identifier: Apache-2.0
"""The router that a real server sent, over RabbitMQ, through the real agent and data plane, into a real kernel.

The state that Neutron's own agent made of the same payload is the measure. Variations of the payload change that
measure in the one place where they should, and in no other.
"""

from __future__ import annotations

from typing import Any

import pytest

from l3agent.testing import wait_until
from tests.support.cloud import Cloud, assert_same
from tests.support.kernel import RouterFacts
from tests.support.payloads import a_gateway, a_port, a_router, legacy_payload

ROUTER = legacy_payload()["id"]
NAMESPACE = f"qrouter-{ROUTER}"
QR4, QR6, QG = "qr-03dbf1c2-f7", "qr-06382499-80", "qg-bb04a719-1a"
FLOATING_IP = legacy_payload()["_floatingips"][0]["id"]


@pytest.mark.feature("router.names", "router.extra-subnets")
def test_the_kernel_holds_what_neutrons_agent_made_of_the_same_payload(cloud: Cloud, expected: RouterFacts) -> None:
    assert_same(cloud.facts(), expected)


def test_the_agent_reports_before_it_asks_for_routers(cloud: Cloud) -> None:
    order = [method for method, _ in cloud.server.calls]
    assert order.index("report_state") < order.index("get_router_ids") <= order.index("sync_routers")


@pytest.mark.feature("router.floating-ip-status")
def test_the_floating_ip_is_reported_active(cloud: Cloud) -> None:
    assert wait_until(lambda: cloud.server.fip_statuses.get(FLOATING_IP), timeout=10) == "ACTIVE"


@pytest.mark.feature("router.floating-ip")
def test_a_floating_ip_comes_moves_and_goes(cloud: Cloud, expected: RouterFacts) -> None:
    router = legacy_payload()
    second = router["_floatingips"][0] | {"id": "f2", "floating_ip_address": "203.0.113.223"}
    router["_floatingips"].append(second | {"fixed_ip_address": "10.0.0.216"})
    cloud.put(router)
    expected.addresses.add((QG, "203.0.113.223/32"))
    expected.dnat["203.0.113.223"] = "10.0.0.216"
    expected.snat["10.0.0.216"] = "203.0.113.223"
    assert_same(cloud.facts(), expected)

    router["_floatingips"][1]["fixed_ip_address"] = "10.0.0.217"
    cloud.put(router)
    expected.dnat["203.0.113.223"] = "10.0.0.217"
    expected.snat["10.0.0.217"] = expected.snat.pop("10.0.0.216")
    assert_same(cloud.facts(), expected)

    del router["_floatingips"][0]
    cloud.put(router)
    expected.addresses.remove((QG, "203.0.113.222/32"))
    del expected.dnat["203.0.113.222"], expected.snat["10.0.0.215"]
    assert_same(cloud.facts(), expected)
    assert wait_until(lambda: cloud.server.fip_statuses.get("f2"), timeout=10) == "ACTIVE"


@pytest.mark.feature("router.snat")
def test_snat_off_leaves_floating_ips_and_their_hairpin_alone(cloud: Cloud, expected: RouterFacts) -> None:
    cloud.put(legacy_payload() | {"enable_snat": False})
    expected.snat_out.clear()
    assert_same(cloud.facts(), expected)


def test_a_router_loses_its_gateway_and_gets_it_back(cloud: Cloud, expected: RouterFacts) -> None:
    cloud.put(legacy_payload() | {"gw_port": None, "gw_port_id": None, "external_gateway_info": None})
    facts = cloud.facts()
    assert set(facts.links) == {QR4, QR6}
    assert facts.outside == set() and not (facts.dnat or facts.snat or facts.snat_out or facts.snat_hairpin)
    assert facts.routes == {route for route in expected.routes if QG not in {device for device, _ in route[2]}}
    cloud.put(legacy_payload())
    assert_same(cloud.facts(), expected)


@pytest.mark.feature("router.routes")
def test_extra_routes_of_one_destination_share_the_traffic(cloud: Cloud, expected: RouterFacts) -> None:
    routes = [{"destination": "172.30.0.0/24", "nexthop": f"10.0.0.{n}"} for n in (77, 78)]
    cloud.put(legacy_payload() | {"routes": routes})
    expected.routes.remove(("172.30.0.0/24", "agent", frozenset({(QR4, "10.0.0.77")})))
    expected.routes.add(("172.30.0.0/24", "agent", frozenset({(QR4, "10.0.0.77"), (QR4, "10.0.0.78")})))
    assert_same(cloud.facts(), expected)
    cloud.put(legacy_payload())
    expected.routes.remove(("172.30.0.0/24", "agent", frozenset({(QR4, "10.0.0.77"), (QR4, "10.0.0.78")})))
    expected.routes.add(("172.30.0.0/24", "agent", frozenset({(QR4, "10.0.0.77")})))
    assert_same(cloud.facts(), expected)


def test_an_ipv6_extra_route_and_one_that_nobody_reaches(cloud: Cloud, expected: RouterFacts) -> None:
    added = [
        {"destination": "2001:db8:30::/64", "nexthop": "2001:db8:1::77"},
        {"destination": "172.31.0.0/24", "nexthop": "192.0.2.77"},
    ]
    router = legacy_payload()
    router["routes"] += added
    cloud.put(router)
    expected.routes.add(("2001:db8:30::/64", "agent", frozenset({(QR6, "2001:db8:1::77")})))
    assert_same(cloud.facts(), expected)


@pytest.mark.feature("router.off-subnet-gateway")
def test_a_gateway_outside_its_subnet_is_reached_on_link(cloud: Cloud, expected: RouterFacts) -> None:
    router = legacy_payload()
    router["gw_port"]["subnets"][0]["gateway_ip"] = "192.0.2.1"
    router["gw_port"]["subnets"][1]["gateway_ip"] = "2001:db8:fffe::1"
    cloud.put(router)
    expected.routes -= {
        ("0.0.0.0/0", "agent", frozenset({(QG, "203.0.113.1")})),
        ("::/0", "agent", frozenset({(QG, "2001:db8:ffff::1")})),
    }
    expected.routes |= {
        ("0.0.0.0/0", "agent", frozenset({(QG, "192.0.2.1")})),
        ("192.0.2.1/32", "agent", frozenset({(QG, None)})),
        ("::/0", "agent", frozenset({(QG, "2001:db8:fffe::1")})),
        ("2001:db8:fffe::1/128", "agent", frozenset({(QG, None)})),
    }
    assert_same(cloud.facts(), expected)


def test_a_port_gets_a_second_subnet_another_mtu_and_another_mac(cloud: Cloud, expected: RouterFacts) -> None:
    router = legacy_payload()
    port = router["_interfaces"][0]
    port["fixed_ips"].append({"ip_address": "10.0.7.1", "prefixlen": 25, "subnet_id": "s7"})
    port["mtu"] = 1450
    cloud.put(router)
    expected.links[QR4] = (expected.links[QR4][0], 1450)
    expected.addresses.add((QR4, "10.0.7.1/25"))
    expected.routes.add(("10.0.7.0/25", "kernel", frozenset({(QR4, None)})))
    assert_same(cloud.facts(), expected)

    port["mac_address"] = "12:34:56:00:00:01"
    cloud.put(router)
    expected.links[QR4] = ("12:34:56:00:00:01", 1450)
    expected.addresses.remove((QR4, "fe80::1034:56ff:fe19:77cd/64"))
    expected.addresses.add((QR4, "fe80::1034:56ff:fe00:1/64"))
    assert_same(cloud.facts(), expected)


def test_a_port_that_goes_down_is_removed_with_what_leant_on_it(cloud: Cloud, expected: RouterFacts) -> None:
    router = legacy_payload()
    router["_interfaces"][0]["admin_state_up"] = False
    cloud.put(router)
    facts = cloud.facts()
    assert set(facts.links) == {QR6, QG}
    assert facts.snat_hairpin == {QR6: "203.0.113.53"}
    assert facts.routes == {route for route in expected.routes if QR4 not in {device for device, _ in route[2]}}


def test_a_second_router_with_the_same_addresses_has_a_world_of_its_own(cloud: Cloud, expected: RouterFacts) -> None:
    gateway = a_gateway(fixed_ips=[{"ip_address": "203.0.113.54", "prefixlen": 24, "subnet_id": "s"}])
    twin = a_router(gw_port=gateway)
    cloud.server.add_to_agent(twin)
    cloud.agent.wait_for(lambda status: status["routers"].get(twin["id"], {}).get("state") == "active")
    assert ("qr-a0000001-00", "10.0.0.1/24") in cloud.facts(twin["id"]).addresses
    assert_same(cloud.facts(), expected)
    cloud.server.remove_from_agent(twin["id"])
    wait_until(lambda: cloud.sandbox.namespaces() == {NAMESPACE}, timeout=10)
    assert_same(cloud.facts(), expected)


@pytest.mark.feature("sync.isolation")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"_interfaces": 7}, "_interfaces"),
        ({"admin_state_up": "up"}, "admin_state_up"),
    ],
)
def test_a_malformed_router_is_refused_with_its_path_and_the_others_go_on(
    cloud: Cloud, expected: RouterFacts, change: dict[str, Any], told: str
) -> None:
    bad = a_router() | change
    cloud.server.put(bad)
    status = cloud.agent.wait_for(lambda status: status["routers"].get(bad["id"], {}).get("state") == "error")
    assert told in status["routers"][bad["id"]]["error"]
    cloud.put(legacy_payload() | {"enable_snat": False})
    expected.snat_out.clear()
    assert_same(cloud.facts(), expected)


def test_a_router_that_becomes_malformed_keeps_what_it_has(cloud: Cloud, expected: RouterFacts) -> None:
    cloud.server.put(legacy_payload() | {"_interfaces": 7})
    cloud.agent.wait_for(lambda status: status["routers"][ROUTER]["state"] == "error")
    assert_same(cloud.facts(), expected)
    cloud.put(legacy_payload())
    assert cloud.agent.status()["routers"][ROUTER]["state"] == "active"


@pytest.mark.feature("sync.skipped-parts")
def test_a_part_that_cannot_be_served_is_skipped_and_the_rest_is_built(cloud: Cloud, expected: RouterFacts) -> None:
    """Two floating IPs for one fixed address, a bad route and a bad port: the kernel holds all the others."""
    bad = legacy_payload()
    twin = bad["_floatingips"][0] | {"id": "f2", "floating_ip_address": "203.0.113.223"}
    bad["_floatingips"].insert(0, twin)
    bad["routes"].append({"destination": "172.30.0.0/33", "nexthop": "10.0.0.77"})
    bad["_interfaces"].append(a_port(mac_address="01:00:5e:00:00:01"))
    cloud.put(bad)
    assert_same(cloud.facts(), expected)
    wait_until(lambda: cloud.server.fip_statuses.get("f2") == "ERROR", timeout=20)
    assert cloud.server.fip_statuses[FLOATING_IP] == "ACTIVE"
    warnings = " ".join(cloud.agent.status()["routers"][ROUTER]["warnings"])
    assert "203.0.113.223" in warnings and "172.30.0.0/33" in warnings and "mac_address" in warnings
    # On a node that has nothing of a router, as much of it is built.
    cloud.server.put(new := a_router(gw_port=a_gateway(mac_address="01:00:5e:00:00:01")))
    cloud.agent.wait_for(lambda status: status["routers"].get(new["id"], {}).get("state") == "active")
    assert ("qr-a0000001-00", "10.0.0.1/24") in cloud.facts(new["id"]).addresses
    del bad["_floatingips"][1]
    cloud.put(bad)
    wait_until(lambda: cloud.server.fip_statuses.get("f2") == "ACTIVE", timeout=20)


def test_a_deleted_router_leaves_nothing(cloud: Cloud) -> None:
    cloud.server.delete(ROUTER)
    wait_until(lambda: cloud.sandbox.namespaces() == set(), timeout=10)
    wait_until(lambda: [link["ifname"] for link in cloud.sandbox.json("ip -j link")] == ["lo"], timeout=10)


def test_an_agent_killed_and_started_again_changes_nothing(cloud: Cloud, expected: RouterFacts) -> None:
    cloud.agent.kill()
    assert_same(cloud.facts(), expected)
    cloud.agent.start()
    status = cloud.agent.wait_in_sync()
    assert status["routers"][ROUTER]["last"]["operations"] == []
    assert_same(cloud.facts(), expected)


def test_what_changed_while_the_agent_was_away_is_not_missed(cloud: Cloud, expected: RouterFacts) -> None:
    cloud.agent.kill()
    cloud.server.put(legacy_payload() | {"enable_snat": False})
    gone = a_router()
    cloud.sandbox.run(["ip", "netns", "add", f"qrouter-{gone['id']}"])
    cloud.agent.start()
    cloud.agent.wait_in_sync()
    expected.snat_out.clear()
    assert_same(cloud.facts(), expected)
    wait_until(lambda: cloud.sandbox.namespaces() == {NAMESPACE}, timeout=10)
