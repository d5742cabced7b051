# SPDX-License-Identifier: Apache-2.0
"""nf_tables: batches, elements of maps and sets, dumps; :mod:`.nft_table` contains the table itself.

Source: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from l3agent.dataplane.netlink.message import (
    CREATE,
    DUMP,
    attribute,
    attribute_map,
    attributes,
    message,
    messages,
    nested,
    number_messages,
    text,
)

TABLE = "l3agent"

#: NFNL_SUBSYS_NFTABLES, and the kinds of its messages.
_SUBSYSTEM = 10 << 8
NEWTABLE, _GETTABLE, DELTABLE, NEWCHAIN, _GETCHAIN, NEWRULE, _GETRULE, DELRULE = 0, 1, 2, 3, 4, 6, 7, 8
NEWSET, _GETSET, _NEWSETELEM, _GETSETELEM, _DELSETELEM, _NEWGEN, _GETGEN = 9, 10, 12, 13, 14, 15, 16
#: nfgenmsg of family ip (NFPROTO_IPV4).
FAMILY_IP = b"\x02\x00\x00\x00"
_BATCH_BEGIN, _BATCH_END = 16, 17
#: nfgenmsg of a batch names the subsystem (NFNL_SUBSYS_NFTABLES, network byte order).
_BATCH = b"\x00\x00\x00\x0a"

#: Bytes of a device name as a key (linux/if.h).
IFNAMSIZ = 16
#: Maximum number of elements per message: the length of their common attribute has 16 bits, an element up to 48 bytes.
MAX_ELEMENTS = 1000


def device_key(device: str) -> bytes:
    """Return a device name as a key of type ifname."""
    return device.encode().ljust(IFNAMSIZ, b"\0")


def batch(parts: Iterable[bytes], first: int) -> tuple[bytes, int]:
    """Return an atomic batch, numbered from ``first``, and the number of the message whose acknowledgement ends it.

    The message with the first number begins the batch.
    """
    body = bytearray(b"".join((message(_BATCH_BEGIN, 0, _BATCH), *parts)))
    last = number_messages(body, first)
    return bytes(body) + message(_BATCH_END, 0, _BATCH), last


def request(kind: int, body: bytes, flags: int = 0) -> bytes:
    """Return a message of family ip."""
    return message(_SUBSYSTEM | kind, flags, FAMILY_IP + body)


# ---- elements --------------------------------------------------------------------------------------------------


def new_elements(name: str, elements: Iterable[tuple[bytes, bytes | None]]) -> bytes:
    """Return a request that adds (key, value) pairs to a map, at most :data:`MAX_ELEMENTS`; value None for a set."""
    return request(_NEWSETELEM, _elements(name, elements), CREATE)


def delete_elements(name: str, keys: Iterable[bytes]) -> bytes:
    """Return a request that deletes at most :data:`MAX_ELEMENTS` keys; a missing key fails the whole batch."""
    return request(_DELSETELEM, _elements(name, ((key, None) for key in keys)))


def _elements(name: str, elements: Iterable[tuple[bytes, bytes | None]]) -> bytes:
    listed = (
        nested(1, nested(1, attribute(1, key)), b"" if value is None else nested(2, attribute(1, value)))
        for key, value in elements
    )
    return _set(name) + nested(3, *listed)


@cache
def _set(name: str) -> bytes:
    """Return the attributes that name a set of our table; cached, because the table has few sets."""
    return text(1, TABLE) + text(2, name)


# ---- dumps -----------------------------------------------------------------------------------------------------


@cache
def get_generation() -> bytes:
    """Return a request for the generation of the ruleset of the namespace, which every change increases."""
    return request(_GETGEN, b"")


def parse_generation(data: bytes) -> int | None:
    """Return the generation in an answer (NFTA_GEN_ID), or None."""
    for kind, _, _, start, end in messages(data):
        if kind == _SUBSYSTEM | _NEWGEN:
            for name, first, last in attributes(data, start + 4, end):
                if name == 1:
                    return int.from_bytes(data[first:last], "big")
    return None


def dump_tables() -> bytes:
    """Return a request for the tables of the family; :func:`fingerprint` ignores all except ours."""
    return message(_SUBSYSTEM | _GETTABLE, DUMP, FAMILY_IP)


def dump_chains() -> bytes:
    """Return a request for the chains of the family; :func:`fingerprint` ignores chains of other tables."""
    return message(_SUBSYSTEM | _GETCHAIN, DUMP, FAMILY_IP)


def dump_sets() -> bytes:
    """Return a request for the sets of our table."""
    return message(_SUBSYSTEM | _GETSET, DUMP, FAMILY_IP + text(1, TABLE))


def dump_rules() -> bytes:
    """Return a request for the rules of our table."""
    return message(_SUBSYSTEM | _GETRULE, DUMP, FAMILY_IP + text(1, TABLE))


def dump_elements(name: str) -> bytes:
    """Return a request for the elements of one map or set of our table."""
    return message(_SUBSYSTEM | _GETSETELEM, DUMP, FAMILY_IP + text(1, TABLE) + text(2, name))


#: Attributes of tables, chains, sets and rules that are equal in all routers, unlike handles, use counts and user data.
_LASTING = {
    NEWTABLE: (2,),
    NEWCHAIN: (3, 4, 5, 7),
    NEWSET: (2, 3, 4, 5, 6, 7, 17),
    NEWRULE: (2, 4),
}


def fingerprint(*dumps: bytes) -> frozenset[tuple[int, int, bytes]]:
    """Return the content of our table in the dumps of tables, chains, sets and rules, comparable between routers.

    Rules include their position, so that their order is compared. Empty if there is no table.
    """
    table = TABLE.encode() + b"\0"
    found: set[tuple[int, int, bytes]] = set()
    place = 0
    for data in dumps:
        for kind, _, _, start, end in messages(data):
            wanted = _LASTING.get(kind & 0xFF) if kind >> 8 == _SUBSYSTEM >> 8 else None
            parts = attribute_map(data, start + 4, end)
            if wanted is None or parts.get(1) != table:
                continue
            place = place + 1 if kind & 0xFF == NEWRULE else 0
            found.add((kind & 0xFF, place, b"\xff".join(parts.get(one, b"") for one in wanted)))
    return frozenset(found)


def parse_counters(data: bytes) -> dict[bytes, tuple[int, int]]:
    """Return packets and bytes of each counting element in received bytes, by key.

    NFTA_SET_ELEM_EXPR holds one expression (NFTA_EXPR_DATA), a counter: NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS.
    """
    found = {}
    for parts in _each_element(data):
        if 7 in parts and 1 in parts:
            values = _within(_within(parts[7])[2])
            found[_within(parts[1])[1]] = int.from_bytes(values[2], "big"), int.from_bytes(values[1], "big")
    return found


def parse_elements(data: bytes) -> dict[bytes, bytes | None]:
    """Return the elements in received bytes: key -> value, None in a set; a catch-all element has the empty key."""
    return {
        _within(parts[1])[1] if 1 in parts else b"": _within(parts[2]).get(1) if 2 in parts else None
        for parts in _each_element(data)
    }


def _each_element(data: bytes) -> Iterator[dict[int, bytes]]:
    for kind, _, _, start, end in messages(data):
        if kind != _SUBSYSTEM | _NEWSETELEM:
            continue
        for what, first, last in attributes(data, start + 4, end):
            if what == 3:
                for _, one, after in attributes(data, first, last):
                    yield attribute_map(data, one, after)


def _within(nest: bytes) -> dict[int, bytes]:
    return attribute_map(nest, 0, len(nest))
