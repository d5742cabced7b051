# SPDX-License-Identifier: Apache-2.0
"""Declared tables and their derived forms; tests/functional/test_rulesets.py compares them with nft and the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3agent.dataplane.netlink import nft_elements, nft_types, ruleset, tables
from l3agent.dataplane.netlink.nft_expressions import Lookup, Nat
from l3agent.dataplane.netlink.nft_sets import NftSet, TableId
from l3agent.dataplane.netlink.nft_types import (
    IFNAME,
    INET_PROTO,
    INET_SERVICE,
    IPV4_ADDR,
    IPV6_ADDR,
    Scalar,
    device_key,
    join,
)
from l3agent.dataplane.netlink.ruleset import NftTable
from l3agent.dataplane.plan.commands import commands
from l3agent.dataplane.plan.diff import diff
from l3agent.dataplane.plan.kinds.base import Entry, Operation
from l3agent.dataplane.plan.kinds.element import Element
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.pending_flush import PendingFlush
from l3agent.dataplane.plan.kinds.table import Table

RECORDED = Path(__file__).with_name("recorded_tables.txt").read_text().splitlines()


def recorded(name: str) -> list[str]:
    return [line.split()[1] for line in RECORDED if line.startswith(f"{name} ")]


def test_the_requests_are_those_of_the_previous_release() -> None:
    """An upgrade finds the same rules, and therefore rewrites no table."""
    assert [one.hex() for one in ruleset.new_table(tables.ROUTER)] == recorded("router")
    assert [one.hex() for one in ruleset.replace_chain(tables.ROUTER, tables.HAND_OVER)] == recorded("hand_over")


ROUTER_LINES = [
    "add table ip l3agent",
    "add map ip l3agent floating_dnat { type ipv4_addr : ipv4_addr; }",
    "add map ip l3agent floating_snat { type ipv4_addr : ipv4_addr; }",
    "add map ip l3agent gateway_snat { type ifname : ipv4_addr; }",
    "add map ip l3agent hairpin_snat { type ifname : ipv4_addr; }",
    "add set ip l3agent external { type ifname; }",
    "add set ip l3agent pending_flush { type ifname . ipv4_addr . ipv4_addr; }",
    "add set ip l3agent guarded { type ifname; }",
    "add set ip l3agent gateway_addresses { type ipv4_addr; }",
    "add chain ip l3agent prerouting { type nat hook prerouting priority -100; }",
    "add chain ip l3agent output { type nat hook output priority -100; }",
    "add chain ip l3agent postrouting { type nat hook postrouting priority 100; }",
    "add chain ip l3agent guard { type filter hook postrouting priority 101; }",
    "add rule ip l3agent prerouting dnat to ip daddr map @floating_dnat",
    "add rule ip l3agent output dnat to ip daddr map @floating_dnat",
    "add rule ip l3agent postrouting oifname != @external ct status and dnat == 0 accept",
    "add rule ip l3agent postrouting snat to ip saddr map @floating_snat fully-random",
    "add rule ip l3agent postrouting snat to oifname map @gateway_snat fully-random",
    "add rule ip l3agent postrouting ct status and dnat != 0 snat to iifname map @hairpin_snat fully-random",
    "add rule ip l3agent guard ip daddr 169.254.0.0/16 oifname @external drop",
    "add rule ip l3agent guard ct status snat,dnat accept",
    "add rule ip l3agent guard oifname @guarded ip saddr != @gateway_addresses drop",
]
TRAFFIC_LINES = [
    "add table ip l3agent-traffic",
    "add set ip l3agent-traffic external { type ifname; }",
    "add set ip l3agent-traffic traffic_in { type ipv4_addr; counter; }",
    "add set ip l3agent-traffic traffic_out { type ipv4_addr; counter; }",
    "add chain ip l3agent-traffic count_in { type filter hook prerouting priority -300; }",
    "add chain ip l3agent-traffic count_out { type filter hook postrouting priority 300; }",
    "add rule ip l3agent-traffic count_in iifname @external ip daddr @traffic_in",
    "add rule ip l3agent-traffic count_out oifname @external ip saddr @traffic_out",
]


@pytest.mark.parametrize(("table", "lines"), [(tables.ROUTER, ROUTER_LINES), (tables.TRAFFIC, TRAFFIC_LINES)])
def test_a_plan_prints_the_lines_of_a_table(table: NftTable, lines: list[str]) -> None:
    (line,) = commands(Operation("add", Table(table)), "ns")
    assert line == f"ip netns exec ns nft '{'; '.join(lines)}'"


@pytest.mark.parametrize("table", tables.DECLARED)
def test_a_table_has_sets_of_its_own(table: NftTable) -> None:
    assert {one.table for one in table.sets} == {table.id}
    assert len({one.name for one in table.sets}) == len(table.sets)


def lookups(table: NftTable) -> Iterator[Lookup | Nat]:
    for chain in table.chains:
        for rule in chain.rules:
            yield from (one for one in rule if isinstance(one, Lookup | Nat))


@pytest.mark.parametrize("table", tables.DECLARED)
def test_a_rule_looks_up_keys_of_the_type_of_the_set(table: NftTable) -> None:
    for one in lookups(table):
        found = one.set if isinstance(one, Lookup) else one.map
        assert found in table.sets
        assert tuple(field.type for field in one.fields) == found.key
        assert bool(found.value) == isinstance(one, Nat)


# ---- elements -----------------------------------------------------------------------------------------------------

addresses = st.ip_addresses(v=4)
devices = st.text("qgrs-0123456789", min_size=1, max_size=15)
ports = st.integers(0, 65535)


TRIAL = TableId("inet", "trial")
NETWORKS = NftSet(TRIAL, "networks", (IPV4_ADDR,), interval=True)
PORTS = NftSet(TRIAL, "ports", (INET_SERVICE,), (IPV4_ADDR,), interval=True)
SERVICES = NftSet(TRIAL, "services", (INET_PROTO, IPV4_ADDR, INET_SERVICE), (IPV4_ADDR, INET_SERVICE), interval=True)
PAIRS = NftSet(TRIAL, "pairs", (IFNAME, IPV6_ADDR))


def is_read_back(one: NftSet, elements: dict[bytes, bytes | None]) -> bool:
    found = nft_elements.decode_elements(one, nft_elements.new_elements(one, elements.items()))
    return found == elements and all(nft_elements.is_of_type(one, key, value) for key, value in found.items())


@given(st.sets(st.tuples(devices, st.ip_addresses(v=6)), min_size=1))
def test_concatenated_keys_are_read_back(keys: set[tuple[str, IPv6Address]]) -> None:
    assert is_read_back(PAIRS, {join(PAIRS.key, key): None for key in keys})


@given(st.dictionaries(st.tuples(st.sampled_from((6, 17)), addresses, ports, ports), st.tuples(addresses, ports)))
def test_concatenated_intervals_are_read_back(
    elements: dict[tuple[int, IPv4Address, int, int], tuple[IPv4Address, int]],
) -> None:
    encoded: dict[bytes, bytes | None] = {
        b"".join(join(SERVICES.key, (protocol, address, port)) for port in sorted(both)): join(SERVICES.value, value)
        for (protocol, address, *both), value in elements.items()
    }
    assert is_read_back(SERVICES, encoded)


@given(st.sets(ports, min_size=2).filter(lambda some: len(some) % 2 == 0), addresses)
def test_intervals_are_read_back(bounds: set[int], value: IPv4Address) -> None:
    listed = iter([INET_SERVICE.encode(one) for one in sorted(bounds)])
    assert is_read_back(PORTS, {first + last: value.packed for first, last in zip(listed, listed, strict=True)})


def test_adjacent_intervals_and_the_last_address_are_read_back() -> None:
    limit = int(IPv4Address("255.255.255.255"))
    cuts = (0, 1, 10, limit)
    elements: dict[bytes, bytes | None] = {
        IPv4Address(first).packed + IPv4Address(after - 1).packed: None
        for first, after in zip(cuts, (*cuts[1:], limit + 1), strict=True)
    }
    assert is_read_back(NETWORKS, elements)


def test_an_element_of_another_type_is_foreign() -> None:
    assert not nft_elements.is_of_type(tables.EXTERNAL, b"\1\2\3\4", None)
    assert not nft_elements.is_of_type(tables.FLOATING_DNAT, b"\1\2\3\4", None)
    assert not nft_elements.is_of_type(tables.EXTERNAL, b"", None)


@pytest.mark.parametrize("one", [one for table in tables.DECLARED for one in table.sets], ids=lambda one: one.name)
def test_a_message_has_room_for_as_many_elements_as_plans_put_into_it(one: NftSet) -> None:
    value = bytes(nft_types.size(one.value)) if one.value else None
    numbers = (number.to_bytes(nft_types.size(one.key), "big") for number in range(nft_elements.MAX_ELEMENTS))
    data = nft_elements.new_elements(one, [(key, value) for key in numbers])
    assert len(nft_elements.decode_elements(one, data)) == nft_elements.MAX_ELEMENTS


@pytest.mark.parametrize(
    ("one", "ends", "expected"),
    [
        (tables.PENDING_FLUSH, [("address", IPv4Address(1), IPv4Address(0))], '"address" . 0.0.0.1 . 0.0.0.0'),
        (PORTS, [(80,), (90,)], "80-90"),
        (SERVICES, [(6, IPv4Address("192.0.2.1"), 1), (6, IPv4Address("192.0.2.1"), 2)], "6 . 192.0.2.1 . 1-2"),
    ],
)
def test_the_text_of_a_key(one: NftSet, ends: list[tuple[Scalar, ...]], expected: str) -> None:
    key = b"".join(join(one.key, end) for end in ends)
    assert nft_types.text(one.key, key, interval=one.interval) == expected


# ---- several tables -----------------------------------------------------------------------------------------------


def test_a_removed_table_takes_its_elements_along_and_leaves_those_of_other_tables() -> None:
    other = Table(tables.TRAFFIC)
    ours: set[Entry] = {Namespace("ns"), Table(), Element(tables.EXTERNAL, device_key("qg-a"))}
    counted = Element(tables.TRAFFIC_IN, IPv4Address(1).packed)
    added = diff(ours | {other, counted}, ours)
    assert [one.entry for one in added.operations] == [other, counted]
    (removal,) = diff(ours, ours | {other, counted}).operations
    assert removal == Operation("remove", other)
    assert commands(removal, "ns") == ["ip netns exec ns nft 'delete table ip l3agent-traffic'"]
    broken: set[Entry] = {replace(other, is_intact=False), counted, PendingFlush("address", IPv4Address(1))}
    again = diff(ours | {other, counted}, ours | broken)
    assert [(one.verb, one.entry) for one in again.operations if not isinstance(one.entry, PendingFlush)] == [
        ("change", other),
        ("add", counted),
    ]
