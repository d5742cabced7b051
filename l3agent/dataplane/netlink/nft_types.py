# SPDX-License-Identifier: Apache-2.0
"""Data types of keys and values of nf_tables: sizes, bytes and text.

Source: the type numbers of nftables (include/datatype.h), for which nft prints names; the kernel does not interpret
them. A concatenation pads each field to 32 bits, and its number has 6 bits per field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from operator import attrgetter
from socket import inet_ntoa
from struct import Struct
from typing import Any

from l3agent.dataplane.netlink import nf_tables as nf

Scalar = IPv4Address | IPv6Address | str | int

HOST_ORDER, NETWORK_ORDER = 1, 2
_CONCATENATION_BITS = 6


@dataclass(frozen=True, eq=False, slots=True)
class DataType:
    """A data type of nft(8). Compared by identity: each type is declared once.

    :param size: bytes of a value.
    :param text: returns a value in the syntax of nft(8).
    """

    name: str
    number: int
    size: int
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Scalar]
    text: Callable[[bytes], str]
    order: int = NETWORK_ORDER


def device_key(device: str) -> bytes:
    """Return a device name as a key of type ifname."""
    return device.encode().ljust(nf.IFNAMSIZ, b"\0")


def _device(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")


def _integer(
    name: str, number: int, layout: str, names: tuple[tuple[int, str], ...] = (), order: int = NETWORK_ORDER
) -> DataType:
    """Return the type of an integer.

    :param names: names of values, or of the bits of a bitmask.
    """
    struct = Struct(layout)

    def decode(raw: bytes) -> int:
        return int(struct.unpack(raw)[0])

    def text(raw: bytes) -> str:
        value = decode(raw)
        bits = ",".join(bit_name for bit, bit_name in names if value & bit)
        return dict(names).get(value) or bits or str(value)

    return DataType(name, number, struct.size, struct.pack, decode, text, order)


IPV4_ADDR = DataType("ipv4_addr", 7, 4, attrgetter("packed"), IPv4Address, inet_ntoa)
IPV6_ADDR = DataType("ipv6_addr", 8, 16, attrgetter("packed"), IPv6Address, lambda raw: str(IPv6Address(raw)))
IFNAME = DataType("ifname", 41, nf.IFNAMSIZ, device_key, _device, lambda raw: f'"{_device(raw)}"', HOST_ORDER)
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


@cache
def _fields(types: Types) -> tuple[tuple[DataType, slice, bytes], ...]:
    """Return the type, the place and the padding of each field of a value."""
    found, at = [], 0
    for one in types:
        room = padded(one.size) if len(types) > 1 else one.size
        found.append((one, slice(at, at + one.size), bytes(room - one.size)))
        at += room
    return tuple(found)


def join(types: Types, fields: Iterable[Any]) -> bytes:
    """Return the bytes of a value from the values of its fields."""
    return b"".join([one.encode(field) + pad for (one, _, pad), field in zip(_fields(types), fields, strict=True)])


def values(types: Types, raw: bytes) -> list[Scalar]:
    """Return the value of each field of a value."""
    return [one.decode(raw[place]) for one, place, _ in _fields(types)]


def text(types: Types, raw: bytes, *, interval: bool = False) -> str:
    """Return a value in the syntax of nft(8)."""
    first = [one.text(raw[place]) for one, place, _ in _fields(types)]
    if interval:
        last_raw = raw[size(types) :]
        last = [one.text(last_raw[place]) for one, place, _ in _fields(types)]
        first = [one if one == end else f"{one}-{end}" for one, end in zip(first, last, strict=True)]
    return " . ".join(first)


def type_text(types: Types) -> str:
    """Return a type in the syntax of nft(8)."""
    return " . ".join(one.name for one in types)
