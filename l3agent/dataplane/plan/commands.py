# SPDX-License-Identifier: Apache-2.0
"""Formats plans as equivalent commands of ``ip``, ``nft``, ``conntrack``, ``sysctl`` and ``ovs-vsctl``."""

from __future__ import annotations

from l3agent.dataplane.plan.kinds.base import Entry, Operation


def commands(operation: Operation[Entry], namespace: str | None) -> list[str]:
    """Return the commands of one operation in a namespace."""
    return operation.entry.commands(operation, namespace)
