# SPDX-License-Identifier: Apache-2.0
"""Sockets, connections and counters of one router."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from l3agent.metadata.proxy_protocol import encode_router

if TYPE_CHECKING:
    from l3agent.metadata.connection import ClientConnection

#: What became of accepted connections: forwarded to haproxy, or refused (the next three); and why the acceptor ended a
#: forwarded one.
RESULTS = ("forwarded", "not_redirected", "source_limit", "unavailable", "evicted", "idle", "removed")


class ServedRouter:
    """A router with its listening sockets and connections.

    :ivar fields: its id, for the header of the PROXY protocol.
    :ivar connections: oldest first.
    :ivar sources: number of connections per packed source address.
    :ivar results: number of connections per result; results that never occurred are absent.
    :ivar limit_logged_at: monotonic time of the last log line about its limit.
    """

    __slots__ = ("connections", "fields", "id", "limit_logged_at", "listeners", "results", "sources")

    def __init__(self, router: str) -> None:
        self.id = router
        self.fields = encode_router(router)
        self.listeners: list[socket.socket] = []
        self.connections: dict[ClientConnection, None] = {}
        self.sources: dict[bytes, int] = {}
        self.results: dict[str, int] = {}
        self.limit_logged_at = float("-inf")

    def count(self, result: str) -> None:
        """Count one connection."""
        self.results[result] = self.results.get(result, 0) + 1

    def add(self, connection: ClientConnection) -> None:
        """Add a connection."""
        self.connections[connection] = None
        self.sources[connection.source] = self.sources.get(connection.source, 0) + 1

    def remove(self, connection: ClientConnection) -> None:
        """Remove a connection."""
        del self.connections[connection]
        left = self.sources.pop(connection.source) - 1
        if left:
            self.sources[connection.source] = left
