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
from l3agent.dataplane.netlink.message import attribute, be32, nested, text
from l3agent.dataplane.netlink.nft_fields import PACKET_MARK, Field, Payload, concatenation, expression, load, register
from l3agent.dataplane.netlink.nft_sets import NftSet
from l3agent.dataplane.netlink.nft_types import IPV4_ADDR, MARK, Scalar


class Expression(Protocol):
    """A part of a rule."""

    def encode(self) -> bytes:
        """Return the attributes of the expression."""

    def text(self) -> str:
        """Return the expression in the syntax of nft(8)."""


Rule = tuple[Expression, ...]


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
        return load(self.fields) + _lookup(self.set, *flags)

    def text(self) -> str:
        """Return the expression in the syntax of nft(8)."""
        return f"{concatenation(self.fields)} {'!= ' if self.invert else ''}@{self.set.name}"


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
            attributes.append(be32(kind, register(address.size + place * nf.NFT_REG32_SIZE)))
        if flags:
            attributes.append(be32(nf.NFTA_NAT_FLAGS, flags))
        found = _lookup(self.map, be32(nf.NFTA_LOOKUP_DREG, nf.NFT_REG_1))
        return load(self.fields) + found + expression("nat", *attributes)

    def text(self) -> str:
        """Return the expression in the syntax of nft(8)."""
        to = f"to {concatenation(self.fields)} map @{self.map.name}"
        return f"snat {to} fully-random" if self.type == nf.NFT_NAT_SNAT else f"dnat {to}"


@dataclass(frozen=True, slots=True)
class SetHelper:
    """Assign the conntrack helper that a map of helpers has for the packet; none where the map has no key for it."""

    fields: tuple[Field, ...]
    map: NftSet

    def encode(self) -> bytes:
        """Return the attributes of the expression."""
        place = text(nf.NFTA_OBJREF_SET_NAME, self.map.name)
        return load(self.fields) + expression("objref", be32(nf.NFTA_OBJREF_SET_SREG, nf.NFT_REG_1), place)

    def text(self) -> str:
        """Return the expression in the syntax of nft(8), which version 1.0.6 does not read."""
        return f"ct helper set {concatenation(self.fields)} map @{self.map.name}"


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
        return "accept" if self.code == nf.NF_ACCEPT else "drop"
