# SPDX-License-Identifier: Apache-2.0
"""Fields of packets that rules compare and look up, and how they are loaded into registers.

Source: linux/netfilter/nf_tables.h, nft(8).
"""

from __future__ import annotations

from dataclasses import dataclass

from l3agent.dataplane.netlink import nf_tables as nf
from l3agent.dataplane.netlink.message import be32, nested, text
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
    padded,
)


def expression(name: str, *attributes: bytes) -> bytes:
    """Return one element of the list of expressions of a rule."""
    return nested(nf.NFTA_LIST_ELEM, text(nf.NFTA_EXPR_NAME, name), nested(nf.NFTA_EXPR_DATA, *attributes))


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


def register(offset: int) -> int:
    """Return the register that begins at a number of bytes after the first, in the form in which the kernel dumps it.

    See ``nft_dump_register``.
    """
    if offset % nf.NFT_REG_SIZE == 0:
        return nf.NFT_REG_1 + offset // nf.NFT_REG_SIZE
    return nf.NFT_REG32_00 + offset // nf.NFT_REG32_SIZE


def load(fields: tuple[Field, ...]) -> bytes:
    """Return the expressions that load fields into consecutive registers."""
    loaded, offset = [], 0
    for field in fields:
        loaded.append(field.load(register(offset)))
        offset += padded(field.type.size)
    return b"".join(loaded)


def concatenation(fields: tuple[Field, ...]) -> str:
    """Return fields in the syntax of nft(8)."""
    return " . ".join(field.name for field in fields)
