# SPDX-License-Identifier: Apache-2.0
"""Copy of the rows of OVSDB that outlives a lost connection, and the changes since they were read last."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Collection
from typing import Any

from l3agent.dataplane.ovsdb.jsonrpc import OvsdbConnection
from l3agent.dataplane.ovsdb.ports import Changes
from l3agent.dataplane.ovsdb.rows import COLUMNS, DEAD_VLAN, PortRow, Rows

LOG = logging.getLogger(__name__)

DATABASE = "Open_vSwitch"
_MONITOR = "l3agent"


class ChangeFeed:
    """Changes of ports on their way to the kernel thread; one thread adds them, another reads them.

    :ivar descriptor: becomes readable when there are changes, or after :meth:`notify`.
    """

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._bridges: set[str] = set()
        self._all = False

    def notify(self) -> None:
        """Make the descriptor readable."""
        os.eventfd_write(self.descriptor, 1)

    def add(self, names: Collection[str], bridges: Collection[str] = (), *, everything: bool = False) -> None:
        """Add changes, see :class:`~l3agent.dataplane.ovsdb.ports.Changes`."""
        if names or bridges or everything:
            with self._lock:
                self._names.update(names)
                self._bridges.update(bridges)
                self._all = self._all or everything
            self.notify()

    def read(self) -> Changes:
        """Return the changes since the last call."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            return Changes()
        with self._lock:
            changes = Changes(frozenset(self._names), frozenset(self._bridges), self._all)
            self._names, self._bridges, self._all = set(), set(), False
        return changes


class Monitor:
    """The rows, updated by one thread; any thread may look up a single port.

    :param remote: address of the OVSDB server, for the log.
    :param feed: receives the changes.
    :ivar rows: None before the rows were read once.
    :ivar is_connected: the rows are current.
    :ivar error: why the server monitors nothing for this process, None if it does.
    """

    def __init__(self, remote: str, feed: ChangeFeed) -> None:
        self._remote = remote
        self._feed = feed
        self._session: int | None = None
        self._request: Any = None
        self._loaded = threading.Event()
        self.rows: Rows | None = None
        self.is_connected = False
        self.error: str | None = None

    # ---- called by the kernel thread -------------------------------------------------------------------------

    def wait_until_loaded(self, seconds: float) -> None:
        """Wait for the rows, at most ``seconds``."""
        self._loaded.wait(seconds)

    def stats(self) -> dict[str, object]:
        """Return the state of the connection, and the number of our ports in total and not yet wired."""
        rows = self.rows
        names = [] if rows is None else [name for owned in list(rows.owned.values()) for name in owned]
        found = [self.port(name) for name in names]
        dead = sum(one is not None and one.tag == DEAD_VLAN for one in found)
        return {"connected": self.is_connected, "ports": len(names), "not_wired": dead}

    def port(self, name: str) -> PortRow | None:
        """Return a port by its name."""
        rows = self.rows
        return None if rows is None else rows.ports.get(name)

    def port_names(self, router_id: str) -> frozenset[str]:
        """Return the names of the ports that are marked with a router."""
        rows = self.rows
        return frozenset() if rows is None else rows.owned.get(router_id, frozenset())

    def owners(self) -> list[str]:
        """Return the ids of all routers with marked ports."""
        rows = self.rows
        return [] if rows is None else list(rows.owned)

    # ---- called by the thread of the connection --------------------------------------------------------------

    def has_new_session(self, connection: OvsdbConnection) -> bool:
        """Return True if the connection was lost or made since the last call; request the rows of a new one."""
        if connection.session_number == self._session:
            return False
        self._session = connection.session_number
        if self.is_connected:
            LOG.warning("OVSDB %s: connection lost; existing ports remain in service", self._remote)
        self.is_connected = False
        if self._session is not None:
            tables = {name: [{"columns": list(columns)}] for name, columns in COLUMNS.items()}
            self._request = connection.request("monitor_cond", [DATABASE, _MONITOR, tables])
        return True

    def handle_message(self, message: Any) -> bool:
        """Update the rows from a received message; return False if it does not concern them.

        :raises LookupError, TypeError, ValueError: the message is malformed.
        """
        if message.method == "update2":
            self._update(message.params[1])
        elif message.id is not None and message.id == self._request:
            self._request = None
            self._load(message)
        else:
            return False
        return True

    # ---- private ---------------------------------------------------------------------------------------------

    def _update(self, updates: Any) -> None:
        rows = self.rows
        assert rows is not None
        bridges = rows.bridges.keys()
        names = rows.update(updates)
        self._feed.add(names, rows.bridges.keys() ^ bridges)

    def _load(self, answer: Any) -> None:
        self.error = None if answer.error is None else f"monitor request rejected: {answer.error}"
        if self.error:
            LOG.error("OVSDB %s: %s", self._remote, self.error)
            return
        rows = Rows()
        rows.update(answer.result)
        self.rows, self.is_connected = rows, True
        self._loaded.set()
        LOG.info("OVSDB %s: connected, %d ports", self._remote, len(rows.ports))
        self._feed.add((), everything=True)
