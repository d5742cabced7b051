# SPDX-License-Identifier: Apache-2.0
"""Damage in one part of a payload changes that part of the desired state, and nothing beside it."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from l3agent.model.desired import desired_state
from l3agent.model.names import device_name
from l3agent.model.states import FloatingIP, Port, Route, RouterState
from tests.property.test_desired_properties import assert_sound
from tests.support.payloads import a_fixed_ip, a_floating_ip, a_gateway, a_port, a_router, a_subnet
from tests.support.states import only_namespace
from tests.support.strategies import damage, places, values

# Damage may give another valid value that excludes another part, which is then skipped by rule: no matter of this test.
_EXCLUDED = ("overlaps", "same 11 characters", "another floating IP", "has floating IP", "a port of the router has")


def sound_router() -> dict[str, Any]:
    """Return a router whose addresses are in none of the values that damage draws."""
    ports = [
        a_port(
            number,
            fixed_ips=[a_fixed_ip(f"192.168.{number}.1", 24), a_fixed_ip(f"2001:db8:a{number}::1", 64)],
            subnets=[a_subnet(f"192.168.{number}.0/24"), a_subnet(f"2001:db8:a{number}::/64")],
        )
        for number in (1, 2, 3)
    ]
    gateway = a_gateway(
        fixed_ips=[a_fixed_ip("198.18.0.10", 24)], subnets=[a_subnet("198.18.0.0/24", gateway_ip="198.18.0.1")]
    )
    return a_router(
        gw_port=gateway,
        enable_snat=True,
        _interfaces=ports,
        _floatingips=[a_floating_ip(f"198.18.0.{n}", f"192.168.{n}.9") for n in (101, 102, 103)],
        routes=[{"destination": f"172.30.{n}.0/24", "nexthop": f"192.168.{n}.77"} for n in (1, 2, 3)],
    )


SOUND = desired_state(sound_router())


@st.composite
def one_part_damaged(draw: st.DrawFn, key: str) -> dict[str, Any]:
    """Return the router with the second element of one of its lists damaged at any depth, or replaced."""
    router = copy.deepcopy(sound_router())
    if draw(st.booleans()):
        router[key][1] = draw(values)
    else:
        damage(draw, *draw(st.sampled_from(list(places(router[key][1])))))
    return router


def damaged_state(router: dict[str, Any]) -> RouterState:
    state = desired_state(router)
    assume(not any(words in warning for warning in state.warnings for words in _EXCLUDED))
    assert_sound(state)
    event("skipped" if state.warnings else "another valid value")
    return state


def kept_ports(state: RouterState) -> set[Port]:
    return {port for port in SOUND.all_ports() if port in state.all_ports()}


def kept_routes(state: RouterState) -> set[Route]:
    return {route for route in SOUND.routes if route in state.routes}


def kept_floating_ips(state: RouterState) -> set[FloatingIP]:
    return {pair for pair in SOUND.floating_ips if pair in state.floating_ips}


@pytest.mark.feature("sync.skipped-parts")
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(one_part_damaged("_interfaces"))
def test_a_damaged_port_costs_its_own_addresses_and_routes(router: dict[str, Any]) -> None:
    state = damaged_state(router)
    damaged = device_name("qr-", a_port(2)["id"])
    assert (state.gateway, only_namespace(state).nat_address, state.snat) == (
        SOUND.gateway,
        only_namespace(SOUND).nat_address,
        True,
    )
    assert state.floating_ips == SOUND.floating_ips and not state.unserved_floating_ips
    assert kept_ports(state) >= {port for port in SOUND.all_ports() if port.device != damaged}
    assert kept_routes(state) >= {one for one in SOUND.routes if all(hop.device != damaged for hop in one.hops)}


@pytest.mark.feature("sync.skipped-parts")
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(one_part_damaged("_floatingips"))
def test_a_damaged_floating_ip_costs_itself(router: dict[str, Any]) -> None:
    state = damaged_state(router)
    assert (state.all_ports(), state.gateway, state.routes) == (
        SOUND.all_ports(),
        SOUND.gateway,
        SOUND.routes,
    )
    assert len(kept_floating_ips(state)) >= 2 and len(state.floating_ips) <= 3
    assert len(state.unserved_floating_ips) <= 1 and len(state.warnings) <= 1
    assert not state.unserved_floating_ips & {"floating 198.18.0.101", "floating 198.18.0.103"}


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(one_part_damaged("routes"))
def test_a_damaged_route_costs_itself(router: dict[str, Any]) -> None:
    state = damaged_state(router)
    assert (state.all_ports(), state.gateway, state.floating_ips) == (
        SOUND.all_ports(),
        SOUND.gateway,
        SOUND.floating_ips,
    )
    destinations = {route.destination for route in kept_routes(state)}
    # A route to everything is the tenant's to give, and takes the place of the default route.
    others = {route for route in SOUND.routes if str(route.destination) not in ("172.30.2.0/24", "0.0.0.0/0")}
    assert {route.destination for route in others} <= destinations


@pytest.mark.feature("sync.skipped-parts")
@settings(max_examples=200)
@given(st.sampled_from(["gw_port", "_interfaces", "_floatingips", "routes"]), st.randoms(use_true_random=False), values)
def test_the_order_of_lists_makes_no_difference_to_what_is_skipped(
    key: str, shuffler: random.Random, value: Any
) -> None:
    router = sound_router()
    twin = copy.deepcopy(router["_floatingips"][0]) | {"id": "twin", "floating_ip_address": "198.18.0.200"}
    overlapping = a_port(4, fixed_ips=[a_fixed_ip("192.168.0.1", 16), a_fixed_ip("10.9.0.1", 24)])
    router["_floatingips"].append(twin)
    router["_interfaces"].append(overlapping)
    if key == "gw_port":
        router[key] = value
    else:
        router[key].append(value)
    shuffled = copy.deepcopy(router)
    for name in ("_interfaces", "_floatingips", "routes"):
        shuffler.shuffle(shuffled[name])
    one, other = desired_state(router), desired_state(shuffled)
    assert one == other
    assert (one.warnings, one.unserved_floating_ips) == (other.warnings, other.unserved_floating_ips)
