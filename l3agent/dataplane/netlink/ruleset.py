# SPDX-License-Identifier: Apache-2.0
"""Declarations of tables, and their derived forms: the requests that create a table, and its text for nft(8).

The other derived forms are the fingerprint (:mod:`.nft`) and the elements (:mod:`.nft_elements`). :mod:`.tables` has
the tables themselves.

Source: linux/netfilter/nf_tables.h, nft(8); the user data of sets is that of libnftnl.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from struct import pack
from typing import Literal

from l3agent.dataplane.netlink import nf_tables as nf
from l3agent.dataplane.netlink import nft_types
from l3agent.dataplane.netlink.message import APPEND, CREATE, attribute, be32, nested, text
from l3agent.dataplane.netlink.nft_expressions import Expression, Nat, Rule, SetHelper
from l3agent.dataplane.netlink.nft_sets import CtHelper, NftSet, TableId

_HOOKS = {
    nf.NF_INET_PRE_ROUTING: "prerouting",
    nf.NF_INET_LOCAL_IN: "input",
    nf.NF_INET_FORWARD: "forward",
    nf.NF_INET_LOCAL_OUT: "output",
    nf.NF_INET_POST_ROUTING: "postrouting",
}
#: NFTNL_UDATA_SET_KEYBYTEORDER and NFTNL_UDATA_SET_DATABYTEORDER: type, length, value in host byte order.
_KEY_ORDER, _DATA_ORDER = 0, 1

#: Constructs that nft 1.0.6 cannot read. The text of a table lacks their rules, and the maps of helpers.
WITHOUT_TEXT: dict[str, Callable[[Expression], bool]] = {
    "port offset": lambda one: isinstance(one, Nat) and one.has_port_offset,
    "named helper map": lambda one: isinstance(one, SetHelper),
}


@dataclass(frozen=True, slots=True)
class NftChain:
    """A base chain with policy accept.

    :param hook: NF_INET_*.
    :param priority: NF_IP_PRI_*, or an offset from it.
    """

    name: str
    type: Literal["filter", "nat"]
    hook: int
    priority: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True, eq=False)
class NftTable:
    """A table without elements. Compared by identity: each table is declared once."""

    id: TableId
    sets: tuple[NftSet, ...]
    chains: tuple[NftChain, ...]
    helpers: tuple[CtHelper, ...] = ()


# ---- requests --------------------------------------------------------------------------------------------------


@cache
def new_table(table: NftTable) -> tuple[bytes, ...]:
    """Return the requests that create a table: helpers, sets, chains, then rules; equal in all namespaces."""
    return (
        table.id.request(nf.NFT_MSG_NEWTABLE, text(nf.NFTA_TABLE_NAME, table.id.name), CREATE),
        *(one.request() for one in table.helpers),
        *(_new_set(one, number) for number, one in enumerate(table.sets, start=1)),
        *(_new_chain(table, chain) for chain in table.chains),
        *(rule for chain in table.chains for rule in _new_rules(table, chain)),
    )


@cache
def delete_table(table: NftTable) -> bytes:
    """Return a request that deletes a table with its content."""
    return table.id.request(nf.NFT_MSG_DELTABLE, text(nf.NFTA_TABLE_NAME, table.id.name))


def replace_chain(table: NftTable, chain: NftChain) -> list[bytes]:
    """Return the requests that add a chain to a table that exists, or replace its rules."""
    place = text(nf.NFTA_RULE_TABLE, table.id.name) + text(nf.NFTA_RULE_CHAIN, chain.name)
    return [_new_chain(table, chain), table.id.request(nf.NFT_MSG_DELRULE, place), *_new_rules(table, chain)]


def _new_set(one: NftSet, number: int) -> bytes:
    flags = (nf.NFT_SET_MAP if one.value else 0) | (nf.NFT_SET_INTERVAL if one.interval else 0)
    flags |= nf.NFT_SET_OBJECT if one.helpers else 0
    is_concatenated_interval = one.interval and len(one.key) > 1
    body = text(nf.NFTA_SET_TABLE, one.table.name) + text(nf.NFTA_SET_NAME, one.name)
    body += be32(nf.NFTA_SET_FLAGS, flags | (nf.NFT_SET_CONCAT if is_concatenated_interval else 0))
    body += be32(nf.NFTA_SET_KEY_TYPE, nft_types.number(one.key)) + be32(nf.NFTA_SET_KEY_LEN, nft_types.size(one.key))
    user_data = pack("=BBI", _KEY_ORDER, 4, nft_types.order(one.key))
    if one.value:
        body += be32(nf.NFTA_SET_DATA_TYPE, nft_types.number(one.value))
        body += be32(nf.NFTA_SET_DATA_LEN, nft_types.size(one.value))
        user_data += pack("=BBI", _DATA_ORDER, 4, nft_types.order(one.value))
    if one.helpers:
        body += be32(nf.NFTA_SET_OBJ_TYPE, nf.NFT_OBJECT_CT_HELPER)
    if is_concatenated_interval:
        fields = (nested(nf.NFTA_LIST_ELEM, be32(nf.NFTA_SET_FIELD_LEN, field.size)) for field in one.key)
        body += nested(nf.NFTA_SET_DESC, nested(nf.NFTA_SET_DESC_CONCAT, *fields))
    body += be32(nf.NFTA_SET_ID, number) + attribute(nf.NFTA_SET_USERDATA, user_data)
    if one.counter:
        body += nested(nf.NFTA_SET_EXPR, text(nf.NFTA_EXPR_NAME, "counter"), nested(nf.NFTA_EXPR_DATA))
    return one.table.request(nf.NFT_MSG_NEWSET, body, CREATE)


def _new_chain(table: NftTable, chain: NftChain) -> bytes:
    priority = attribute(nf.NFTA_HOOK_PRIORITY, pack(">i", chain.priority))
    body = text(nf.NFTA_CHAIN_TABLE, table.id.name) + text(nf.NFTA_CHAIN_NAME, chain.name)
    body += nested(nf.NFTA_CHAIN_HOOK, be32(nf.NFTA_HOOK_HOOKNUM, chain.hook), priority)
    body += be32(nf.NFTA_CHAIN_POLICY, nf.NF_ACCEPT) + text(nf.NFTA_CHAIN_TYPE, chain.type)
    return table.id.request(nf.NFT_MSG_NEWCHAIN, body, CREATE)


def _new_rules(table: NftTable, chain: NftChain) -> Iterator[bytes]:
    place = text(nf.NFTA_RULE_TABLE, table.id.name) + text(nf.NFTA_RULE_CHAIN, chain.name)
    for rule in chain.rules:
        expressions = nested(nf.NFTA_RULE_EXPRESSIONS, *(expression.encode() for expression in rule))
        yield table.id.request(nf.NFT_MSG_NEWRULE, place + expressions, CREATE | APPEND)


# ---- text ------------------------------------------------------------------------------------------------------


@cache
def table_text(table: NftTable) -> tuple[str, ...]:
    """Return the commands of nft(8) that create a table, in the order of the requests."""
    place = table.id
    return (
        f"add table {place}",
        *(f"add ct helper {one.text()}" for one in table.helpers),
        *(
            f"add {'map' if one.value else 'set'} {place} {one.name} {{ {_set_text(one)}; }}"
            for one in table.sets
            if not one.helpers
        ),
        *(f"add chain {place} {chain.name} {{ {_chain_text(chain)}; }}" for chain in table.chains),
        *(
            f"add rule {place} {chain.name} {' '.join(expression.text() for expression in rule)}"
            for chain in table.chains
            for rule in chain.rules
            if not _without_text(rule)
        ),
    )


def left_out(table: NftTable) -> list[str]:
    """Return the names of the constructs whose rules the text of a table lacks."""
    return sorted({name for chain in table.chains for rule in chain.rules for name in _without_text(rule)})


def _without_text(rule: Rule) -> list[str]:
    return [name for name, is_one in WITHOUT_TEXT.items() if any(map(is_one, rule))]


def _set_text(one: NftSet) -> str:
    value = f" : {nft_types.type_text(one.value)}" if one.value else ""
    flags = "; flags interval" if one.interval else ""
    return f"type {nft_types.type_text(one.key)}{value}{flags}{'; counter' if one.counter else ''}"


def _chain_text(chain: NftChain) -> str:
    return f"type {chain.type} hook {_HOOKS[chain.hook]} priority {chain.priority}"
