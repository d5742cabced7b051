# SPDX-License-Identifier: Apache-2.0
"""nf_tables: elements of maps and sets, written and read.

Source: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import starmap

from l3agent.dataplane.netlink import nf_tables as nf
from l3agent.dataplane.netlink import nft_types
from l3agent.dataplane.netlink.message import (
    CREATE,
    DUMP,
    attribute,
    attribute_map,
    attributes,
    be32,
    messages,
    nested,
    text,
)
from l3agent.dataplane.netlink.nft_sets import NftSet

_NEW_ELEMENTS = nf.NFNL_SUBSYS_NFTABLES << 8 | nf.NFT_MSG_NEWSETELEM
#: Bytes of the header of an attribute.
_HEADER_SIZE = 4

#: Maximum number of elements per message: the length of their common attribute has 16 bits, an element up to 48 bytes.
MAX_ELEMENTS = 1000


def new_elements(one: NftSet, elements: Iterable[tuple[bytes, bytes | None]]) -> bytes:
    """Return a request that adds (key, value) pairs to a map, at most :data:`MAX_ELEMENTS`; value None for a set."""
    return one.table.request(nf.NFT_MSG_NEWSETELEM, _elements(one, elements), CREATE)


def delete_elements(one: NftSet, keys: Iterable[bytes]) -> bytes:
    """Return a request that deletes at most :data:`MAX_ELEMENTS` keys; a missing key fails the whole batch."""
    return one.table.request(nf.NFT_MSG_DELSETELEM, _elements(one, ((key, None) for key in keys)))


def _elements(one: NftSet, elements: Iterable[tuple[bytes, bytes | None]]) -> bytes:
    return _place(one) + nested(nf.NFTA_SET_ELEM_LIST_ELEMENTS, *starmap(_encoder(one), elements))


def _encoder(one: NftSet) -> Callable[[bytes, bytes | None], bytes]:
    if one.helpers:
        return _object_reference
    if not one.interval:
        return _framed
    return _interval if len(one.key) == 1 else _concatenated_interval


@cache
def _place(one: NftSet) -> bytes:
    """Return the attributes that name a set in messages about its elements."""
    return text(nf.NFTA_SET_ELEM_LIST_TABLE, one.table.name) + text(nf.NFTA_SET_ELEM_LIST_SET, one.name)


def _framed(key: bytes, value: bytes | None) -> bytes:
    """Return an element without encoding its headers again, which halves the time of 1,000 elements."""
    if value is None:
        before, after = _frame(len(key))
        return before + key + after
    before, between, after = _frame(len(key), len(value))
    return before + key + between + value + after


@cache
def _frame(key_size: int, value_size: int | None = None) -> tuple[bytes, ...]:
    """Return what precedes the key of an element, what separates it from the value, and what follows."""
    whole = _element(bytes(key_size), None if value_size is None else bytes(value_size))
    # Three headers precede the key, two the value.
    key = 3 * _HEADER_SIZE
    if value_size is None:
        return whole[:key], whole[key + key_size :]
    value = len(_element(bytes(key_size), None)) + 2 * _HEADER_SIZE
    return whole[:key], whole[key + key_size : value], whole[value + value_size :]


def _element(key: bytes, value: bytes | None, *more: bytes) -> bytes:
    data = b"" if value is None else nested(nf.NFTA_SET_ELEM_DATA, attribute(nf.NFTA_DATA_VALUE, value))
    return nested(nf.NFTA_LIST_ELEM, _key(nf.NFTA_SET_ELEM_KEY, key), data, *more)


def _key(kind: int, key: bytes) -> bytes:
    return nested(kind, attribute(nf.NFTA_DATA_VALUE, key))


def _object_reference(key: bytes, value: bytes | None) -> bytes:
    return _element(key, None, b"" if value is None else attribute(nf.NFTA_SET_ELEM_OBJREF, value))


def _concatenated_interval(key: bytes, value: bytes | None) -> bytes:
    half = len(key) // 2
    return _element(key[:half], value, _key(nf.NFTA_SET_ELEM_KEY_END, key[half:]))


def _interval(key: bytes, value: bytes | None) -> bytes:
    """Return two elements: the first key, and the key after the last one (absent after the last possible key)."""
    half = len(key) // 2
    after = int.from_bytes(key[half:], "big") + 1
    first = _element(key[:half], value)
    if after >> 8 * half:
        return first
    end = be32(nf.NFTA_SET_ELEM_FLAGS, nf.NFT_SET_ELEM_INTERVAL_END)
    return first + _element(after.to_bytes(half, "big"), None, end)


def decode_elements(one: NftSet, data: bytes) -> dict[bytes, bytes | None]:
    """Return the elements of a set in received bytes: key -> value, None in a set.

    A catch-all element has the empty key.
    """
    if one.helpers:
        found = _each_element(data)
        return {_data(parts, nf.NFTA_SET_ELEM_KEY) or b"": parts.get(nf.NFTA_SET_ELEM_OBJREF) for parts in found}
    return _intervals(data) if one.interval else _single_keys(data)


def is_of_type(one: NftSet, key: bytes, value: bytes | None) -> bool:
    """Return True if an element has the sizes of the declared types; a foreign one has others, or is a catch-all."""
    if one.helpers:
        return len(key) == nft_types.size(one.key) and value is not None
    return (len(key), None if value is None else len(value)) == _sizes(one)


@cache
def _sizes(one: NftSet) -> tuple[int, int | None]:
    ends = 2 if one.interval else 1
    return ends * nft_types.size(one.key), nft_types.size(one.value) if one.value else None


@cache
def dump_elements(one: NftSet) -> bytes:
    """Return a request for the elements of one map or set."""
    return one.table.request(nf.NFT_MSG_GETSETELEM, _place(one), DUMP)


def parse_counters(data: bytes) -> dict[bytes, tuple[int, int]]:
    """Return packets and bytes of each counting element in received bytes, by key.

    NFTA_SET_ELEM_EXPR holds one expression (NFTA_EXPR_DATA), a counter: NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS.
    """
    found = {}
    for parts in _each_element(data):
        if nf.NFTA_SET_ELEM_EXPR in parts and nf.NFTA_SET_ELEM_KEY in parts:
            values = _within(_within(parts[nf.NFTA_SET_ELEM_EXPR])[nf.NFTA_EXPR_DATA])
            packets, size = values[nf.NFTA_COUNTER_PACKETS], values[nf.NFTA_COUNTER_BYTES]
            key = _data(parts, nf.NFTA_SET_ELEM_KEY) or b""
            found[key] = int.from_bytes(packets, "big"), int.from_bytes(size, "big")
    return found


def _single_keys(data: bytes) -> dict[bytes, bytes | None]:
    key, value = nf.NFTA_SET_ELEM_KEY, nf.NFTA_SET_ELEM_DATA
    return {_data(parts, key) or b"": _data(parts, value) if value in parts else None for parts in _each_element(data)}


def _intervals(data: bytes) -> dict[bytes, bytes | None]:
    """Return the elements of an interval set in received bytes; a key is the first key followed by the last one.

    An interval of a concatenation is one element. Others are two elements; the second begins after the last key.
    """
    found: dict[bytes, bytes | None] = {}
    ends: list[tuple[bytes, bool, bytes | None]] = []
    for parts in _each_element(data):
        key, value = _data(parts, nf.NFTA_SET_ELEM_KEY) or b"", _data(parts, nf.NFTA_SET_ELEM_DATA)
        if (last := _data(parts, nf.NFTA_SET_ELEM_KEY_END)) is not None:
            found[key + last] = value
        else:
            flags = int.from_bytes(parts.get(nf.NFTA_SET_ELEM_FLAGS, b""), "big")
            ends.append((key, not flags & nf.NFT_SET_ELEM_INTERVAL_END, value))
    # At one key an interval may end and the next one begin; the end sorts first.
    ends.sort(key=lambda one: one[:2])
    keys_after = [key for key, _, _ in ends[1:]] + [b""]
    for (key, begins, value), after in zip(ends, keys_after, strict=False):
        if begins:
            # Without an end, the interval ends with the last possible key.
            last_key = (int.from_bytes(after, "big") - 1) % (1 << 8 * len(key))
            found[key + last_key.to_bytes(len(key), "big")] = value
    return found


def _each_element(data: bytes) -> Iterator[dict[int, bytes]]:
    for kind, _, _, start, end in messages(data):
        if kind != _NEW_ELEMENTS:
            continue
        for what, first, last in attributes(data, start + 4, end):
            if what == nf.NFTA_SET_ELEM_LIST_ELEMENTS:
                for _, one, after in attributes(data, first, last):
                    yield attribute_map(data, one, after)


def _data(parts: dict[int, bytes], kind: int) -> bytes | None:
    """Return the bytes of a key or value, None without one."""
    nest = parts.get(kind, b"")
    return attribute_map(nest, 0, len(nest)).get(nf.NFTA_DATA_VALUE)


def _within(nest: bytes) -> dict[int, bytes]:
    return attribute_map(nest, 0, len(nest))
