# SPDX-License-Identifier: Apache-2.0
"""What was sent to the kernel since the process started; one thread, the lane's, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from l3agent.dataplane.plan import Plan
from l3agent.exceptions import ApplyError

#: How operators call what a verb of the plan does.
_KINDS = {"add": "add", "change": "change", "remove": "delete"}


class Counters:
    """Batches by the tool an operator would use for the same, and operations by kind."""

    def __init__(self) -> None:
        self._batches = {tool: {"ok": 0, "refused": 0} for tool in ("ip", "nft", "sysctl", "conntrack")}
        self._operations = Counter(dict.fromkeys(_KINDS.values(), 0))
        self.repair_operations = 0

    @contextmanager
    def batch(self, tool: str) -> Iterator[None]:
        """Count what is sent in a block; one that raises was refused."""
        try:
            yield
        except ApplyError:
            self._batches[tool]["refused"] += 1
            raise
        self._batches[tool]["ok"] += 1

    def carried_out(self, plan: Plan) -> None:
        """Count the operations of a plan."""
        self._operations.update(_KINDS[one.verb] for one in plan.operations)

    def values(self) -> dict[str, object]:
        """Return all counters, ready for a message."""
        return {
            "batches": self._batches,
            "operations": dict(self._operations),
            "repair_operations": self.repair_operations,
        }
