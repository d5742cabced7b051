# SPDX-License-Identifier: Apache-2.0
"""The status as JSON, for who asks every few seconds: each of a thousand routers is encoded again when it changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class StatusEncoder:
    """Encodes one status after the other. The text is that of ``json.dumps``, but for the place of the routers."""

    def __init__(self) -> None:
        # What was encoded of each router, and its text with the id before it.
        self._encoded: dict[str, tuple[Mapping[str, Any], str]] = {}

    def encode(self, status: Mapping[str, Any]) -> bytes:
        """Return a status as JSON; there is more in it than its routers."""
        previous, self._encoded = self._encoded, {}
        for router_id, entry in status["routers"].items():
            encoded = previous.get(router_id)
            if encoded is None or encoded[0] != entry:
                encoded = entry, f"{json.dumps(router_id)}: {json.dumps(entry)}"
            self._encoded[router_id] = encoded
        rest = json.dumps({name: value for name, value in status.items() if name != "routers"})
        routers = ", ".join(text for _, text in self._encoded.values())
        return f'{rest[:-1]}, "routers": {{{routers}}}}}'.encode()
