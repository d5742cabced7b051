# SPDX-License-Identifier: Apache-2.0
"""Tables of nf_tables without their elements."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from l3agent.dataplane.netlink import nf_tables as nf
from l3agent.dataplane.netlink import ruleset, tables
from l3agent.dataplane.netlink.message import attributes, messages
from l3agent.dataplane.netlink.ruleset import NftTable
from l3agent.dataplane.plan.kinds.base import Batch, Entry, Operation
from l3agent.dataplane.plan.kinds.observation import EventLocation

#: NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h).
NETFILTER_GROUPS = (7,)


@dataclass(frozen=True, slots=True)
class RulesEvent:
    """One of our tables, or an object in it, was added, changed or removed."""

    def is_as_desired(self, location: EventLocation) -> bool:
        """Return False: the state has to be observed."""
        return False


def rules_events(data: bytes) -> Iterator[RulesEvent]:
    """Yield an event for each message about one of our tables."""
    for kind, _, _, start, end in messages(data):
        if kind >> 8 != nf.NFNL_SUBSYS_NFTABLES or kind & 0xFF == nf.NFT_MSG_NEWGEN:
            continue
        # Attribute 1 is the name of the table in every message but that of the generation.
        names = [data[first:last] for what, first, last in attributes(data, start + 4, end) if what == 1]
        if names and (data[start], names[0]) in tables.IDENTITIES:
            yield RulesEvent()


@dataclass(frozen=True, slots=True)
class Table(Entry):
    """An nf_tables table without its elements (:mod:`l3agent.dataplane.netlink.tables`).

    :param is_intact: the rules equal the rules that this release writes.
    """

    kind: ClassVar[str] = "table"

    declared: NftTable = tables.ROUTER
    is_intact: bool = True

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.declared

    def sort_key(self) -> tuple[Any, ...]:
        """Return the sort key among entries of the same phase."""
        return (self.declared.id.name,)

    def as_json(self) -> dict[str, Any]:
        """Return the name of the table and its state."""
        return {"name": self.declared.id.name, "is_intact": self.is_intact}

    @classmethod
    def commands(cls, operation: Operation[Table], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        table, enter = operation.entry.declared, f"ip netns exec {namespace}"
        delete = f"delete table {table.id}"
        if operation.verb == "remove":
            return [f"{enter} nft '{delete}'"]
        lines = ruleset.table_text(table)
        mark = "".join(f" # without {name}, which nft 1.0.6 cannot express" for name in ruleset.left_out(table))
        return [f"{enter} nft '{'; '.join([delete, *lines] if operation.verb == 'change' else lines)}'{mark}"]

    @classmethod
    def encode_rules(cls, operations: Sequence[Operation[Table]], made: Batch) -> None:
        """Add the messages to the atomic nf_tables batch."""
        for operation in operations:
            table = operation.entry.declared
            if operation.verb != "add":
                made.append((ruleset.delete_table(table), operation))
            if operation.verb != "remove":
                made += [(one, operation) for one in ruleset.new_table(table)]
