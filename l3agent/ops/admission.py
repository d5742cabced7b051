# SPDX-License-Identifier: Apache-2.0
"""Bounds the connections of a server; idle connections never exclude new ones.

A client that connects and sends nothing occupies a slot until its deadline. If such clients occupied all slots, a
health check would wait for seconds. Therefore a new connection is admitted while any other connection is idle: of the
client with the most idle connections, the connection with the longest idle time is closed.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class _Admitted:
    client: Hashable
    is_busy: bool = False


class Admission:
    """The connections of one server.

    :param limit: maximum number of open connections.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Idle connections are in the order in which they became idle.
        self._open: dict[Any, _Admitted] = {}

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Any, client: Hashable) -> bool:
        """Register a connection; return False if all others are busy, and the caller must close it.

        :param connection: a socket. An evicted socket is shut down, so that its reader receives end-of-file.
        :param client: identity of the peer, by which connections are counted.
        """
        if len(self._open) >= self._limit:
            victim = self._victim()
            if victim is None:
                return False
            self.release(victim)
            with suppress(OSError):
                victim.shutdown(socket.SHUT_RDWR)
        self._open[connection] = _Admitted(client)
        return True

    def set_busy(self, connection: Any, is_busy: bool) -> None:
        """Record whether a request of a connection is in progress."""
        admitted = self._open.pop(connection, None)
        if admitted is not None:
            admitted.is_busy = is_busy
            self._open[connection] = admitted

    def release(self, connection: Any) -> None:
        """Remove a connection. Idempotent."""
        self._open.pop(connection, None)

    def _victim(self) -> Any:
        """Return the connection to evict, None if all are busy."""
        idle = {connection: admitted.client for connection, admitted in self._open.items() if not admitted.is_busy}
        if not idle:
            return None
        ((greediest, _),) = Counter(idle.values()).most_common(1)
        return next(connection for connection, client in idle.items() if client == greediest)
