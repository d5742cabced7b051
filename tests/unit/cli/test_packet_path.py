# SPDX-License-Identifier: Apache-2.0
"""Paths through broken routers, and a verdict for every packet. Real packets are sent in
tests/functional/test_trace.py."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l3agent.cli.packet_path import Packet, PacketPath, find_path
from l3agent.dataplane.plan.as_json import entries_to_json
from l3agent.dataplane.plan.drivers.bridge import BridgeDriver
from l3agent.dataplane.plan.render import entries
from tests.support.payloads import a_fixed_ip, a_floating_ip, a_network, a_port, a_router
from tests.support.states import desired_namespace
from tests.support.strategies import router_states

FLOATING, FIXED, OUTSIDE = "203.0.113.100", "10.0.0.5", "192.0.2.1"


def router() -> list[dict[str, Any]]:
    ports = [a_port(), a_port(2, fixed_ips=[a_fixed_ip("10.0.1.1", 24)], network_id=a_network(2))]
    payload = a_router(
        _interfaces=ports,
        _floatingips=[a_floating_ip(FLOATING, FIXED)],
        routes=[{"destination": "172.30.0.0/24", "nexthop": hop} for hop in ("10.0.0.7", "10.0.1.8")],
    )
    state = desired_namespace(payload)
    return entries_to_json(entries(("router", state.id), state, BridgeDriver()))


def of(found: list[dict[str, Any]], source: str, destination: str, device: str | None = None) -> PacketPath:
    return find_path(found, Packet(ip_address(source), ip_address(destination), device=device))


def changed(kind: str, match: str, **values: Any) -> list[dict[str, Any]]:
    """Return the router with entries of a kind changed where their text has ``match``."""
    return [one | values if one["kind"] == kind and match in str(one) else one for one in router()]


def without(kind: str, match: str = "") -> list[dict[str, Any]]:
    return [one for one in router() if one["kind"] != kind or match not in str(one)]


def test_a_route_of_another_table_is_not_followed() -> None:
    found = changed("route", "172.30.0.0/24", table=1000)
    assert of(router(), "10.0.0.6", "172.30.0.9").devices != of(found, "10.0.0.6", "172.30.0.9").devices


def test_a_router_that_is_not_there_drops_everything() -> None:
    path = of([], "10.0.0.6", OUTSIDE)
    assert (path.verdict, "no namespace" in path.reason) == ("dropped", True)


@pytest.mark.parametrize(
    ("values", "reason"), [({"up": False}, "is down"), ({"bridge": ""}, "no bridge"), ({"tap": ""}, "is down")]
)
def test_a_broken_link_is_the_reason(values: dict[str, Any], reason: str) -> None:
    path = of(changed("link", "'qr-a0000001", **values), "10.0.0.6", OUTSIDE, "qr-a0000001-00")
    assert (path.verdict, reason in path.reason) == ("dropped", True)


def test_a_way_through_a_device_that_is_down_is_none() -> None:
    path = of(changed("link", "'qr-a0000002", up=False), "10.0.0.6", "10.0.1.9")
    assert path.devices == ["qg-b0000000-00"]  # the default route takes over, as in the kernel
    found = [one for one in changed("link", "'qr-a0000002", up=False) if one.get("destination") != "0.0.0.0/0"]
    assert of(found, "10.0.0.6", "10.0.1.9").reason.startswith("no route")


def test_rules_that_are_not_ours_translate_nothing() -> None:
    path = of(changed("table", "", is_intact=False), FIXED, OUTSIDE)
    assert str(path.source) == FIXED and "rules of the router are missing" in path.steps[-2].text


def test_a_floating_ip_that_is_on_no_device_is_noted() -> None:
    path = of(without("address", f"{FLOATING}/32"), OUTSIDE, FLOATING)
    assert any("cannot resolve it by ARP" in note for note in path.notes)


def test_without_its_element_a_floating_ip_is_the_router_itself() -> None:
    path = of(without("element", FLOATING), OUTSIDE, FLOATING)
    assert (path.verdict, str(path.destination)) == ("delivered", FLOATING)


def test_all_next_hops_are_listed() -> None:
    path = of(router(), OUTSIDE, "172.30.0.9")
    assert path.devices == ["qr-a0000001-00", "qr-a0000002-00"]
    assert any("share the traffic" in note for note in path.notes)


def test_the_router_itself_can_be_the_sender() -> None:
    path = of(router(), "203.0.113.10", FLOATING)
    assert (path.steps[0].place, str(path.destination)) == ("from", FIXED)


def test_a_source_that_goes_out_as_it_is_is_noted() -> None:
    without_snat = [one for one in router() if one.get("name") not in ("gateway_snat", "guarded")]
    path = of(without_snat, "10.0.0.6", OUTSIDE)
    assert any("needs a route back" in note for note in path.notes)


def test_the_guard_drops_what_leaves_untranslated_where_source_nat_is_on() -> None:
    path = of(without("element", "gateway_snat"), "10.0.0.6", OUTSIDE)
    assert (path.verdict, path.steps[-1].place) == ("dropped", "drop")
    assert "10.0.0.6 must not leave untranslated" in path.reason
    assert of(router(), "203.0.113.10", OUTSIDE).verdict == "forwarded"


def test_a_packet_that_leaves_notes_what_the_guard_drops() -> None:
    (step,) = [step for step in of(router(), "10.0.0.6", OUTSIDE).steps if step.place == "guard"]
    assert "INVALID" in step.text


def test_answers_that_the_guard_drops_are_noted() -> None:
    path = of(router(), OUTSIDE, "10.0.0.6")
    assert any("replies of 10.0.0.6 are dropped" in note for note in path.notes)


def test_link_local_destinations_leave_by_no_gateway() -> None:
    without_snat = [one for one in router() if one.get("name") not in ("gateway_snat", "guarded")]
    for found in (router(), without_snat):
        path = of(found, "10.0.0.6", "169.254.169.254")
        assert path.verdict == "dropped" and "link-local" in path.reason


def test_an_ipv6_next_hop_that_advertises_itself_is_the_condition() -> None:
    found = [*router(), {"kind": "accept_ra", "device": "qg-b0000000-00"}]
    path = of(found, "2001:db8::5", "2001:db8:ffff::1", "qr-a0000001-00")
    assert path.devices == ["qg-b0000000-00"]
    assert any("an external router sends advertisements" in note for note in path.notes)


ADDRESSES = st.one_of(
    st.sampled_from([IPv4Address(one) for one in (FLOATING, FIXED, OUTSIDE, "10.0.0.1", "10.0.0.255", "224.0.0.1")]),
    st.builds(IPv4Address, st.integers(0, 2**32 - 1)),
)


@pytest.mark.feature("operation.packet-trace")
@settings(max_examples=40)
@given(router_states(), ADDRESSES, ADDRESSES, st.sampled_from([None, "qr-x", "lo"]))
def test_every_packet_gets_an_answer(state: Any, source: Any, destination: Any, device: str | None) -> None:
    found = entries_to_json(entries(("router", state.id), state, BridgeDriver()))
    path = find_path(found, Packet(source, destination, device=device))
    assert bool(path.reason) == (path.verdict == "dropped") and path.steps
    assert bool(path.devices) == (path.verdict == "forwarded")
    path.to_values()


@settings(max_examples=40)
@given(router_states(), st.builds(IPv6Address, st.integers(0, 2**128 - 1)))
def test_ipv6_is_never_translated(state: Any, destination: IPv6Address) -> None:
    found = entries_to_json(entries(("router", state.id), state, BridgeDriver()))
    path = find_path(found, Packet(ip_address("2001:db8::5"), destination))
    assert (path.source, path.destination) == (ip_address("2001:db8::5"), destination)
