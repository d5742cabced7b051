# SPDX-License-Identifier: Apache-2.0
"""The status as JSON, for who asks every few seconds: what a thousand routers did last is encoded when it changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class StatusEncoder:
    """Encodes one status after the other. The text is that of ``json.dumps``, but for the order of the keys."""

    def __init__(self) -> None:
        # What was encoded of each router, and its text: operations and times, most of all the bytes there are.
        self._known: dict[str, tuple[Any, str]] = {}

    def encode(self, status: Mapping[str, Any]) -> bytes:
        """Return a status as JSON."""
        known, self._known = self._known, {}
        routers = ", ".join(
            f"{json.dumps(router_id)}: {self._router(router_id, entry, known)}"
            for router_id, entry in status["routers"].items()
        )
        return _joined(_without("routers", status), "routers", f"{{{routers}}}").encode()

    def _router(self, router_id: str, entry: Mapping[str, Any], known: Mapping[str, tuple[Any, str]]) -> str:
        last, text = known.get(router_id, (None, ""))
        if last != entry["last"]:
            last, text = entry["last"], json.dumps(entry["last"])
        self._known[router_id] = (last, text)
        return _joined(_without("last", entry), "last", text)


def _without(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _joined(values: Mapping[str, Any], name: str, text: str) -> str:
    """Return values as JSON, with one more that is encoded already; there is at least one other."""
    return f'{json.dumps(values)[:-1]}, "{name}": {text}}}'
