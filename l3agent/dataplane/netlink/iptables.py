# SPDX-License-Identifier: Apache-2.0
"""nf_tables: chains and rules of iptables (iptables-nft, xtables-nft(8)), which other programs own.

Source: linux/netfilter/nf_tables.h. An iptables table is the nf_tables table of that name in family ip or ip6.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack
from typing import Literal

from l3agent.dataplane.netlink.message import DUMP, attribute, attribute_map, attributes, message, messages, text

Family = Literal["ip", "ip6"]

_SUBSYSTEM = 10 << 8
_NEWCHAIN, _GETCHAIN, _DELCHAIN, _NEWRULE, _GETRULE, _DELRULE = 3, 4, 5, 6, 7, 8
# nfgenmsg: family (NFPROTO_IPV4, NFPROTO_IPV6; NFPROTO_UNSPEC means all), version, zero.
_FAMILIES: dict[Family, int] = {"ip": 2, "ip6": 10}
_NAMES: dict[int, Family] = {number: name for name, number in _FAMILIES.items()}
_ALL_FAMILIES = bytes(4)
_IMMEDIATE = b"immediate\0"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of any table."""

    family: Family
    table: str
    name: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule.

    :param target: the chain that the rule jumps to, or an empty string.
    :param raw: its expressions in the encoding of the kernel.
    """

    chain: str
    handle: int
    target: str
    raw: bytes


def dump_chains() -> bytes:
    """Return a request for the chains of all tables of all families."""
    return message(_SUBSYSTEM | _GETCHAIN, DUMP, _ALL_FAMILIES)


def parse_chains(data: bytes) -> list[Chain]:
    """Return the chains of the families ip and ip6 in received bytes."""
    found = []
    for kind, _, _, start, end in messages(data):
        if kind == _SUBSYSTEM | _NEWCHAIN and data[start] in _NAMES:
            parts = attribute_map(data, start + 4, end)
            found.append(Chain(_NAMES[data[start]], _text(parts[1]), _text(parts[3])))
    return found


def dump_rules(family: Family, table: str) -> bytes:
    """Return a request for the rules of a table."""
    return message(_SUBSYSTEM | _GETRULE, DUMP, _head(family) + text(1, table))


def parse_rules(data: bytes) -> list[Rule]:
    """Return the rules in received bytes, in order."""
    found = []
    for kind, _, _, start, end in messages(data):
        if kind == _SUBSYSTEM | _NEWRULE:
            parts = attribute_map(data, start + 4, end)
            (handle,) = unpack(">Q", parts[3])
            raw = parts.get(4, b"")
            found.append(Rule(_text(parts[2]), handle, _jump_target(raw), raw))
    return found


def delete_rule(family: Family, table: str, chain: str, handle: int) -> bytes:
    """Return a request that deletes one rule."""
    which = text(1, table) + text(2, chain) + attribute(3, handle.to_bytes(8, "big"))
    return message(_SUBSYSTEM | _DELRULE, 0, _head(family) + which)


def flush_chain(family: Family, table: str, chain: str) -> bytes:
    """Return a request that deletes all rules of a chain."""
    return message(_SUBSYSTEM | _DELRULE, 0, _head(family) + text(1, table) + text(2, chain))


def delete_chain(family: Family, table: str, chain: str) -> bytes:
    """Return a request that deletes an empty chain that no rule jumps to."""
    return message(_SUBSYSTEM | _DELCHAIN, 0, _head(family) + text(1, table) + text(3, chain))


def _head(family: Family) -> bytes:
    return bytes((_FAMILIES[family], 0, 0, 0))


def _jump_target(raw: bytes) -> str:
    """Return the chain of a verdict (NFTA_VERDICT_CHAIN) in the expressions of a rule, or an empty string."""
    for _, start, end in attributes(raw, 0, len(raw)):
        parts = attribute_map(raw, start, end)
        if parts.get(1) == _IMMEDIATE and 2 in parts:
            inside = attribute_map(parts[2], 0, len(parts[2])).get(2, b"")
            verdict = attribute_map(inside, 0, len(inside)).get(2, b"")
            chain = attribute_map(verdict, 0, len(verdict)).get(2)
            if chain is not None:
                return _text(chain)
    return ""


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
