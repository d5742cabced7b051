# SPDX-License-Identifier: Apache-2.0
"""Expressions of rules as values; each one has its netlink attributes and its text in the syntax of nft(8).

A rule is a tuple of expressions. The fields that an expression loads occupy consecutive registers from the first on.

Source: linux/netfilter/nf_tables.h, nft(8).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from l3agent.dataplane.netlink import nf_tables as nf
from l3agent.dataplane.netlink import nft_types
from l3agent.dataplane.netlink.message import attribute, be32, nested, text
from l3agent.dataplane.netlink.nft_sets import NftSet
from l3agent.dataplane.netlink.nft_types import (
    CT_DIR,
    CT_STATUS,
    IFNAME,
    INET_PROTO,
    INET_SERVICE,
    IPV4_ADDR,
    IPV6_ADDR,
    MARK,
    NF_PROTO,
    DataType,
    Scalar,
)


class Expression(Protocol):
    """A part of a rule."""

    def encode(self) -> bytes:
        """Return the attributes of the expression."""

    def text(self) -> str:
        """Return the expression in the syntax of nft(8)."""


Rule = tuple[Expression, ...]


def expression(name: str, *attributes: bytes) -> bytes:
    """Return one element of the list of expressions of a rule."""
    return nested(nf.NFTA_LIST_ELEM, text(nf.NFTA_EXPR_NAME, name), nested(nf.NFTA_EXPR_DATA, *attributes))


def _register(offset: int) -> int:
    """Return the register that begins at a number of bytes after the first, in the form in which the kernel dumps it.

    See ``nft_dump_register``.
    """
    if offset % nf.NFT_REG_SIZE == 0:
        return nf.NFT_REG_1 + offset // nf.NFT_REG_SIZE
    return nf.NFT_REG32_00 + offset // nf.NFT_REG32_SIZE


# ---- fields of packets -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Payload:
    """A field of a header of the packet."""

    name: str
    type: DataType
    base: int
    offset: int

    def load(self, register: int, size: int | None = None) -> bytes:
        """Return the expression that loads the field, or its first bytes, into a register."""
        return expression(
            "payload",
            be32(nf.NFTA_PAYLOAD_DREG, register),
            be32(nf.NFTA_PAYLOAD_BASE, self.base),
            be32(nf.NFTA_PAYLOAD_OFFSET, self.offset),
            be32(nf.NFTA_PAYLOAD_LEN, size or self.type.size),
        )


@dataclass(frozen=True, slots=True)
class Meta:
    """Metadata of the packet."""

    name: str
    type: DataType
    key: int

    def load(self, register: int) -> bytes:
        """Return the expression that loads the field into a register."""
        return expression("meta", be32(nf.NFTA_META_DREG, register), be32(nf.NFTA_META_KEY, self.key))


@dataclass(frozen=True, slots=True)
class Ct:
    """A field of the conntrack entry of the packet; a packet without an entry never matches."""

    name: str
    type: DataType
    key: int

    def load(self, register: int) -> bytes:
        """Return the expression that loads the field into a register."""
        return expression("ct", be32(nf.NFTA_CT_DREG, register), be32(nf.NFTA_CT_KEY, self.key))


Field = Payload | Meta | Ct

IP_SADDR = Payload("ip saddr", IPV4_ADDR, nf.NFT_PAYLOAD_NETWORK_HEADER, 12)
IP_DADDR = Payload("ip daddr", IPV4_ADDR, nf.NFT_PAYLOAD_NETWORK_HEADER, 16)
IP6_SADDR = Payload("ip6 saddr", IPV6_ADDR, nf.NFT_PAYLOAD_NETWORK_HEADER, 8)
IP6_DADDR = Payload("ip6 daddr", IPV6_ADDR, nf.NFT_PAYLOAD_NETWORK_HEADER, 24)
TH_DPORT = Payload("th dport", INET_SERVICE, nf.NFT_PAYLOAD_TRANSPORT_HEADER, 2)
IIFNAME = Meta("iifname", IFNAME, nf.NFT_META_IIFNAME)
OIFNAME = Meta("oifname", IFNAME, nf.NFT_META_OIFNAME)
NFPROTO = Meta("meta nfproto", NF_PROTO, nf.NFT_META_NFPROTO)
L4PROTO = Meta("meta l4proto", INET_PROTO, nf.NFT_META_L4PROTO)
PACKET_MARK = Meta("meta mark", MARK, nf.NFT_META_MARK)
STATUS = Ct("ct status", CT_STATUS, nf.NFT_CT_STATUS)
DIRECTION = Ct("ct direction", CT_DIR, nf.NFT_CT_DIRECTION)


def _load(fields: tuple[Field, ...]) -> bytes:
    """Return the expressions that load fields into consecutive registers."""
    loaded, offset = [], 0
    for field in fields:
        loaded.append(field.load(_register(offset)))
        offset += nft_types.padded(field.type.size)
    return b"".join(loaded)


def _concatenation(fields: tuple[Field, ...]) -> str:
    return " . ".join(field.name for field in fields)


# ---- matches ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lookup:
    """Match fields that are a key of a set; ``invert``: that are none."""

    fields: tuple[Field, ...]
    set: NftSet
    invert: bool = False

    def encode(self) -> bytes:
        """Return the attributes of the expression."""
        flags = [be32(nf.NFTA_LOOKUP_FLAGS, nf.NFT_LOOKUP_F_INV)] if self.invert else []
        return _load(self.fields) + _lookup(self.set, *flags)

    def text(self) -> str:
        """Return the expression in the syntax of nft(8)."""
        return f"{_concatenation(self.fields)} {'!= ' if self.invert else ''}@{self.set.name}"


def _lookup(place: NftSet, *more: bytes) -> bytes:
    name, register = text(nf.NFTA_LOOKUP_SET, place.name), be32(nf.NFTA_LOOKUP_SREG, nf.NFT_REG_1)
    return expression("lookup", name, register, *more)


_OPERATORS = {nf.NFT_CMP_EQ: "==", nf.NFT_CMP_NEQ: "!="}


@dataclass(frozen=True, slots=True)
class Compare:
    """Match a field whose value equals (NFT_CMP_EQ), or does not equal (NFT_CMP_NEQ), a value."""

    field: Field
    operator: int
    value: Scalar

    def encode(self) -> bytes:
        """Return the attributes of the expression."""
        return self.field.load(nf.NFT_REG_1) + _compare(self.operator, self.field.type.encode(self.value))

    def text(self) -> str:
        """Return the expression in the syntax of nft(8)."""
        operator = "" if self.operator == nf.NFT_CMP_EQ else f"{_OPERATORS[self.operator]} "
        return f"{self.field.name} {operator}{self.field.type.text(self.field.type.encode(self.value))}"


@dataclass(frozen=True, slots=True)
class HasBits:
    """Match a bitmask that has one of some bits (NFT_CMP_NEQ: not equal to 0) or none of them (NFT_CMP_EQ)."""

    field: Field
    bits: int
    operator: int

    def encode(self) -> bytes:
        """Return the attributes of the expression."""
        bits, zero = self.field.type.encode(self.bits), bytes(self.field.type.size)
        return self.field.load(nf.NFT_REG_1) + _bitwise(bits, zero) + _compare(self.operator, zero)

    def text(self) -> str:
        """Return the expression in the syntax of nft(8)."""
        bits = self.field.type.text(self.field.type.encode(self.bits))
        if "," not in bits:
            return f"{self.field.name} and {bits} {_OPERATORS[self.operator]} 0"
        return f"{self.field.name} {'! ' if self.operator == nf.NFT_CMP_EQ else ''}{bits}"


@dataclass(frozen=True, slots=True)
class InNetwork:
    """Match an address of a network whose prefix ends at a byte, so that its first bytes are compared."""

    field: Payload
    network: IPv4Network | IPv6Network

    def encode(self) -> bytes:
        """Return the attributes of the expression."""
        prefix = self.network.network_address.packed[: self.network.prefixlen // 8]
        return self.field.load(nf.NFT_REG_1, len(prefix)) + _compare(nf.NFT_CMP_EQ, prefix)

    def text(self) -> str:
        """Return the expression in the syntax of nft(8)."""
        return f"{self.field.name} {self.network}"


def _compare(operator: int, value: bytes) -> bytes:
    data = nested(nf.NFTA_CMP_DATA, attribute(nf.NFTA_DATA_VALUE, value))
    return expression("cmp", be32(nf.NFTA_CMP_SREG, nf.NFT_REG_1), be32(nf.NFTA_CMP_OP, operator), data)


def _bitwise(mask: bytes, xor: bytes) -> bytes:
    return expression(
        "bitwise",
        be32(nf.NFTA_BITWISE_SREG, nf.NFT_REG_1),
        be32(nf.NFTA_BITWISE_DREG, nf.NFT_REG_1),
        be32(nf.NFTA_BITWISE_LEN, len(mask)),
        nested(nf.NFTA_BITWISE_MASK, attribute(nf.NFTA_DATA_VALUE, mask)),
        nested(nf.NFTA_BITWISE_XOR, attribute(nf.NFTA_DATA_VALUE, xor)),
    )


# ---- statements ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Nat:
    """Translate to the value of a map: an address, an address and a port, or an address and the ends of a port range.

    A port is mapped into a range with its offset: to its remainder by the size of the range, added to the first port.

    :param type: NFT_NAT_SNAT or NFT_NAT_DNAT. The source ports of NFT_NAT_SNAT are random, so that two senders rarely
        collide.
    """

    type: int
    fields: tuple[Field, ...]
    map: NftSet

    @property
    def has_port_offset(self) -> bool:
        """True if ports are mapped into a range."""
        return len(self.map.value) > 2

    def encode(self) -> bytes:
        """Return the attributes of the expression."""
        address, *ports = self.map.value
        flags = nf.NF_NAT_RANGE_PROTO_RANDOM_FULLY if self.type == nf.NFT_NAT_SNAT else 0
        flags |= nf.NF_NAT_RANGE_PROTO_OFFSET if self.has_port_offset else 0
        family = nf.NFPROTO_IPV4 if address is IPV4_ADDR else nf.NFPROTO_IPV6
        attributes = [
            be32(nf.NFTA_NAT_TYPE, self.type),
            be32(nf.NFTA_NAT_FAMILY, family),
            be32(nf.NFTA_NAT_REG_ADDR_MIN, nf.NFT_REG_1),
        ]
        for place, kind in enumerate((nf.NFTA_NAT_REG_PROTO_MIN, nf.NFTA_NAT_REG_PROTO_MAX)[: len(ports)]):
            attributes.append(be32(kind, _register(address.size + place * nf.NFT_REG32_SIZE)))
        if flags:
            attributes.append(be32(nf.NFTA_NAT_FLAGS, flags))
        found = _lookup(self.map, be32(nf.NFTA_LOOKUP_DREG, nf.NFT_REG_1))
        return _load(self.fields) + found + expression("nat", *attributes)

    def text(self) -> str:
        """Return the expression in the syntax of nft(8)."""
        to = f"to {_concatenation(self.fields)} map @{self.map.name}"
        return f"snat {to} fully-random" if self.type == nf.NFT_NAT_SNAT else f"dnat {to}"


@dataclass(frozen=True, slots=True)
class SetMark:
    """Set the mark of the packet to its bits in ``mask`` and to ``bits``, which are none of them."""

    mask: int
    bits: int

    def encode(self) -> bytes:
        """Return the attributes of the expression."""
        written = be32(nf.NFTA_META_KEY, nf.NFT_META_MARK), be32(nf.NFTA_META_SREG, nf.NFT_REG_1)
        masked = _bitwise(MARK.encode(self.mask), MARK.encode(self.bits))
        return PACKET_MARK.load(nf.NFT_REG_1) + masked + expression("meta", *written)

    def text(self) -> str:
        """Return the expression in the syntax of nft(8)."""
        return f"meta mark set meta mark and {self.mask:#x} or {self.bits:#x}"


@dataclass(frozen=True, slots=True)
class Counter:
    """Count packets and bytes."""

    def encode(self) -> bytes:
        """Return the attributes of the expression."""
        return expression("counter")

    def text(self) -> str:
        """Return the expression in the syntax of nft(8)."""
        return "counter"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Accept (NF_ACCEPT) or drop (NF_DROP) the packet."""

    code: int

    def encode(self) -> bytes:
        """Return the attributes of the expression."""
        verdict = nested(nf.NFTA_DATA_VERDICT, be32(nf.NFTA_VERDICT_CODE, self.code))
        register = be32(nf.NFTA_IMMEDIATE_DREG, nf.NFT_REG_VERDICT)
        return expression("immediate", register, nested(nf.NFTA_IMMEDIATE_DATA, verdict))

    def text(self) -> str:
        """Return the expression in the syntax of nft(8)."""
        return VERDICTS[self.code]


VERDICTS = {nf.NF_DROP: "drop", nf.NF_ACCEPT: "accept"}
