# SPDX-License-Identifier: Apache-2.0
"""rtnetlink: policy rules (ip-rule(8)). Source: linux/fib_rules.h, net/core/fib_rules.c."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from struct import Struct, unpack_from
from typing import NamedTuple

from l3agent.dataplane.netlink.message import (
    CREATE,
    DUMP,
    EXCLUSIVE,
    attribute,
    attribute_map,
    message,
    messages,
    text,
    u8,
    u32,
)
from l3agent.dataplane.netlink.routes import ROUTE_PROTOCOL
from l3agent.dataplane.netlink.rtnl import AF_INET, AF_INET6, AF_UNSPEC
from l3agent.model.states import Network

NEWRULE, DELRULE, GETRULE = 32, 33, 34
#: RTNLGRP_IPV4_RULE and RTNLGRP_IPV6_RULE (linux/rtnetlink.h).
GROUPS = (8, 19)

# FRA_*
_SRC, _IIFNAME, _PRIORITY, _TABLE, _PROTOCOL = 2, 3, 6, 15, 21
_SUPPRESS_IFGROUP, _SUPPRESS_PREFIXLEN, _PAD = 13, 14, 18
_SUPPRESSORS = frozenset((_SUPPRESS_IFGROUP, _SUPPRESS_PREFIXLEN))
#: Value of a suppressor that a rule does not have.
_NONE = b"\xff\xff\xff\xff"
#: Attributes of rules that this project writes, and attributes that the kernel adds.
_UNDERSTOOD = frozenset((_SRC, _IIFNAME, _PRIORITY, _TABLE, _PROTOCOL, *_SUPPRESSORS, _PAD))
#: FR_ACT_TO_TBL
_TO_TABLE = 1
#: FIB_RULE_IIF_DETACHED: the device of the rule does not exist.
_DETACHED = 0x8
#: Largest table number in the header of a message (linux/rtnetlink.h, rtm_table).
_MAX_HEADER_TABLE = 255
#: struct fib_rule_hdr: family, lengths of destination and source, tos, table, two unused bytes, action, flags.
_HEADER = Struct("=BBBBBBBBI")


class RuleInfo(NamedTuple):
    """A rule in a dump or event.

    :param version: 4 or 6.
    :param source: None for all sources.
    :param device: the device on which packets arrive, None for all.
    """

    version: int
    priority: int
    table: int
    source: Network | None
    device: str | None


def new_rule(rule: RuleInfo) -> bytes:
    """Return a request that adds a rule with our protocol; the kernel answers EEXIST if there is an equal one."""
    return message(NEWRULE, CREATE | EXCLUSIVE, _rule(rule))


def delete_rule(rule: RuleInfo) -> bytes:
    """Return a request that deletes a rule of our protocol.

    The kernel deletes the first rule that has all the given properties, and possibly others.
    """
    return message(DELRULE, 0, _rule(rule))


def _rule(rule: RuleInfo) -> bytes:
    family = AF_INET if rule.version == 4 else AF_INET6
    length = 0 if rule.source is None else rule.source.prefixlen
    table = rule.table if rule.table <= _MAX_HEADER_TABLE else 0
    return b"".join(
        (
            _HEADER.pack(family, 0, length, 0, table, 0, 0, _TO_TABLE, 0),
            b"" if rule.source is None else attribute(_SRC, rule.source.network_address.packed),
            b"" if rule.device is None else text(_IIFNAME, rule.device),
            u32(_PRIORITY, rule.priority),
            b"" if table else u32(_TABLE, rule.table),
            u8(_PROTOCOL, ROUTE_PROTOCOL),
        )
    )


def dump_rules() -> bytes:
    """Return a request for the rules of both IP versions."""
    return message(GETRULE, DUMP, _HEADER.pack(AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0))


def parse_rules(data: bytes) -> Iterator[RuleInfo]:
    """Yield the rules of our protocol in received bytes; a rule with properties that no rule of ours has is foreign."""
    for kind, _, _, start, end in messages(data):
        if kind != NEWRULE:
            continue
        family, to, length, tos, table, _, _, action, flags = _HEADER.unpack_from(data, start)
        parts = attribute_map(data, start + _HEADER.size, end)
        ours = parts.get(_PROTOCOL) == bytes((ROUTE_PROTOCOL,)) and family in (AF_INET, AF_INET6)
        if not ours or to or tos or flags & ~_DETACHED or action != _TO_TABLE or not parts.keys() <= _UNDERSTOOD:
            continue
        if any(parts.get(one, _NONE) != _NONE for one in _SUPPRESSORS):
            continue
        source = ip_network((parts[_SRC], length), strict=False) if _SRC in parts else None
        device = parts[_IIFNAME].rstrip(b"\0").decode(errors="replace") if _IIFNAME in parts else None
        yield RuleInfo(
            4 if family == AF_INET else 6,
            unpack_from("=I", parts[_PRIORITY])[0] if _PRIORITY in parts else 0,
            unpack_from("=I", parts[_TABLE])[0] if _TABLE in parts else table,
            source,
            device,
        )
