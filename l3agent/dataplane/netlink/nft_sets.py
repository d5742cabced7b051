# SPDX-License-Identifier: Apache-2.0
"""Declarations of sets and maps of nf_tables.

Source: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from l3agent.dataplane.netlink import nf_tables as nf
from l3agent.dataplane.netlink.message import message
from l3agent.dataplane.netlink.nft_types import Types

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
    """

    table: TableId
    name: str
    key: Types
    value: Types = ()
    interval: bool = False
    counter: bool = False
