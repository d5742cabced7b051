# SPDX-License-Identifier: Apache-2.0
"""Features that a router asks for and that are not served: named once each, and no reason to reject anything."""

from __future__ import annotations

from typing import Any

import pytest

from l3agent.model.desired import desired_state
from l3agent.model.unserved import FEATURES
from tests.support.payloads import a_fixed_ip, a_floating_ip, a_gateway, a_port, a_router, a_subnet, legacy_payload

FIP = a_floating_ip("203.0.113.100", "10.0.0.5")
V6_PORT = {"fixed_ips": [a_fixed_ip("2001:db8:1::1", 64)]}


def v6(**subnet: Any) -> dict[str, Any]:
    return {"_interfaces": [a_port(fixed_ips=V6_PORT["fixed_ips"], subnets=[a_subnet("2001:db8:1::/64") | subnet])]}


@pytest.mark.feature("operation.unserved-features")
@pytest.mark.parametrize(
    ("change", "feature", "words"),
    [
        ({"_pf_floatingips": [{"floating_ip_address": "203.0.113.135"}]}, "port_forwarding", "203.0.113.135"),
        ({"fip_managed_by_port_forwardings": ["5f39f1d0"]}, "port_forwarding", "5f39f1d0"),
        ({"_floatingips": [FIP | {"port_forwardings": [{"id": "x"}]}]}, "port_forwarding", "203.0.113.100"),
        ({"_floatingips": [FIP | {"qos_policy_id": "q1"}]}, "qos", "203.0.113.100"),
        ({"_floatingips": [FIP | {"qos_network_policy_id": "q1"}]}, "qos", "203.0.113.100"),
        ({"external_gateway_info": {"qos_policy_id": "q1"}}, "qos", "gateway"),
        ({"gw_port": a_gateway(qos_network_policy_id="q1")}, "qos", "gateway"),
        ({"conntrack_helpers": ["c1", "c2"]}, "conntrack_helpers", "c1, c2"),
        ({"enable_ndp_proxy": True}, "ndp_proxy", "enable_ndp_proxy"),
        (v6(ipv6_ra_mode="slaac"), "router_advertisements", "2001:db8:1::/64 (slaac)"),
        (v6(subnetpool_id="prefix_delegation"), "prefix_delegation", "subnet 2001:db8:1::/64"),
    ],
)
def test_a_feature_that_a_router_asks_for_is_named_once(change: dict[str, Any], feature: str, words: str) -> None:
    state = desired_state(a_router(**change))
    assert state.unserved_features == {feature} <= set(FEATURES)
    (warning,) = state.warnings
    assert "not served: " in warning and words in warning


def test_a_router_that_asks_for_nothing_has_no_warning() -> None:
    nothing = {
        "_pf_floatingips": [], "fip_managed_by_port_forwardings": [], "conntrack_helpers": [],
        "enable_ndp_proxy": False,
        "_floatingips": [FIP | {"port_forwardings": [], "qos_policy_id": None, "qos_network_policy_id": None}],
        "external_gateway_info": {"qos_policy_id": None}, "gw_port": a_gateway(qos_policy_id=None),
    }  # fmt: skip
    state = desired_state(a_router(**nothing) | v6(ipv6_ra_mode=None))
    assert (state.warnings, state.unserved_features) == ((), frozenset())


def test_metadata_is_asked_for_by_the_configuration_where_a_router_has_an_internal_port() -> None:
    assert desired_state(a_router(), metadata_proxy=True).unserved_features == {"metadata"}
    assert desired_state(a_router(_interfaces=[]), metadata_proxy=True).unserved_features == frozenset()
    assert "enable_metadata_proxy" in desired_state(a_router(), metadata_proxy=True).warnings[0]


def test_the_router_of_a_real_server_asks_for_two_features() -> None:
    assert desired_state(legacy_payload()).unserved_features == {"port_forwarding", "router_advertisements"}


def test_features_change_nothing_else_of_the_state_and_the_names_of_very_many_are_cut() -> None:
    plain = a_router(_floatingips=[FIP])
    many = [{"floating_ip_address": f"203.0.113.{n}"} for n in range(120, 160)]
    state = desired_state(plain | {"_pf_floatingips": many})
    assert state == desired_state(plain)
    assert state.warnings[0].endswith("203.0.113.124 and 35 more")


@pytest.mark.parametrize(
    "damage", [None, 7, "x", {"a": 1}, [None, 7, "x", [], {}], [{"floating_ip_address": "\n\ud800"}]]
)
def test_damage_in_what_is_not_served_anyway_rejects_nothing(damage: Any) -> None:
    keys = ("_pf_floatingips", "fip_managed_by_port_forwardings", "conntrack_helpers", "enable_ndp_proxy")
    state = desired_state(a_router(**dict.fromkeys(keys, damage)))
    assert state == desired_state(a_router())
    assert all(warning.isprintable() and warning.isascii() and len(warning) < 500 for warning in state.warnings)
