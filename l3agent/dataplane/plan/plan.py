# SPDX-License-Identifier: Apache-2.0
"""A plan: ordered operations for one state."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import attrgetter
from typing import Any, overload

from l3agent.dataplane.plan.kinds.base import E, Entry, Operation
from l3agent.dataplane.plan.kinds.link import Link, replacements

_ENTRY = attrgetter("entry")


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered operations for one state."""

    operations: tuple[Operation[Entry], ...] = ()
    _by_kind: dict[type[Entry], list[Operation[Any]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_kind: dict[type[Entry], list[Operation[Any]]] = {}
        for operation in self.operations:
            by_kind.setdefault(type(operation.entry), []).append(operation)
        object.__setattr__(self, "_by_kind", by_kind)

    def __bool__(self) -> bool:
        return bool(self.operations)

    @overload
    def of(self, kind: type[E], /) -> Sequence[Operation[E]]: ...

    @overload
    def of(self, *kinds: type[Entry]) -> Sequence[Operation[Entry]]: ...

    def of(self, *kinds: type[Entry]) -> Sequence[Operation[Any]]:
        """Return the operations on entries of these kinds, in order."""
        if len(kinds) == 1:
            return self._by_kind.get(kinds[0], ())
        found = [self._by_kind[kind] for kind in kinds if kind in self._by_kind]
        if len(found) < 2:
            return found[0] if found else ()
        # Without bytecode per operation: a plan may have 100,000, and all threads wait for the caller.
        types = map(type, map(_ENTRY, self.operations))
        return list(compress(self.operations, map(frozenset(kinds).__contains__, types)))

    def by_kind(self, kinds: Sequence[type[Entry]]) -> list[tuple[type[Entry], Sequence[Operation[Any]]]]:
        """Return each of some kinds that the plan has, in the given order, with the operations on it."""
        found = self._by_kind
        return [(kind, found[kind]) for kind in kinds if kind in found]

    def adds(self, kind: type[Entry]) -> bool:
        """Return True if the plan adds or changes an entry of a kind."""
        return any(one.verb != "remove" for one in self.of(kind))

    def has_kind(self, kinds: Collection[type[Entry]]) -> bool:
        """Return True if the plan has an operation on an entry of some kinds."""
        return not self._by_kind.keys().isdisjoint(kinds)

    def without_kinds(self, kinds: Collection[type[Entry]]) -> Sequence[Operation[Entry]]:
        """Return the operations on entries of all other kinds, in order."""
        if not self.has_kind(kinds):
            return self.operations
        return [one for one in self.operations if type(one.entry) not in kinds]

    def without_devices(self, missing: Collection[str]) -> Plan:
        """Return the plan without additions and changes of missing devices, and of what is on one of them."""
        links = {one for one in self.of(Link) if one.entry.device in missing}
        return Plan(
            tuple(
                one
                for one in self.operations
                if one.verb == "remove"
                or (one not in links and not any(map(missing.__contains__, one.entry.devices())))
            )
        )

    def without_ipv6(self) -> Plan:
        """Return the plan without the additions that a namespace without IPv6 refuses."""
        return Plan(tuple(one for one in self.operations if one.verb == "remove" or not one.entry.needs_ipv6()))

    def without_additions(self, existing: Collection[Entry]) -> Plan:
        """Return the plan without the additions of existing entries."""
        if not existing:
            return self
        return Plan(tuple(one for one in self.operations if one.verb != "add" or one.entry not in existing))

    def replacements(self) -> list[Operation[Link]]:
        """Return the removals of devices that the plan replaces."""
        return replacements(self.of(Link))

    def needs_reobserve(self) -> bool:
        """Return True if the plan may remove more than its entries, so that the state must be observed again."""
        return any(kind.needs_reobserve(operations) for kind, operations in self._by_kind.items())
