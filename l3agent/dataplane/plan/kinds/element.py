# SPDX-License-Identifier: Apache-2.0
"""Elements of the maps and sets of tables."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, ClassVar, TypeVar

from l3agent.dataplane.netlink import nft, nft_types, tables
from l3agent.dataplane.netlink.nft_types import Value
from l3agent.dataplane.netlink.ruleset import NftTable
from l3agent.dataplane.plan.kinds.base import Batch, Entry, Operation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Element(Entry):
    """An element of a map or set of a table; ``value`` is None in a set."""

    kind: ClassVar[str] = "element"

    name: str
    key: Value
    value: Value | None

    @property
    def table(self) -> NftTable:
        """The table of the element."""
        return tables.find_set(self.name)[0]

    def __hash__(self) -> int:
        # Within one state of a map the key determines the value.
        return hash((self.name, int(self.key) if isinstance(self.key, IPv4Address) else self.key))

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.name, self.key

    def sort_key(self) -> tuple[Any, ...]:
        """Return the sort key among entries of the same phase."""
        return self.name, int(self.key) if isinstance(self.key, IPv4Address) else self.key

    @classmethod
    def commands(cls, operation: Operation[Element], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        element, enter = operation.entry, f"ip netns exec {namespace}"
        table, declared = tables.find_set(element.name)
        place = f"element {table.family} {table.name} {element.name}"
        key = nft_types.text(declared.key, element.key)
        delete = f"delete {place} {{ {key} }}"
        if operation.verb == "remove":
            return [f"{enter} nft '{delete}'"]
        value = "" if element.value is None else f" : {nft_types.text(declared.value, element.value)}"
        new = f"add {place} {{ {key}{value} }}"
        return [f"{enter} nft '{delete + '; ' if operation.previous is not None else ''}{new}'"]

    @classmethod
    def encode_rules(cls, operations: Sequence[Operation[Element]], made: Batch) -> None:
        """Add the messages to the atomic nf_tables batch: additions to a map share few, and so do removals."""
        by_name: dict[str, list[Operation[Element]]] = {}
        for operation in operations:
            by_name.setdefault(operation.entry.name, []).append(operation)
        for name, found in by_name.items():
            made += _set_messages(name, found)


def _set_messages(name: str, operations: list[Operation[Element]]) -> Batch:
    """Return the messages for one map or set: removals, then additions."""
    made: Batch = []
    table, declared = tables.find_set(name)
    encode_key = nft_types.encoder(declared.key, interval=declared.interval)
    for part in parts([one for one in operations if one.verb != "add"]):
        made.append((nft.delete_elements(table, name, [encode_key(one.entry.key) for one in part]), part[0]))
    encode_value = nft_types.encoder(declared.value) if declared.value else lambda _: None
    for part in parts([one for one in operations if one.verb != "remove"]):
        elements = [(encode_key(one.entry.key), encode_value(one.entry.value)) for one in part]
        made.append((nft.new_elements(table, name, elements), part[0]))
    return made


def parts(elements: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield parts of at most the number of elements of one message."""
    return (elements[at : at + nft.MAX_ELEMENTS] for at in range(0, len(elements), nft.MAX_ELEMENTS))
