# SPDX-License-Identifier: Apache-2.0
"""Elements of the maps and sets of tables."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from l3agent.dataplane.netlink import nft_elements, nft_types
from l3agent.dataplane.netlink.nft_sets import NftSet
from l3agent.dataplane.netlink.nft_types import Types
from l3agent.dataplane.plan.kinds.base import Batch, Entry, Operation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Element(Entry):
    """An element of a map or set, in the bytes of its types; ``value`` is None in a set."""

    kind: ClassVar[str] = "element"

    set: NftSet
    key: bytes
    value: bytes | None = None

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.set, self.key

    def sort_key(self) -> tuple[Any, ...]:
        """Return the sort key among entries of the same phase."""
        return self.set.name, self.key

    def as_json(self) -> dict[str, Any]:
        """Return table, set, key and value."""
        one, value = self.set, None if self.value is None else _plain(self.set.value, self.value)
        return {"table": one.table.name, "name": one.name, "key": _plain(one.key, self.key), "value": value}

    @classmethod
    def commands(cls, operation: Operation[Element], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        element, enter = operation.entry, f"ip netns exec {namespace}"
        one = element.set
        place = f"element {one.table} {one.name}"
        key = nft_types.text(one.key, element.key, interval=one.interval)
        delete = f"delete {place} {{ {key} }}"
        if operation.verb == "remove":
            return [f"{enter} nft '{delete}'"]
        value = "" if element.value is None else f" : {nft_types.text(one.value, element.value)}"
        new = f"add {place} {{ {key}{value} }}"
        return [f"{enter} nft '{delete + '; ' if operation.previous is not None else ''}{new}'"]

    @classmethod
    def encode_rules(cls, operations: Sequence[Operation[Element]], made: Batch) -> None:
        """Add the messages to the atomic nf_tables batch: additions to a map share few, and so do removals."""
        by_set: dict[NftSet, list[Operation[Element]]] = {}
        for operation in operations:
            by_set.setdefault(operation.entry.set, []).append(operation)
        for one, found in by_set.items():
            made += _set_messages(one, found)


def _plain(types: Types, raw: bytes) -> str:
    return " . ".join(map(str, nft_types.values(types, raw)))


def _set_messages(one: NftSet, operations: list[Operation[Element]]) -> Batch:
    """Return the messages for one map or set: removals, then additions."""
    made: Batch = []
    for part in parts([each for each in operations if each.verb != "add"]):
        made.append((nft_elements.delete_elements(one, [each.entry.key for each in part]), part[0]))
    for part in parts([each for each in operations if each.verb != "remove"]):
        elements = [(each.entry.key, each.entry.value) for each in part]
        made.append((nft_elements.new_elements(one, elements), part[0]))
    return made


def parts(elements: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield parts of at most the number of elements of one message."""
    return (elements[at : at + nft_elements.MAX_ELEMENTS] for at in range(0, len(elements), nft_elements.MAX_ELEMENTS))
