# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest

from l3agent.demo.samples import sample
from l3agent.model.desired import desired_state
from l3agent.standalone.entities import Topology
from l3agent.standalone.router_payload import network_payload, ports_of_subnet, router_payload
from l3agent.standalone.topology import load
from tests.support.payloads import legacy_payload
from tests.support.states import only_namespace

REAL = legacy_payload()

#: Keys of extensions and of service plug-ins that this server does not have.
OPTIONAL = {"_pf_floatingips", "port_forwardings_fip_set", "fip_managed_by_port_forwardings"}
OPTIONAL_OF_PORTS = {"dns_assignment", "dns_name"}


@pytest.fixture(scope="module")
def topology() -> Topology:
    return load(sample("topology.yaml"))


def payload(topology: Topology, name: str) -> dict[str, Any]:
    router = next(router for router in topology.routers if router.name == name)
    return router_payload(router, host="node1", status=lambda association: "ACTIVE")


def shape(value: Any) -> Any:
    """Return the name of the JSON type of a value; null is compatible with each type."""
    return type(value).__name__ if value is not None else "null"


def assert_same_shape(ours: dict[str, Any], theirs: dict[str, Any], left_out: set[str]) -> None:
    assert set(ours) == set(theirs) - left_out
    for key in ours:
        assert shape(ours[key]) == shape(theirs[key]) or None in (ours[key], theirs[key]), key


def test_a_router_has_the_keys_and_types_of_neutron(topology: Topology) -> None:
    ours = payload(topology, "r1")
    assert json.loads(json.dumps(ours)) == ours
    assert_same_shape(ours, REAL, OPTIONAL)
    assert_same_shape(ours["gw_port"], REAL["gw_port"], OPTIONAL_OF_PORTS)
    for port in ours["_interfaces"]:
        assert_same_shape(port, REAL["_interfaces"][0], OPTIONAL_OF_PORTS)
        assert_same_shape(port["fixed_ips"][0], REAL["_interfaces"][0]["fixed_ips"][0], set())
        assert_same_shape(port["subnets"][0], REAL["_interfaces"][0]["subnets"][0], set())
        assert_same_shape(port["extra_subnets"][0], REAL["_interfaces"][0]["extra_subnets"][0], set())
    assert_same_shape(ours["_floatingips"][0], REAL["_floatingips"][0], set())
    details = ours["_floatingips"][0]["port_details"]
    assert_same_shape(details, REAL["_floatingips"][0]["port_details"], set())
    assert_same_shape(ours["external_gateway_info"], REAL["external_gateway_info"], set())


def test_a_router_without_floating_ips_lacks_their_key_as_in_neutron(topology: Topology) -> None:
    assert "_floatingips" not in payload(topology, "r3")


def test_every_router_of_the_sample_gives_the_desired_state_of_the_file(topology: Topology) -> None:
    for router in topology.routers:
        state = desired_state(payload(topology, router.name))
        assert state.id == router.id
        assert not state.warnings
        assert {i.ip for port in only_namespace(state).ports for i in port.addresses} == {
            fixed.address for port in router.interfaces for fixed in port.fixed_ips
        }
        assert router.gateway is not None and state.gateway is not None
        assert {i.ip for i in state.gateway.addresses} == {fixed.address for fixed in router.gateway.fixed_ips}
        assert {i.network for port in state.all_ports() for i in port.addresses} == {
            fixed.subnet.cidr for port in router.ports() for fixed in port.fixed_ips
        }
        assert {(pair.floating, pair.fixed) for pair in state.floating_ips} == {
            (pair.floating, pair.fixed) for pair in router.floating_ips
        }
        assert {(route.destination, hop.via) for route in state.routes for hop in route.hops} >= {
            (route.destination, route.nexthop) for route in router.routes
        }
        assert {port.mac for port in state.all_ports()} == {port.mac for port in router.ports()}
        assert state.snat is router.snat


def test_ports_of_a_subnet_belong_to_routers_and_hosts(topology: Topology) -> None:
    blue = next(network for network in topology.networks if network.name == "blue")
    ports = ports_of_subnet(topology, blue.subnets[0].id)
    found = {(port["device_owner"], port["fixed_ips"][0]["ip_address"]) for port in ports}
    assert found == {
        ("network:router_interface", "10.0.0.1"),
        ("compute:nova", "10.0.0.5"),
        ("compute:nova", "10.0.0.6"),
        ("compute:nova", "10.0.0.77"),
    }


def test_a_network_has_the_keys_that_interface_drivers_read(topology: Topology) -> None:
    by_name = {network["name"]: network for network in map(network_payload, topology.networks)}
    assert by_name["public"]["router:external"] is True
    assert (by_name["red"]["mtu"], by_name["blue"]["mtu"]) == (1450, 1500)
