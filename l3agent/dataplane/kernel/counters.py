# SPDX-License-Identifier: Apache-2.0
"""Counters of the messages sent to the kernel since the process started.

The kernel thread and the offload thread count. An increment is safe without a lock: it has no call in it, and the
interpreter switches threads at calls and backward jumps only.
"""

from __future__ import annotations

from types import TracebackType

from l3agent.dataplane.plan.kinds.base import Verb
from l3agent.dataplane.plan.plan import Plan
from l3agent.exceptions import ApplyError

#: Name of each verb of the plan in the counters.
_KINDS: dict[Verb, str] = {"add": "add", "change": "change", "remove": "delete"}


class _Batch:
    """Counts the batches sent in blocks; a class, as each request enters several and generators take twice the time."""

    def __init__(self) -> None:
        self.counts = {"ok": 0, "refused": 0}

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.counts["ok"] += 1
        elif issubclass(kind, ApplyError):
            self.counts["refused"] += 1


class Counters:
    """Batches by the corresponding tool of an operator, and operations by kind."""

    def __init__(self) -> None:
        self._batches = {tool: _Batch() for tool in ("ip", "nft", "sysctl", "conntrack")}
        self._operations: dict[Verb, int] = dict.fromkeys(_KINDS, 0)
        self.repair_operations = 0

    def batch(self, tool: str) -> _Batch:
        """Count the batch sent in a block; it counts as refused if the block raises ApplyError."""
        return self._batches[tool]

    def count_plan(self, plan: Plan) -> None:
        """Count the operations of a plan."""
        for one in plan.operations:
            self._operations[one.verb] += 1

    def values(self) -> dict[str, object]:
        """Return all counters, ready for a message."""
        return {
            "batches": {tool: batch.counts for tool, batch in self._batches.items()},
            "operations": {name: self._operations[verb] for verb, name in _KINDS.items()},
            "repair_operations": self.repair_operations,
        }
