# SPDX-License-Identifier: Apache-2.0
"""Bounds the connections of a server without letting idle ones keep new ones out.

A client that connects and stays silent holds a place until its deadline. With all places held that way, a health check
waits for seconds. Here a new connection is always admitted while some other one is idle: of the client with the most
connections, the one that has been idle longest is closed.
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

    :param limit: how many may be open.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # In the order in which they became idle, for those that are.
        self._open: dict[Any, _Admitted] = {}

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Any, client: Hashable) -> bool:
        """Register a connection; return False if it must be closed, since all others are busy.

        :param connection: a socket; the one that makes room is shut down, and its reader sees the end.
        :param client: identity of the other end, for the limit per client.
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
        """Record that a request of a connection is being worked on, or not any more."""
        admitted = self._open.pop(connection, None)
        if admitted is not None:
            admitted.is_busy = is_busy
            self._open[connection] = admitted

    def release(self, connection: Any) -> None:
        """Forget a connection. Idempotent."""
        self._open.pop(connection, None)

    def _victim(self) -> Any:
        idle = {connection: one.client for connection, one in self._open.items() if not one.is_busy}
        if not idle:
            return None
        ((greediest, _),) = Counter(idle.values()).most_common(1)
        return next(connection for connection, client in idle.items() if client == greediest)
