# SPDX-License-Identifier: Apache-2.0
"""Data types of keys and values of nf_tables: their bytes, their text and their values.

Source: the type numbers of nftables (include/datatype.h), for which nft prints names; the kernel does not interpret
them. A concatenation pads each field to 32 bits, and its number has 6 bits per field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from operator import attrgetter
from struct import Struct
from typing import Any

from l3agent.dataplane.netlink import nf_tables as nf

Scalar = IPv4Address | IPv6Address | str | int


@dataclass(frozen=True, slots=True)
class Range:
    """An interval of an interval set, both ends included."""

    first: Scalar
    last: Scalar


#: The value of a concatenation is a tuple with one value per field.
Value = Scalar | Range | tuple[Scalar | Range, ...]

HOST_ORDER, NETWORK_ORDER = 1, 2
_CONCATENATION_BITS = 6


@dataclass(frozen=True, slots=True)
class DataType:
    """A data type of nft(8).

    :param size: bytes of a value.
    :param names: names of values, or of the bits of a bitmask.
    """

    name: str
    number: int
    size: int
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Scalar]
    order: int = NETWORK_ORDER
    names: tuple[tuple[int, str], ...] = ()

    def text(self, value: Scalar) -> str:
        """Return a value in the syntax of nft(8)."""
        if isinstance(value, str):
            return f'"{value}"'
        if self.names and isinstance(value, int):
            bits = ",".join(name for bit, name in self.names if value & bit)
            return dict(self.names).get(value) or bits or str(value)
        return str(value)


def device_key(device: str) -> bytes:
    """Return a device name as a key of type ifname."""
    return device.encode().ljust(nf.IFNAMSIZ, b"\0")


def _device(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")


def _integer(
    name: str, number: int, layout: str, names: tuple[tuple[int, str], ...] = (), order: int = NETWORK_ORDER
) -> DataType:
    struct = Struct(layout)
    return DataType(name, number, struct.size, struct.pack, lambda raw: int(struct.unpack(raw)[0]), order, names)


IPV4_ADDR = DataType("ipv4_addr", 7, 4, attrgetter("packed"), IPv4Address)
IPV6_ADDR = DataType("ipv6_addr", 8, 16, attrgetter("packed"), IPv6Address)
IFNAME = DataType("ifname", 41, nf.IFNAMSIZ, device_key, _device, HOST_ORDER)
NF_PROTO = _integer("nf_proto", 2, "B", ((nf.NFPROTO_IPV4, "ipv4"), (nf.NFPROTO_IPV6, "ipv6")))
INET_PROTO = _integer("inet_proto", 12, "B")
INET_SERVICE = _integer("inet_service", 13, ">H")
MARK = _integer("mark", 19, "=I", order=HOST_ORDER)
CT_DIR = _integer("ct_dir", 27, "B")
CT_STATUS = _integer("ct_status", 28, "=I", ((nf.IPS_SRC_NAT, "snat"), (nf.IPS_DST_NAT, "dnat")), HOST_ORDER)

#: A type, or the fields of a concatenation.
Types = tuple[DataType, ...]


def padded(size: int) -> int:
    """Return the bytes of a field of a concatenation."""
    return -(-size // nf.NFT_REG32_SIZE) * nf.NFT_REG32_SIZE


def size(types: Types) -> int:
    """Return the bytes of a value."""
    return types[0].size if len(types) == 1 else sum(padded(one.size) for one in types)


def number(types: Types) -> int:
    """Return the type number of a value."""
    found = 0
    for one in types:
        found = (found << _CONCATENATION_BITS) | one.number
    return found


def order(types: Types) -> int:
    """Return the byte order in which nft prints a value."""
    return types[0].order if len(types) == 1 else NETWORK_ORDER


def encoder(types: Types, *, interval: bool = False) -> Callable[[Any], bytes]:
    """Return the function that returns the bytes of a value; see :func:`encode`."""
    if interval:
        return partial(encode, types, interval=True)
    return types[0].encode if len(types) == 1 else partial(_pack_fields, types)


def encode(types: Types, value: Value, *, interval: bool = False) -> bytes:
    """Return the bytes of a value.

    The bytes of an interval are those of its first ends, followed by those of its last ends.
    """
    fields = value if isinstance(value, tuple) else (value,)
    if not interval:
        return _pack_fields(types, fields)
    first = _pack_fields(types, [one.first if isinstance(one, Range) else one for one in fields])
    return first + _pack_fields(types, [one.last if isinstance(one, Range) else one for one in fields])


def _pack_fields(types: Types, fields: Sequence[Scalar | Range]) -> bytes:
    if len(types) == 1:
        return types[0].encode(fields[0])
    encoded = [one.encode(field) for one, field in zip(types, fields, strict=True)]
    return b"".join([raw + bytes(-len(raw) % nf.NFT_REG32_SIZE) for raw in encoded])


def decoder(types: Types, *, interval: bool = False) -> Callable[[bytes], Value]:
    """Return the function that returns the value of bytes of the correct length; see :func:`decode`."""
    return types[0].decode if len(types) == 1 and not interval else partial(decode, types, interval=interval)


def decode(types: Types, raw: bytes, *, interval: bool = False) -> Value:
    """Return the value of bytes of the correct length; a field of an interval key with two ends is a range."""
    first = list(_fields(types, raw))
    last = list(_fields(types, raw[size(types) :])) if interval else first
    found = tuple(one if one == end else Range(one, end) for one, end in zip(first, last, strict=True))
    return found[0] if len(types) == 1 else found


def _fields(types: Types, raw: bytes) -> Iterator[Scalar]:
    at = 0
    for one in types:
        yield one.decode(raw[at : at + one.size])
        at += padded(one.size)


def text(types: Types, value: Value) -> str:
    """Return a value in the syntax of nft(8)."""
    if not isinstance(value, tuple):
        return _field_text(types[0], value)
    return " . ".join([_field_text(one, field) for one, field in zip(types, value, strict=True)])


def _field_text(one: DataType, field: Scalar | Range) -> str:
    return f"{one.text(field.first)}-{one.text(field.last)}" if isinstance(field, Range) else one.text(field)


def type_text(types: Types) -> str:
    """Return a type in the syntax of nft(8)."""
    return " . ".join(one.name for one in types)
