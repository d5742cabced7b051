# SPDX-License-Identifier: Apache-2.0
"""Declarations of sets, maps and objects of nf_tables.

Source: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from l3agent.dataplane.netlink import nf_tables as nf
from l3agent.dataplane.netlink.message import CREATE, attribute, be32, message, nested, text, u8
from l3agent.dataplane.netlink.nft_types import Types

_PROTOCOLS = {6: "tcp", 17: "udp"}
_FAMILIES = {"ip": nf.NFPROTO_IPV4, "ip6": nf.NFPROTO_IPV6, "inet": nf.NFPROTO_INET}


@dataclass(frozen=True, slots=True)
class TableId:
    """Family and name of a table, which identify it in a namespace."""

    family: Literal["ip", "ip6", "inet"]
    name: str

    @property
    def identity(self) -> tuple[int, bytes]:
        """Family and name as messages contain them."""
        return _FAMILIES[self.family], self.name.encode() + b"\0"

    def request(self, kind: int, body: bytes, flags: int = 0) -> bytes:
        """Return a message of the family of the table."""
        header = bytes((_FAMILIES[self.family], 0, 0, 0))
        return message(nf.NFNL_SUBSYS_NFTABLES << 8 | kind, flags, header + body)

    def __str__(self) -> str:
        """Return the table in the syntax of nft(8)."""
        return f"{self.family} {self.name}"


@dataclass(frozen=True, eq=False, slots=True)
class NftSet:
    """A set, or a map if its elements have values. Compared by identity: each set is declared once.

    :param key: type of the keys; several types are a concatenation.
    :param value: type of the values of a map.
    :param interval: keys are ranges. The bytes of such a key are those of its first ends, then those of its last ends.
    :param counter: each element counts matching packets.
    :param helpers: values are names of conntrack helpers of the table (:class:`CtHelper`), each with a NUL.
    """

    table: TableId
    name: str
    key: Types
    value: Types = ()
    interval: bool = False
    counter: bool = False
    helpers: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class CtHelper:
    """A conntrack helper as an object of a table, for connections of the family of the table.

    :param helper: name of the helper in the kernel, such as ``ftp``.
    :param protocol: of the transport layer, IPPROTO_TCP or IPPROTO_UDP.
    """

    table: TableId
    name: str
    helper: str
    protocol: Literal[6, 17]

    def request(self) -> bytes:
        """Return a request that creates the object; the kernel loads the module of the helper."""
        data = (
            text(nf.NFTA_CT_HELPER_NAME, self.helper),
            attribute(nf.NFTA_CT_HELPER_L3PROTO, bytes((0, _FAMILIES[self.table.family]))),
            u8(nf.NFTA_CT_HELPER_L4PROTO, self.protocol),
        )
        body = text(nf.NFTA_OBJ_TABLE, self.table.name) + text(nf.NFTA_OBJ_NAME, self.name)
        body += be32(nf.NFTA_OBJ_TYPE, nf.NFT_OBJECT_CT_HELPER) + nested(nf.NFTA_OBJ_DATA, *data)
        return self.table.request(nf.NFT_MSG_NEWOBJ, body, CREATE)

    def text(self) -> str:
        """Return the object in the syntax of nft(8)."""
        return f'{self.table} {self.name} {{ type "{self.helper}" protocol {_PROTOCOLS[self.protocol]}; }}'
