# SPDX-License-Identifier: Apache-2.0
"""Declared tables and their derived forms; tests/functional/test_rulesets.py compares them with nft and the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3agent.dataplane.netlink import nft, nft_types, ruleset, tables
from l3agent.dataplane.netlink.nft_expressions import Lookup, Nat, NftSet
from l3agent.dataplane.netlink.nft_types import IFNAME, INET_PROTO, INET_SERVICE, IPV4_ADDR, IPV6_ADDR, Range, Value
from l3agent.dataplane.netlink.ruleset import NftTable
from l3agent.dataplane.plan.commands import commands
from l3agent.dataplane.plan.diff import diff
from l3agent.dataplane.plan.kinds.base import Entry, Operation
from l3agent.dataplane.plan.kinds.element import Element
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.pending_flush import PendingFlush
from l3agent.dataplane.plan.kinds.table import Table

RECORDED = Path(__file__).with_name("recorded_tables.txt").read_text().splitlines()
DECLARED = (tables.ROUTER, tables.COUNTING_ROUTER)


def recorded(name: str) -> list[str]:
    return [line.split()[1] for line in RECORDED if line.startswith(f"{name} ")]


def test_the_requests_are_those_of_the_previous_release() -> None:
    """An upgrade finds the same rules, and therefore rewrites no table."""
    assert [one.hex() for one in ruleset.new_table(tables.ROUTER)] == recorded("router")
    assert [one.hex() for one in ruleset.new_table(tables.COUNTING_ROUTER)] == recorded("counting")
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
COUNTING_LINES = [
    "add set ip l3agent traffic_in { type ipv4_addr; counter; }",
    "add set ip l3agent traffic_out { type ipv4_addr; counter; }",
    "add chain ip l3agent count_in { type filter hook prerouting priority -300; }",
    "add chain ip l3agent count_out { type filter hook postrouting priority 300; }",
    "add rule ip l3agent count_in iifname @external ip daddr @traffic_in",
    "add rule ip l3agent count_out oifname @external ip saddr @traffic_out",
]


@pytest.mark.parametrize("counting", [False, True])
def test_a_plan_prints_the_lines_of_the_previous_release(counting: bool) -> None:
    (line,) = commands(Operation("add", Table(counting)), "ns")
    assert line == f"ip netns exec ns nft '{'; '.join(ROUTER_LINES + (COUNTING_LINES if counting else []))}'"


def test_names_of_sets_are_unique_over_all_tables() -> None:
    for counting in (False, True):
        names = [one.name for table in tables.declared(counting=counting).values() for one in table.sets]
        assert len(names) == len(set(names))
        assert all(tables.find_set(name)[0].name in tables.declared(counting=counting) for name in names)


def lookups(table: NftTable) -> Iterator[Lookup | Nat]:
    for chain in table.chains:
        for rule in chain.rules:
            yield from (one for one in rule if isinstance(one, Lookup | Nat))


@pytest.mark.parametrize("table", DECLARED)
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


def ranges(values: st.SearchStrategy[int]) -> st.SearchStrategy[Range]:
    return st.tuples(values, values).map(lambda two: Range(*sorted(two)))


NETWORKS = NftSet("networks", (IPV4_ADDR,), interval=True)
PORTS = NftSet("ports", (INET_SERVICE,), (IPV4_ADDR,), interval=True)
SERVICES = NftSet("services", (INET_PROTO, IPV4_ADDR, INET_SERVICE), (IPV4_ADDR, INET_SERVICE), interval=True)
PAIRS = NftSet("pairs", (IFNAME, IPV6_ADDR))
TRIAL = NftTable("inet", "trial", (NETWORKS, PORTS, SERVICES, PAIRS), ())


def read_back(one: NftSet, elements: dict[Value, Value | None]) -> dict[Value, Value | None]:
    encoded = [
        (
            nft_types.encode(one.key, key, interval=one.interval),
            None if value is None else nft_types.encode(one.value, value),
        )
        for key, value in elements.items()
    ]
    found = list(nft.decode_elements(one, nft.new_elements(TRIAL, one.name, encoded)))
    return {element[0]: element[1] for element in found if element is not None}


@given(st.dictionaries(st.tuples(devices, st.ip_addresses(v=6)), st.none(), min_size=1))
def test_concatenated_keys_are_read_back(elements: dict[Value, Value | None]) -> None:
    assert read_back(PAIRS, elements) == elements


@given(st.dictionaries(st.tuples(st.sampled_from((6, 17)), addresses, ranges(ports)), st.tuples(addresses, ports)))
def test_concatenated_intervals_are_read_back(elements: dict[Value, Value | None]) -> None:
    meant = {tuple(_single(one) for one in key): value for key, value in elements.items() if isinstance(key, tuple)}
    assert read_back(SERVICES, elements) == meant


@given(st.sets(ports, min_size=2).filter(lambda some: len(some) % 2 == 0), addresses)
def test_intervals_are_read_back(bounds: set[int], value: IPv4Address) -> None:
    listed = iter(sorted(bounds))
    elements: dict[Value, Value | None] = {
        Range(first, last): value for first, last in zip(listed, listed, strict=True)
    }
    assert read_back(PORTS, elements) == elements


def test_adjacent_intervals_and_the_last_address_are_read_back() -> None:
    limit = int(IPv4Address("255.255.255.255"))
    cuts = (0, 1, 10, limit)
    elements: dict[Value, Value | None] = {
        _single(Range(IPv4Address(first), IPv4Address(after - 1))): None
        for first, after in zip(cuts, (*cuts[1:], limit + 1), strict=True)
    }
    assert read_back(NETWORKS, elements) == elements


def _single(field: object) -> Value:
    """Return a range of one value as that value."""
    if isinstance(field, Range):
        return field.first if field.first == field.last else field
    assert isinstance(field, IPv4Address | int)
    return field


def test_an_element_of_another_type_is_foreign() -> None:
    data = nft.new_elements(tables.ROUTER, "external", [(b"\1\2\3\4", None)])
    assert list(nft.decode_elements(tables.EXTERNAL, data)) == [None]
    assert list(nft.decode_elements(tables.FLOATING_DNAT, data)) == [None]


@pytest.mark.parametrize("one", tables.COUNTING_ROUTER.sets, ids=lambda one: one.name)
def test_a_message_has_room_for_as_many_elements_as_plans_put_into_it(one: NftSet) -> None:
    value = bytes(nft_types.size(one.value)) if one.value else None
    numbers = (number.to_bytes(nft_types.size(one.key), "big") for number in range(nft.MAX_ELEMENTS))
    data = nft.new_elements(tables.COUNTING_ROUTER, one.name, [(key, value) for key in numbers])
    assert len(nft.parse_elements(data)) == nft.MAX_ELEMENTS


@pytest.mark.parametrize(
    ("one", "value", "expected"),
    [
        (tables.PENDING_FLUSH, ("address", IPv4Address(1), IPv4Address(0)), '"address" . 0.0.0.1 . 0.0.0.0'),
        (PORTS, Range(80, 90), "80-90"),
        (SERVICES, (6, IPv4Address("192.0.2.1"), Range(1, 2)), "6 . 192.0.2.1 . 1-2"),
    ],
)
def test_the_text_of_a_key(one: NftSet, value: Value, expected: str) -> None:
    assert nft_types.text(one.key, value) == expected


# ---- several tables -----------------------------------------------------------------------------------------------


def test_a_removed_table_takes_its_elements_along_and_leaves_those_of_other_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = NftTable("ip6", "l3agent-other", (NftSet("guests", (IPV6_ADDR,)),), ())
    monkeypatch.setitem(tables._SETS, "guests", (other, other.sets[0]))
    monkeypatch.setattr(tables, "_DECLARED", ({"l3agent": tables.ROUTER, other.name: other},) * 2)
    ours: set[Entry] = {Namespace("ns"), Table(), Element("external", "qg-a", None)}
    guest = Element("guests", IPV6_ADDR.decode(bytes(15) + b"\1"), None)
    added = diff(ours | {Table(name=other.name), guest}, ours)
    assert [one.entry for one in added.operations] == [Table(name=other.name), guest]
    (removal,) = diff(ours, ours | {Table(name=other.name), guest}).operations
    assert removal == Operation("remove", Table(name=other.name))
    assert commands(removal, "ns") == ["ip netns exec ns nft 'delete table ip6 l3agent-other'"]
    broken: set[Entry] = {Table(is_intact=False, name=other.name), guest, PendingFlush("address", IPv4Address(1))}
    again = diff(ours | {Table(name=other.name), guest}, ours | broken)
    assert [(one.verb, one.entry) for one in again.operations if not isinstance(one.entry, PendingFlush)] == [
        ("change", Table(name=other.name)),
        ("add", guest),
    ]
