# SPDX-License-Identifier: Apache-2.0
"""Declared tables in the kernel: our requests against the text that nft loads, and against the kernel's dump."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

import pytest

from l3agent.dataplane.netlink import nf_tables as nf
from l3agent.dataplane.netlink import nft, nft_types, ruleset, tables
from l3agent.dataplane.netlink.message import attributes, messages
from l3agent.dataplane.netlink.nft_expressions import (
    DIRECTION,
    IIFNAME,
    IP6_DADDR,
    IP6_SADDR,
    IP_DADDR,
    L4PROTO,
    NFPROTO,
    OIFNAME,
    STATUS,
    TH_DPORT,
    Compare,
    Counter,
    HasBits,
    InNetwork,
    Lookup,
    Nat,
    NftSet,
    Verdict,
)
from l3agent.dataplane.netlink.nft_types import IFNAME, INET_PROTO, INET_SERVICE, IPV4_ADDR, IPV6_ADDR, Range, Value
from l3agent.dataplane.netlink.ruleset import NftChain, NftTable
from tests.support.sandbox import Sandbox

#: Sends requests in one batch, then prints dumps.
_PROGRAM = """
import json, sys
from l3agent.dataplane.kernel.sockets import NETLINK_NETFILTER, NetlinkSocket
requests, dumps = json.load(sys.stdin)
netfilter = NetlinkSocket(NETLINK_NETFILTER)
netfilter.nft_batch([bytes.fromhex(one) for one in requests])
json.dump([netfilter.dump(bytes.fromhex(one)).hex() for one in dumps], sys.stdout)
"""


#: The kernel adds NF_NAT_RANGE_MAP_IPS to NFTA_NAT_FLAGS of a rule.
_ADDED_BY_KERNEL = {"4.1.2.7: 00000010 is 00000011"}


@dataclass(frozen=True)
class Case:
    """A table and elements of its sets."""

    table: NftTable
    elements: Mapping[str, Mapping[Value, Value | None]] = field(default_factory=dict)


_A, _B = IPv4Address("192.0.2.1"), IPv4Address("10.0.0.7")
_ROUTER_ELEMENTS: dict[str, dict[Value, Value | None]] = {
    "floating_dnat": {_A: _B, _B: _A},
    "gateway_snat": {"qg-12345678-90": _A},
    "external": {"qg-12345678-90": None},
    "pending_flush": {("floating_dnat", _A, _B): None},
}
_GUESTS = NftSet("guests", (IPV6_ADDR,), interval=True)
_UPLINKS = NftSet("uplinks", (IFNAME,))
_APART = NftSet("apart", (IFNAME, IFNAME))
_BLOCKED = NftSet("blocked", (INET_PROTO, IPV6_ADDR, INET_SERVICE), interval=True)
_SERVICES = NftSet("services", (INET_PROTO, IPV4_ADDR, INET_SERVICE), (IPV4_ADDR, INET_SERVICE))
_PORTS = NftSet("ports", (INET_SERVICE,), (IPV4_ADDR,), interval=True)
_DROP = Verdict(nf.NF_DROP)
_PREROUTING = "prerouting", "nat", nf.NF_INET_PRE_ROUTING, nf.NF_IP_PRI_NAT_DST

IP6 = NftTable(
    "ip6",
    "trial",
    (_GUESTS, _UPLINKS),
    (
        NftChain(
            *("forward", "filter", nf.NF_INET_FORWARD, nf.NF_IP_PRI_FILTER),
            (
                (Lookup((IIFNAME,), _UPLINKS), Lookup((IP6_SADDR,), _GUESTS, invert=True), Counter(), _DROP),
                (InNetwork(IP6_DADDR, IPv6Network("2001:db8::/32")), Verdict(nf.NF_ACCEPT)),
                (Compare(DIRECTION, nf.NFT_CMP_NEQ, 0), HasBits(STATUS, nf.IPS_SRC_NAT, nf.NFT_CMP_NEQ), _DROP),
            ),
            policy=nf.NF_DROP,
        ),
    ),
)
INET = NftTable(
    "inet",
    "trial",
    (_APART, _BLOCKED),
    (
        NftChain(
            *("forward", "filter", nf.NF_INET_FORWARD, nf.NF_IP_PRI_FILTER - 7),
            (
                (Compare(NFPROTO, nf.NFT_CMP_EQ, nf.NFPROTO_IPV4), Lookup((IIFNAME, OIFNAME), _APART), _DROP),
                (
                    Compare(NFPROTO, nf.NFT_CMP_EQ, nf.NFPROTO_IPV6),
                    Lookup((L4PROTO, IP6_DADDR, TH_DPORT), _BLOCKED, invert=True),
                    _DROP,
                ),
            ),
        ),
    ),
)
FORWARDING = NftTable(
    "ip",
    "trial",
    (_SERVICES, _PORTS),
    (
        NftChain(
            *_PREROUTING,
            (
                (
                    Compare(L4PROTO, nf.NFT_CMP_EQ, 6),
                    Nat(nf.NFT_NAT_DNAT, (L4PROTO, IP_DADDR, TH_DPORT), _SERVICES),
                ),
                (Compare(L4PROTO, nf.NFT_CMP_EQ, 17), Nat(nf.NFT_NAT_DNAT, (TH_DPORT,), _PORTS)),
            ),
        ),
    ),
)
_HAND_OVER = replace(tables.ROUTER, chains=(*tables.ROUTER.chains, tables.HAND_OVER))

CASES = {
    "router": Case(tables.ROUTER, _ROUTER_ELEMENTS),
    "counting-router": Case(tables.COUNTING_ROUTER, _ROUTER_ELEMENTS),
    "hand-over": Case(_HAND_OVER),
    "ip6": Case(
        IP6,
        {
            "uplinks": {"eth0": None},
            "guests": {
                IPv6Address("2001:db8::1"): None,
                Range(IPv6Address("2001:db8::10"), IPv6Address("2001:db8::1f")): None,
                Range(IPv6Address("ffff::"), IPv6Address(b"\xff" * 16)): None,
            },
        },
    ),
    "inet": Case(
        INET,
        {
            "apart": {("qr-1", "qr-2"): None, ("qr-2", "qr-1"): None},
            "blocked": {
                (6, IPv6Address("2001:db8::1"), Range(80, 90)): None,
                (17, Range(IPv6Address("2001:db8::"), IPv6Address("2001:db8::ff")), 53): None,
            },
        },
    ),
    "port-forwarding": Case(
        FORWARDING,
        {"services": {(6, _A, 2222): (_B, 22)}, "ports": {Range(1000, 1999): _B, 2000: _A}},
    ),
}


@pytest.fixture(scope="module")
def machine() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def places(machine: Sandbox) -> Iterator[tuple[str, str]]:
    """Two empty namespaces."""
    names = "by-text", "by-requests"
    for name in names:
        machine.run(["ip", "netns", "add", name])
    yield names
    for name in names:
        machine.run(["ip", "netns", "delete", name])


def encoded(one: NftSet, elements: Mapping[Value, Value | None]) -> Iterator[tuple[bytes, bytes | None]]:
    for key, value in elements.items():
        raw = nft_types.encode(one.key, key, interval=one.interval)
        yield raw, None if value is None else nft_types.encode(one.value, value)


def requests(case: Case) -> list[bytes]:
    """Return the requests for a case."""
    added = (
        nft.new_elements(case.table, name, encoded(case.table.set(name), elements))
        for name, elements in case.elements.items()
    )
    return [*ruleset.new_table(case.table), *added]


def lines(case: Case) -> Iterator[str]:
    """Yield the text for a case."""
    yield from ruleset.table_text(case.table)
    for name, elements in case.elements.items():
        one = case.table.set(name)
        for key, value in elements.items():
            to = "" if value is None else f" : {nft_types.text(one.value, value)}"
            yield f"add element {case.table.family} {case.table.name} {name} {{ {nft_types.text(one.key, key)}{to} }}"


def send(machine: Sandbox, netns: str, sent: Iterable[bytes], dumps: Iterable[bytes]) -> list[bytes]:
    """Send requests in one batch and return dumps."""
    values = json.dumps([[one.hex() for one in sent], [one.hex() for one in dumps]])
    return [
        bytes.fromhex(one)
        for one in json.loads(machine.run([sys.executable, "-c", _PROGRAM], netns=netns, input=values))
    ]


def listed(machine: Sandbox, netns: str) -> Any:
    """Return the ruleset as nft lists it, without handles and with elements in order."""
    found = machine.json("nft -j list ruleset", netns=netns)["nftables"]
    for one in found:
        for content in one.values():
            content.pop("handle", None)
            if "elem" in content:
                content["elem"].sort(key=str)
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_nft_lists_the_same_for_our_requests_and_for_our_text(
    machine: Sandbox, places: tuple[str, str], case: Case
) -> None:
    by_text, by_requests = places
    machine.run(["nft", "-f", "-"], netns=by_text, input="\n".join(lines(case)))
    send(machine, by_requests, requests(case), ())
    found = listed(machine, by_requests)
    assert found == listed(machine, by_text)
    assert len(found) > 1 + len(case.table.sets) + len(case.table.chains)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_kernel_dumps_what_is_declared(machine: Sandbox, places: tuple[str, str], case: Case) -> None:
    """This comparison also serves constructs that nft cannot read."""
    _, netns = places
    sent = ruleset.new_table(case.table)
    names = [one.name for one in case.table.sets]
    dumps = [*nft.dump_table(case.table), *(nft.dump_elements(case.table, name) for name in names)]
    found = send(machine, netns, requests(case), dumps)
    dumped = [*objects(found[:4])]
    wanted = [*objects(sent)]
    assert [kind for kind, _ in dumped] == [kind for kind, _ in wanted]
    for (_, ours), (_, kernels) in zip(wanted, dumped, strict=True):
        assert _ADDED_BY_KERNEL.issuperset(missing(ours, kernels))
    for name, data in zip(names, found[4:], strict=True):
        elements = dict(one for one in nft.decode_elements(case.table.set(name), data) if one is not None)
        assert elements == case.elements.get(name, {})


def test_every_declared_table_is_compared_and_each_construct_without_text_has_a_reason() -> None:
    compared = {case.table for case in CASES.values()}
    for counting in (False, True):
        assert compared.issuperset(tables.declared(counting=counting).values())
    assert not ruleset.WITHOUT_TEXT


def objects(dumps: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield kind and attributes of each message, in the order of kinds."""
    found = [
        (kind & 0xFF, data[start + 4 : end])
        for data in dumps
        for kind, _, _, start, end in messages(data)
        if kind >> 8 == nf.NFNL_SUBSYS_NFTABLES
    ]
    order = (nf.NFT_MSG_NEWTABLE, nf.NFT_MSG_NEWSET, nf.NFT_MSG_NEWCHAIN, nf.NFT_MSG_NEWRULE)
    yield from sorted((one for one in found if one[0] in order), key=lambda one: order.index(one[0]))


def missing(ours: bytes, kernels: bytes) -> list[str]:
    """Return the attributes that were sent and that a dump lacks.

    The kernel dumps no flags of 0 and no ids of a batch.
    """
    sent, dumped = grouped(ours), grouped(kernels)
    lacking = []
    for kind, values in sent.items():
        theirs = dumped.get(kind, [])
        if not theirs and (kind == nf.NFTA_SET_ID or not any(values[0][1])):
            continue
        if len(values) != len(theirs):
            lacking.append(f"{kind}: {len(theirs)} of {len(values)}")
            continue
        for (is_nested, value), (_, their_value) in zip(values, theirs, strict=True):
            if is_nested:
                lacking += [f"{kind}.{one}" for one in missing(value, their_value)]
            elif value != their_value:
                lacking.append(f"{kind}: {value.hex()} is {their_value.hex()}")
    return lacking


def grouped(data: bytes) -> dict[int, list[tuple[bool, bytes]]]:
    """Return the attributes by type, each with whether it is marked as nested (NLA_F_NESTED)."""
    found: dict[int, list[tuple[bool, bytes]]] = {}
    for kind, start, end in attributes(data, 0, len(data)):
        found.setdefault(kind, []).append((bool(data[start - 1] & 0x80), data[start:end]))
    return found
