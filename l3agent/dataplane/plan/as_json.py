# SPDX-License-Identifier: Apache-2.0
"""Converts entries to maps for other processes: JSON-compatible, with addresses as text."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from l3agent.dataplane.plan.kinds.base import Entry, select
from l3agent.dataplane.plan.order import KINDS


def entries_to_json(entries: Collection[Entry]) -> list[dict[str, Any]]:
    """Return entries as maps of their fields and their ``kind``, in a fixed order."""
    found: list[dict[str, Any]] = []
    for kind in KINDS:
        found += sorted(({"kind": kind.kind} | one.as_json() for one in select(entries, kind)), key=str)
    return found
