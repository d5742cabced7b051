# SPDX-License-Identifier: Apache-2.0
"""nf_tables: batches, dumps and fingerprints of tables (:mod:`.ruleset`).

Source: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from l3agent.dataplane.netlink import nf_tables as nf
from l3agent.dataplane.netlink.message import (
    DUMP,
    attribute_map,
    attributes,
    message,
    messages,
    number_messages,
    text,
)
from l3agent.dataplane.netlink.ruleset import NftTable

_SUBSYSTEM = nf.NFNL_SUBSYS_NFTABLES << 8
#: nfgenmsg of a dump of all families.
_ANY_FAMILY = bytes(4)
#: nfgenmsg of a batch names the subsystem, in network byte order.
_BATCH = bytes((0, 0, 0, nf.NFNL_SUBSYS_NFTABLES))


def batch(parts: Iterable[bytes], first: int) -> tuple[bytes, int]:
    """Return an atomic batch, numbered from ``first``, and the number of the message whose acknowledgement ends it.

    The message with the first number begins the batch.
    """
    body = bytearray(b"".join((message(nf.NFNL_MSG_BATCH_BEGIN, 0, _BATCH), *parts)))
    last = number_messages(body, first)
    return bytes(body) + message(nf.NFNL_MSG_BATCH_END, 0, _BATCH), last


@cache
def get_generation() -> bytes:
    """Return a request for the generation of the ruleset of the namespace, which every change increases."""
    return message(_SUBSYSTEM | nf.NFT_MSG_GETGEN, 0, bytes((nf.NFPROTO_IPV4, 0, 0, 0)))


def parse_generation(data: bytes) -> int | None:
    """Return the generation in an answer, or None."""
    for kind, _, _, start, end in messages(data):
        if kind == _SUBSYSTEM | nf.NFT_MSG_NEWGEN:
            for name, first, last in attributes(data, start + 4, end):
                if name == nf.NFTA_GEN_ID:
                    return int.from_bytes(data[first:last], "big")
    return None


@cache
def dump_tables() -> bytes:
    """Return a request for all tables of all families."""
    return message(_SUBSYSTEM | nf.NFT_MSG_GETTABLE, DUMP, _ANY_FAMILY)


@cache
def dump_content(table: NftTable) -> tuple[bytes, ...]:
    """Return the requests for the chains, sets, rules and objects of a table; the chains are those of its family."""
    name = text(nf.NFTA_TABLE_NAME, table.id.name)
    kinds = (nf.NFT_MSG_GETSET, nf.NFT_MSG_GETRULE, *((nf.NFT_MSG_GETOBJ,) if table.helpers else ()))
    content = (table.id.request(kind, name, DUMP) for kind in kinds)
    return table.id.request(nf.NFT_MSG_GETCHAIN, b"", DUMP), *content


def identities(data: bytes) -> set[tuple[int, bytes]]:
    """Return family and name of each table in a dump of tables."""
    return {
        (data[start], attribute_map(data, start + 4, end).get(nf.NFTA_TABLE_NAME, b""))
        for kind, _, _, start, end in messages(data)
        if kind == _SUBSYSTEM | nf.NFT_MSG_NEWTABLE
    }


#: Attributes that are equal in all routers, unlike handles, use counts and user data.
_LASTING = {
    nf.NFT_MSG_NEWTABLE: (nf.NFTA_TABLE_FLAGS,),
    nf.NFT_MSG_NEWCHAIN: (nf.NFTA_CHAIN_NAME, nf.NFTA_CHAIN_HOOK, nf.NFTA_CHAIN_POLICY, nf.NFTA_CHAIN_TYPE),
    nf.NFT_MSG_NEWSET: (
        *(nf.NFTA_SET_NAME, nf.NFTA_SET_FLAGS, nf.NFTA_SET_KEY_TYPE, nf.NFTA_SET_KEY_LEN),
        *(nf.NFTA_SET_DATA_TYPE, nf.NFTA_SET_DATA_LEN, nf.NFTA_SET_OBJ_TYPE, nf.NFTA_SET_EXPR),
    ),
    nf.NFT_MSG_NEWOBJ: (nf.NFTA_OBJ_NAME, nf.NFTA_OBJ_TYPE, nf.NFTA_OBJ_DATA),
    nf.NFT_MSG_NEWRULE: (nf.NFTA_RULE_CHAIN, nf.NFTA_RULE_EXPRESSIONS),
}
Fingerprint = frozenset[tuple[int, int, bytes]]


def fingerprint(table: NftTable, *dumps: bytes) -> Fingerprint:
    """Return the content of a table in the dumps of tables, chains, sets and rules, comparable between routers.

    Rules include their position, so that their order is compared. Empty if there is no table.
    """
    family, name = table.id.identity
    found: set[tuple[int, int, bytes]] = set()
    place = 0
    for data in dumps:
        for kind, _, _, start, end in messages(data):
            wanted = _LASTING.get(kind & 0xFF) if kind >> 8 == nf.NFNL_SUBSYS_NFTABLES else None
            parts = attribute_map(data, start + 4, end)
            # In all of them attribute 1 is the name of the table.
            if wanted is None or parts.get(nf.NFTA_TABLE_NAME) != name or data[start] != family:
                continue
            place = place + 1 if kind & 0xFF == nf.NFT_MSG_NEWRULE else 0
            found.add((kind & 0xFF, place, b"\xff".join(parts.get(one, b"") for one in wanted)))
    return frozenset(found)
