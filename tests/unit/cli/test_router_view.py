# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
from dataclasses import replace
from ipaddress import IPv4Address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l3agent.cli.router_view import describe_entry, differences, router_lines
from l3agent.cli.terminal import Screen
from l3agent.dataplane.netlink import tables
from l3agent.dataplane.netlink.nft_types import device_key
from l3agent.dataplane.plan.as_json import entries_to_json
from l3agent.dataplane.plan.drivers import load_driver
from l3agent.dataplane.plan.kinds.address import DeviceAddress
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.element import Element
from l3agent.dataplane.plan.kinds.neighbour import KernelNeighbour
from l3agent.dataplane.plan.kinds.neutron import NeutronRoute, NeutronRules
from l3agent.dataplane.plan.kinds.pending_flush import PendingFlush
from l3agent.dataplane.plan.kinds.route import KernelRoute
from l3agent.dataplane.plan.kinds.rule import KernelRule
from l3agent.dataplane.plan.kinds.stray_tap import StrayTap
from l3agent.dataplane.plan.kinds.table import Table
from l3agent.dataplane.plan.order import KINDS
from l3agent.dataplane.plan.render import entries
from l3agent.model.states import NamespaceState, NextHop
from tests.support.strategies import router_states


def router(desired: Any, actual: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": "4d2a", "name": "r1", "state": "active", "error": None, "paused": False, "plan": [], "warnings": [],
        "processes": {"found": [], "complete": True},
        "desired": entries_to_json(desired), "actual": entries_to_json(actual), **more,
    }  # fmt: skip


ADDRESS = DeviceAddress("qr-1", ip_interface("10.0.0.1/24"))
FLOATING = Element(tables.FLOATING_DNAT, IPv4Address("203.0.113.100").packed, IPv4Address("10.0.0.5").packed)
ROUTE = KernelRoute(ip_network("0.0.0.0/0"), frozenset((NextHop("qg-1", IPv4Address("203.0.113.1")),)))


def test_missing_and_unexpected_entries_are_listed_with_the_repair() -> None:
    found = router({ADDRESS, FLOATING}, {FLOATING, ROUTE}, plan=["ip address add"], paused=True)
    lines = list(router_lines(found, Screen()))
    assert lines[0] == "router 4d2a  r1  active, paused"
    assert lines[-4:] == [
        "- address 10.0.0.1/24 on qr-1",
        "+ route 0.0.0.0/0 via 203.0.113.1 dev qg-1",
        "pending repair",
        "  ip address add",
    ]


def test_no_difference_and_no_desired_state_are_reported() -> None:
    assert list(router_lines(router({ADDRESS}, {ADDRESS}), Screen()))[-1].endswith("no difference")
    unknown = router((), {ADDRESS}, plan=None, error="mac: 7: no")
    lines = list(router_lines(unknown, Screen()))
    assert lines[1] == "error: mac: 7: no" and lines[-1].endswith("no desired state")


@settings(max_examples=40)
@given(router_states(), st.sampled_from(("bridge", "linuxbridge", "openvswitch")))
def test_every_entry_has_a_line_of_its_own(state: NamespaceState, driver: str) -> None:
    found = entries(("router", state.id), state, load_driver(driver))
    others: list[Entry] = [
        NeutronRules("ip", "nat", (), ()),
        NeutronRoute(ip_network("0.0.0.0/0")),
        StrayTap("tap1"),
        PendingFlush("floating_dnat", IPv4Address(1), IPv4Address(2)),
        Table(is_intact=False),
        Table(tables.TRAFFIC),
        Element(tables.TRAFFIC_EXTERNAL, device_key("qg-1")),
        Element(tables.EXTERNAL, device_key("qg-1")),
    ]
    values = entries_to_json({*found, *others})
    assert len({describe_entry(one) for one in values}) == len(values)
    assert differences(values, values) == []


RULE = KernelRule(4, 100, 1000, ip_network("10.0.0.0/24"), "qr-1")


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (RULE, "rule 100 IPv4 from 10.0.0.0/24 iif qr-1 table 1000"),
        (KernelRule(6, 101, 1000, None, "qr-1"), "rule 101 IPv6 from all iif qr-1 table 1000"),
        (
            KernelNeighbour("qr-1", IPv4Address("10.0.0.5"), "fa:16:3e:00:00:05"),
            "neighbour 10.0.0.5 at fa:16:3e:00:00:05 on qr-1",
        ),
        (replace(ROUTE, table=1000), "route 0.0.0.0/0 via 203.0.113.1 dev qg-1 table 1000"),
    ],
)
def test_rules_neighbours_and_routes_of_other_tables_are_described(entry: Entry, text: str) -> None:
    (found,) = entries_to_json({entry})
    assert describe_entry(found) == text


def test_each_kind_has_a_description_of_its_own() -> None:
    """A kind without one gets its fields: an entry must not end ``show``."""
    source = inspect.getsource(describe_entry)
    assert [kind.kind for kind in KINDS if f'case "{kind.kind}":' not in source] == []
    assert describe_entry({"kind": "tunnel", "name": "vti1"}) == "tunnel name vti1"


def test_routes_of_other_tables_are_differences_and_name_their_table() -> None:
    lines = list(router_lines(router({ROUTE}, {ROUTE, replace(ROUTE, table=1000)}), Screen()))
    assert "+ route 0.0.0.0/0 via 203.0.113.1 dev qg-1 table 1000" in lines
    (head,) = (number for number, line in enumerate(lines) if line == "routes")
    assert {tuple(line.split()) for line in lines[head + 2 : head + 4]} == {
        ("0.0.0.0/0", "203.0.113.1", "qg-1", "main"),
        ("0.0.0.0/0", "203.0.113.1", "qg-1", "1000"),
    }
