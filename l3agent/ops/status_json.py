# SPDX-License-Identifier: Apache-2.0
"""The status as JSON, for clients that read it every few seconds: a router is encoded again only when it changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class StatusEncoder:
    """Encodes successive statuses. The text equals that of ``json.dumps``, except that the routers come last."""

    def __init__(self) -> None:
        # The encoded entry of each router, and its text with the id as key.
        self._encoded: dict[str, tuple[Mapping[str, Any], str]] = {}

    def encode(self, status: Mapping[str, Any]) -> bytes:
        """Return a status as JSON. It must have other members besides ``routers``."""
        previous, self._encoded = self._encoded, {}
        for router_id, entry in status["routers"].items():
            encoded = previous.get(router_id)
            if encoded is None or encoded[0] != entry:
                encoded = entry, f"{json.dumps(router_id)}: {json.dumps(entry)}"
            self._encoded[router_id] = encoded
        rest = json.dumps({name: value for name, value in status.items() if name != "routers"})
        routers = ", ".join(text for _, text in self._encoded.values())
        return f'{rest[:-1]}, "routers": {{{routers}}}}}'.encode()
