# SPDX-License-Identifier: Apache-2.0
"""Declared tables in the kernel: our requests against the text that nft loads, and against the kernel's dump."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

import pytest

from l3agent.dataplane.netlink import nf_tables as nf
from l3agent.dataplane.netlink import nft, nft_elements, nft_types, ruleset, tables
from l3agent.dataplane.netlink.message import attributes, messages
from l3agent.dataplane.netlink.nft_expressions import (
    Compare,
    HasBits,
    InNetwork,
    Lookup,
    Nat,
    SetHelper,
    Verdict,
)
from l3agent.dataplane.netlink.nft_fields import (
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
)
from l3agent.dataplane.netlink.nft_sets import CtHelper, NftSet, TableId
from l3agent.dataplane.netlink.nft_types import (
    IFNAME,
    INET_PROTO,
    INET_SERVICE,
    IPV4_ADDR,
    IPV6_ADDR,
    Scalar,
    device_key,
)
from l3agent.dataplane.netlink.ruleset import NftChain, NftTable
from l3agent.dataplane.plan.commands import commands
from l3agent.dataplane.plan.kinds.base import Operation
from l3agent.dataplane.plan.kinds.table import Table
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


#: The kernel adds NF_NAT_RANGE_MAP_IPS, and with ports NF_NAT_RANGE_PROTO_SPECIFIED, to NFTA_NAT_FLAGS of a rule.
_ADDED_BY_KERNEL = {"4.1.2.7: 00000010 is 00000011", "4.1.2.7: 00000020 is 00000023"}


@dataclass(frozen=True)
class Case:
    """A table and elements of its sets."""

    table: NftTable
    elements: Mapping[NftSet, Mapping[bytes, bytes | None]] = field(default_factory=dict)


_A, _B = IPv4Address("192.0.2.1"), IPv4Address("10.0.0.7")
_IP6, _INET, _FORWARDING = TableId("ip6", "trial"), TableId("inet", "trial"), TableId("ip", "trial")
_GUESTS = NftSet(_IP6, "guests", (IPV6_ADDR,), interval=True)
_UPLINKS = NftSet(_IP6, "uplinks", (IFNAME,))
_APART = NftSet(_INET, "apart", (IFNAME, IFNAME))
_BLOCKED = NftSet(_INET, "blocked", (INET_PROTO, IPV6_ADDR, INET_SERVICE), interval=True)
_SERVICES = NftSet(_FORWARDING, "services", (INET_PROTO, IPV4_ADDR, INET_SERVICE), (IPV4_ADDR, INET_SERVICE))
_RANGES = NftSet(_FORWARDING, "ranges", (INET_SERVICE,), (IPV4_ADDR, INET_SERVICE, INET_SERVICE), interval=True)
_PORTS = NftSet(_FORWARDING, "ports", (INET_SERVICE,), (IPV4_ADDR,), interval=True)
_DROP = Verdict(nf.NF_DROP)
_PREROUTING = "prerouting", "nat", nf.NF_INET_PRE_ROUTING, nf.NF_IP_PRI_NAT_DST

IP6 = NftTable(
    _IP6,
    (_GUESTS, _UPLINKS),
    (
        NftChain(
            *("forward", "filter", nf.NF_INET_FORWARD, nf.NF_IP_PRI_FILTER),
            (
                (Lookup((IIFNAME,), _UPLINKS), Lookup((IP6_SADDR,), _GUESTS, invert=True), _DROP),
                (InNetwork(IP6_DADDR, IPv6Network("2001:db8::/32")), Verdict(nf.NF_ACCEPT)),
                (Compare(DIRECTION, nf.NFT_CMP_NEQ, 0), HasBits(STATUS, nf.IPS_SRC_NAT, nf.NFT_CMP_NEQ), _DROP),
            ),
        ),
    ),
)
INET = NftTable(
    _INET,
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
    _FORWARDING,
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
OFFSET = NftTable(
    _FORWARDING,
    (_RANGES,),
    (NftChain(*_PREROUTING, ((Compare(L4PROTO, nf.NFT_CMP_EQ, 6), Nat(nf.NFT_NAT_DNAT, (TH_DPORT,), _RANGES)),)),),
)
_FTP = CtHelper(_FORWARDING, "ftp", "ftp", 6)
_HELPERS = NftSet(_FORWARDING, "helpers", (INET_PROTO, INET_SERVICE), helpers=True)
HELPERS = NftTable(
    _FORWARDING,
    (_HELPERS,),
    (
        NftChain(
            *("prerouting", "filter", nf.NF_INET_PRE_ROUTING, nf.NF_IP_PRI_FILTER),
            ((SetHelper((L4PROTO, TH_DPORT), _HELPERS),),),
        ),
    ),
    (_FTP,),
)
_HAND_OVER = replace(tables.ROUTER, chains=(*tables.ROUTER.chains, tables.HAND_OVER))


def between(one: NftSet, first: tuple[Scalar, ...], last: tuple[Scalar, ...] | None = None) -> bytes:
    """Return an interval as a key."""
    return nft_types.join(one.key, first) + nft_types.join(one.key, last or first)


def ipv6(text: str) -> tuple[IPv6Address]:
    return (IPv6Address(text),)


CASES = {
    "router": Case(
        tables.ROUTER,
        {
            tables.FLOATING_DNAT: {_A.packed: _B.packed, _B.packed: _A.packed},
            tables.GATEWAY_SNAT: {device_key("qg-12345678-90"): _A.packed},
            tables.EXTERNAL: {device_key("qg-12345678-90"): None},
            tables.PENDING_FLUSH: {nft_types.join(tables.PENDING_FLUSH.key, ("floating_dnat", _A, _B)): None},
        },
    ),
    "traffic": Case(tables.TRAFFIC, {tables.TRAFFIC_IN: {_A.packed: None}}),
    "hand-over": Case(_HAND_OVER),
    "ip6": Case(
        IP6,
        {
            _UPLINKS: {device_key("eth0"): None},
            _GUESTS: {
                between(_GUESTS, ipv6("2001:db8::1")): None,
                between(_GUESTS, ipv6("2001:db8::10"), ipv6("2001:db8::1f")): None,
                between(_GUESTS, ipv6("ffff::"), (IPv6Address(b"\xff" * 16),)): None,
            },
        },
    ),
    "inet": Case(
        INET,
        {
            _APART: {device_key(one) + device_key(other): None for one, other in (("qr-1", "qr-2"), ("qr-2", "qr-1"))},
            _BLOCKED: {
                between(_BLOCKED, (6, *ipv6("2001:db8::1"), 80), (6, *ipv6("2001:db8::1"), 90)): None,
                between(_BLOCKED, (17, *ipv6("2001:db8::"), 53), (17, *ipv6("2001:db8::ff"), 53)): None,
            },
        },
    ),
    "port-forwarding": Case(
        FORWARDING,
        {
            _SERVICES: {nft_types.join(_SERVICES.key, (6, _A, 2222)): nft_types.join(_SERVICES.value, (_B, 22))},
            _PORTS: {between(_PORTS, (1000,), (1999,)): _B.packed, between(_PORTS, (2000,)): _A.packed},
        },
    ),
}


#: Tables with constructs that nft cannot read.
WITHOUT_TEXT = {
    "port offset": Case(
        OFFSET, {_RANGES: {between(_RANGES, (40,), (50,)): nft_types.join(_RANGES.value, (_B, 60, 70))}}
    ),
    "named helper map": Case(HELPERS, {_HELPERS: {nft_types.join(_HELPERS.key, (6, 2121)): b"ftp\0"}}),
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


def requests(case: Case) -> list[bytes]:
    """Return the requests for a case."""
    added = (nft_elements.new_elements(one, elements.items()) for one, elements in case.elements.items())
    return [*ruleset.new_table(case.table), *added]


def lines(case: Case) -> Iterator[str]:
    """Yield the text for a case."""
    yield from ruleset.table_text(case.table)
    for one, elements in case.elements.items():
        for key, value in elements.items():
            to = "" if value is None else f" : {nft_types.text(one.value, value)}"
            left = nft_types.text(one.key, key, interval=one.interval)
            yield f"add element {one.table} {one.name} {{ {left}{to} }}"


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


@pytest.mark.parametrize("case", [*CASES.values(), *WITHOUT_TEXT.values()], ids=[*CASES, *WITHOUT_TEXT])
def test_the_kernel_dumps_what_is_declared(machine: Sandbox, places: tuple[str, str], case: Case) -> None:
    _, netns = places
    sent = ruleset.new_table(case.table)
    sets = case.table.sets
    content = nft.dump_tables(), *nft.dump_content(case.table)
    found = send(machine, netns, requests(case), [*content, *map(nft_elements.dump_elements, sets)])
    dumped = [*objects(found[: len(content)])]
    wanted = [*objects(sent)]
    assert [kind for kind, _ in dumped] == [kind for kind, _ in wanted]
    for (_, ours), (_, kernels) in zip(wanted, dumped, strict=True):
        assert _ADDED_BY_KERNEL.issuperset(missing(ours, kernels))
    for one, data in zip(sets, found[len(content) :], strict=True):
        elements = nft_elements.decode_elements(one, data)
        assert elements == case.elements.get(one, {})
        assert all(nft_elements.is_of_type(one, key, value) for key, value in elements.items())


def test_nft_lists_the_helper_and_its_map(machine: Sandbox, places: tuple[str, str]) -> None:
    """It reads no map of helpers, but it prints one."""
    _, netns = places
    send(machine, netns, requests(WITHOUT_TEXT["named helper map"]), ())
    found = machine.run(["nft", "list", "ruleset"], netns=netns)
    assert 'type "ftp" protocol tcp' in found and "l3proto ip" in found
    assert re.search(r'tcp \. 2121 : "ftp"', found)


def test_every_declared_table_and_every_construct_is_compared() -> None:
    assert {case.table for case in CASES.values()}.issuperset(tables.DECLARED)
    assert not any(ruleset.left_out(case.table) for case in CASES.values())
    assert WITHOUT_TEXT.keys() == ruleset.WITHOUT_TEXT.keys()
    for name, case in WITHOUT_TEXT.items():
        assert ruleset.left_out(case.table) == [name]
        (line,) = commands(Operation("add", Table(case.table)), "ns")
        assert "add rule" not in line
        assert line.endswith(f"' # without {name}, which nft 1.0.6 cannot express")


def objects(dumps: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield kind and attributes of each message, in the order of kinds."""
    found = [
        (kind & 0xFF, data[start + 4 : end])
        for data in dumps
        for kind, _, _, start, end in messages(data)
        if kind >> 8 == nf.NFNL_SUBSYS_NFTABLES
    ]
    order = (nf.NFT_MSG_NEWTABLE, nf.NFT_MSG_NEWOBJ, nf.NFT_MSG_NEWSET, nf.NFT_MSG_NEWCHAIN, nf.NFT_MSG_NEWRULE)
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
