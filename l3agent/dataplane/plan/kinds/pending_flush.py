# SPDX-License-Identifier: Apache-2.0
"""Conntrack entries that are still to be deleted, and the journal that records them in the kernel."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, ClassVar

from l3agent.dataplane.netlink import nft_elements, nft_types, tables
from l3agent.dataplane.plan.kinds.base import Batch, Entry, Operation, Phase
from l3agent.dataplane.plan.kinds.element import parts

#: Second address of a journal edge that has only one.
NO_ADDRESS = IPv4Address(0)

_JOURNAL = f"element {tables.PENDING_FLUSH.table} {tables.PENDING_FLUSH.name}"


@dataclass(frozen=True, slots=True)
class PendingFlush(Entry):
    """Conntrack entries that are still to be deleted, as an edge of the journal. Never desired.

    :param cause: why they are to be deleted, which also decides what the two addresses are:

        * ``floating_dnat``: a floating IP was removed;
        * ``untranslated``: a floating IP was added; entries of its address that began before it are not translated;
        * ``gateway_snat`` and ``hairpin_snat``: the address that these maps translated to was removed;
        * ``without_nat``: SNAT was switched on for a tenant network;
        * ``interface``: the router lost its interface in a tenant network;
        * ``address``: an address of the gateway device was removed that only neutron-l3-agent translated.

    :param original: floating address, address that sources were translated to, network address, or gateway address.
    :param translated: fixed address, or netmask of the network; 0.0.0.0 for the other causes.
    :param is_journalled: False if the plan deletes the entries before it adds the floating address to the gateway
        device: the missing address takes the place of the journal, and a repeated plan deletes the entries again.
    """

    kind: ClassVar[str] = "pending_flush"

    cause: str
    original: IPv4Address
    translated: IPv4Address = NO_ADDRESS
    is_journalled: bool = True

    @property
    def key(self) -> bytes:
        """The key of the element of the journal."""
        return nft_types.join(tables.PENDING_FLUSH.key, (self.cause, self.original, self.translated))

    @property
    def network(self) -> IPv4Network:
        """The tenant network."""
        return IPv4Network((int(self.original), int(self.translated).bit_count()), strict=False)

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.cause, int(self.original), int(self.translated)

    def sort_key(self) -> tuple[Any, ...]:
        """Return the sort key among entries of the same phase: before elements."""
        return "", self.cause, int(self.original), int(self.translated)

    @classmethod
    def phase(cls, operation: Operation[PendingFlush], replaced: Collection[str]) -> tuple[Phase, bool] | None:
        """Return the phase of a deletion that precedes the addition of the floating address."""
        if operation.verb == "remove" and not operation.entry.is_journalled:
            return Phase.BEFORE_ADDRESSES, True
        return None

    @classmethod
    def commands(cls, operation: Operation[PendingFlush], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        edge, enter = operation.entry, f"ip netns exec {namespace}"
        deletions = [] if operation.verb != "remove" else _deletions(edge, enter)
        if not edge.is_journalled:
            return deletions
        verb = "add" if operation.verb != "remove" else "delete"
        key = nft_types.text(tables.PENDING_FLUSH.key, edge.key)
        return [*deletions, f"{enter} nft '{verb} {_JOURNAL} {{ {key} }}'"]

    @classmethod
    def encode_rules(cls, operations: Sequence[Operation[PendingFlush]], made: Batch) -> None:
        """Add the messages that record edges in the journal."""
        for part in parts([one for one in operations if one.verb == "add"]):
            edges = [(one.entry.key, None) for one in part]
            made.append((nft_elements.new_elements(tables.PENDING_FLUSH, edges), part[0]))


def delete_journal(done: Sequence[PendingFlush]) -> list[bytes]:
    """Return the messages that delete edges from the journal."""
    return [nft_elements.delete_elements(tables.PENDING_FLUSH, [one.key for one in part]) for part in parts(done)]


def parse_key(key: bytes) -> PendingFlush:
    """Return the edge of an element of the journal."""
    cause, original, translated = nft_types.values(tables.PENDING_FLUSH.key, key)
    return PendingFlush(str(cause), IPv4Address(original), IPv4Address(translated))


#: Converts a listed conntrack entry to its deletion, unless its destination is translated as well.
_ONLY_SOURCE = "sed -n '/ -g /!s/^-A/-D/p'"


def _filter_leaving(enter: str) -> str:
    """Return the filter that converts listed entries without NAT that leave through the gateway to deletions."""
    is_leaving = f"{enter} ip route get ${{to%% *}} | grep -q ' dev qg-'"
    each = f'while read -r one; do to=${{one#* -d }}; {is_leaving} && echo "$one"; done'
    return f"sed -n '/ -[gn] /!s/^-A/-D/p' | {each}"


def _deletions(edge: PendingFlush, enter: str) -> list[str]:
    """Return the commands that delete the conntrack entries of an edge; they fail if there are none."""
    conntrack = f"{enter} conntrack"
    match edge.cause:
        case "floating_dnat":
            left, right = str(edge.original), str(edge.translated)
            return [
                f"{conntrack} -D --orig-dst {left} --reply-src {right}",
                f"{conntrack} -D --orig-src {right} --reply-dst {left}",
            ]
        case "untranslated":
            left = str(edge.original)
            return [f"{conntrack} -D --orig-dst {left} --reply-src {left}"]
        case "without_nat":
            return [f"{conntrack} -L -o save --orig-src {edge.network} | {_filter_leaving(enter)} | {conntrack} -R -"]
        case "address":
            return [f"{conntrack} -D --orig-dst {edge.original}", f"{conntrack} -D --reply-dst {edge.original}"]
        case "gateway_snat":
            return [f"{conntrack} -L --src-nat {edge.original} -o save | {_ONLY_SOURCE} | {conntrack} -R -"]
        case "hairpin_snat":
            return [f"{conntrack} -D --src-nat {edge.original} --dst-nat"]
        case "interface":
            return [f"{conntrack} -D --orig-src {edge.network}", f"{conntrack} -D --orig-dst {edge.network}"]
        case _:
            return []
