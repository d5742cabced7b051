# SPDX-License-Identifier: Apache-2.0
"""The lane of Open vSwitch: a thread of its own, so that a slow database never delays what needs no new port.

All changes that wait are one transaction. The copy of the rows outlives a lost connection: what stands is served on.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from l3agent.dataplane.ovsdb.jsonrpc import Connection, Tls
from l3agent.dataplane.ovsdb.ports import News
from l3agent.dataplane.ovsdb.rows import COLUMNS, DEAD_VLAN, Found, Rows
from l3agent.dataplane.ovsdb.transact import Transaction, check_bridges, refusal
from l3agent.dataplane.plan.diff import Operation
from l3agent.dataplane.plan.entries import SwitchPort
from l3agent.exceptions import ApplyError

LOG = logging.getLogger(__name__)

_DATABASE, _MONITOR = "Open_vSwitch", "l3agent"
#: Seconds for the next change when the last one ran out of time at ovs-vswitchd: its router must not hold up others.
_IMPATIENT_S = 1.0
#: Seconds in which a port whose device is still missing is made anew.
_NUDGED_S = 30.0
#: How many changes are one transaction at most.
_TOGETHER = 64


@dataclass(eq=False, slots=True)
class Change:
    """Operations on ports that were handed over; ``done`` once they are carried out or failed.

    :param error: why they failed.
    :param deadline: when they fail, by the monotonic clock.
    :param alone: the server refused a transaction that they were part of.
    :param again: there is a second part, once ovs-vswitchd has taken up the first; ``renewed`` when that is so.
    :param generation: what ovs-vswitchd has to reach; None before the commit.
    """

    operations: Sequence[Operation]
    deadline: float
    done: bool = False
    error: str | None = None
    alone: bool = False
    again: bool = False
    renewed: bool = False
    generation: int | None = None


@dataclass(slots=True)
class _Sent:
    """A transaction under way."""

    request: Any
    changes: list[Change]
    waits: bool


@dataclass(slots=True)
class _Heard:
    """News until they are read."""

    names: set[str] = field(default_factory=set)
    all: bool = False


class Switch:
    """Ports of Open vSwitch.

    :param remote: where OVSDB listens.
    :param timeout: seconds for one change.
    """

    def __init__(self, remote: str, timeout: float, tls: Tls = Tls()) -> None:  # noqa: B008
        self._remote = remote
        self._tls = tls
        self._timeout = timeout
        self._patience = timeout
        self._rows: Rows | None = None
        self._new: SimpleQueue[Change] = SimpleQueue()
        self._waiting: list[Change] = []
        self._sent: _Sent | None = None
        self._committed: list[Change] = []
        #: Ports without a device that ovs-vswitchd was told to look at: the row, and until when that counts.
        self._nudged: dict[str, tuple[str, float]] = {}
        self._heard = _Heard()
        self._lock = threading.Lock()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._life: int | None = None
        self._monitor: Any = None
        self._connected = False
        self._first = threading.Event()
        self._refused: str | None = None
        #: Becomes readable when a change is done or there are news.
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        threading.Thread(target=self._run, name="ovsdb", daemon=True).start()

    # ---- for the thread that asks ----------------------------------------------------------------------------

    @property
    def known(self) -> bool:
        """Whether the rows were read once; they may be old when the connection is lost."""
        return self._rows is not None

    def wait_until_known(self, seconds: float) -> None:
        """Wait for the rows, but not for ever."""
        self._first.wait(seconds)

    def stats(self) -> dict[str, object]:
        """Return how things stand with the database, and how many of our ports nobody has wired yet."""
        rows = self._rows
        names = [] if rows is None else [name for owned in list(rows.owned.values()) for name in owned]
        found = [self.port(name) for name in names]
        dead = sum(one is not None and one.tag == DEAD_VLAN for one in found)
        return {"connected": self._connected, "ports": len(names), "not_wired": dead}

    def port(self, name: str) -> Found | None:
        """Return a port by its name."""
        rows = self._rows
        return None if rows is None else rows.ports.get(name)

    def owned(self, router_id: str) -> frozenset[str]:
        """Return the names of the ports that are marked with a router."""
        rows = self._rows
        return frozenset() if rows is None else rows.owned.get(router_id, frozenset())

    def owners(self) -> list[str]:
        """Return the ids of all routers that ports are marked with."""
        rows = self._rows
        return [] if rows is None else list(rows.owned)

    def submit(self, operations: Sequence[Operation]) -> Change:
        """Hand operations over; the change says when they are done."""
        change = Change(operations, time.monotonic() + self._patience)
        self._new.put(change)
        os.eventfd_write(self._bell, 1)
        return change

    def news(self) -> News:
        """Return what happened since the last call."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            return News()
        with self._lock:
            heard, self._heard = self._heard, _Heard()
        return News(frozenset(heard.names), heard.all)

    # ---- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        connection = Connection(self._remote, self._tls)
        while True:
            try:
                self._turn(connection)
            except Exception:
                # A defect of ours, or a message that is none: changes fail in words, the thread lives.
                LOG.exception("OVSDB %s", self._remote)
                self._fail([*self._waiting, *(self._sent.changes if self._sent else ())], "internal error; see the log")
                self._waiting, self._sent = [], None
                time.sleep(1)

    def _turn(self, connection: Connection) -> None:
        connection.run()
        self._follow(connection)
        while (message := connection.received()) is not None:
            self._hear(message)
        self._take_new()
        self._settle(connection)
        self._send(connection)
        connection.wait(self._bell, self._next_deadline())

    def _follow(self, connection: Connection) -> None:
        """Notice a connection that is new or lost."""
        if connection.life == self._life:
            return
        self._life = connection.life
        if self._connected:
            LOG.warning("OVSDB %s: the connection is lost; what stands is served on", self._remote)
        self._connected = False
        if self._sent is not None:
            # Whether it was carried out is seen in the rows, and what is missing then is asked for again.
            self._waiting = [*self._sent.changes, *self._waiting]
            self._sent = None
        if self._life is not None:
            tables = {name: [{"columns": list(columns)}] for name, columns in COLUMNS.items()}
            self._monitor = connection.request("monitor_cond", [_DATABASE, _MONITOR, tables])

    def _hear(self, message: Any) -> None:
        if message.method == "update2":
            rows = self._known_rows()
            bridges = rows.bridges.keys()
            names = rows.update(message.params[1])
            # A bridge that was missing is there, or ports went with theirs.
            self._tell(names, everything=rows.bridges.keys() != bridges)
        elif message.id is not None and message.id == self._monitor:
            self._monitor = None
            self._refused = None if message.error is None else f"it refuses to be watched: {message.error}"
            if self._refused:
                LOG.error("OVSDB %s: %s", self._remote, self._refused)
                return
            rows = Rows()
            rows.update(message.result)
            self._rows, self._connected, self._patience = rows, True, self._timeout
            self._first.set()
            LOG.info("OVSDB %s: connected, %d ports", self._remote, len(rows.ports))
            self._tell(everything=True)
        elif self._sent is not None and message.id == self._sent.request:
            sent, self._sent = self._sent, None
            self._answered(sent, message)

    def _known_rows(self) -> Rows:
        assert self._rows is not None
        return self._rows

    def _answered(self, sent: _Sent, message: Any) -> None:
        reason = str(message.error) if message.error is not None else refusal(message.result)
        if reason is None:
            generation = message.result[-1]["rows"][0]["next_cfg"]
            for change in sent.changes:
                change.generation = generation if sent.waits else 0
            self._committed += sent.changes
        elif len(sent.changes) == 1:
            self._fail(sent.changes, f"OVSDB refuses the change: {reason}")
        else:
            for change in sent.changes:
                change.alone = True
            self._waiting = [*sent.changes, *self._waiting]

    def _take_new(self) -> None:
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            return
        try:
            while True:
                self._waiting.append(self._new.get_nowait())
        except Empty:
            pass

    def _send(self, connection: Connection) -> None:
        """Send all that waits as one transaction, unless one is under way."""
        while self._connected and self._sent is None and self._waiting:
            count = 1 if self._waiting[0].alone else _TOGETHER
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
            transaction, changes = Transaction(), []
            for change in batch:
                try:
                    # All of them first: what a transaction has taken in is sent.
                    check_bridges(change.operations, self._known_rows())
                except ApplyError as exc:
                    self._fail([change], str(exc))
                    continue
                change.again = False
                for one in change.operations:
                    change.again |= self._add(transaction, one, change)
                changes.append(change)
            steps = transaction.finished()
            if not steps:
                self._finish(changes)
                continue
            steps.append({"op": "comment", "comment": f"l3agent: {len(changes)} changes"})
            # The generation is read from the last answer, so its step comes last.
            steps[-1], steps[-2] = steps[-2], steps[-1]
            request = connection.request("transact", [_DATABASE, *steps])
            if request is None:
                self._waiting = [*changes, *self._waiting]
                return
            self._sent = _Sent(request, changes, transaction.waits)

    def _add(self, transaction: Transaction, operation: Operation, change: Change) -> bool:
        rows, port = self._known_rows(), operation.entry
        assert isinstance(port, SwitchPort)
        nudged = True
        if isinstance(operation.was, SwitchPort) and not operation.was.made and not change.renewed:
            # A switch that starts makes its devices itself, and the L2 agent's wiring stays.
            found, now = rows.ports.get(port.name), time.monotonic()
            row, until = self._nudged.pop(port.name, ("", 0.0))
            nudged = found is not None and found.rows[1] == row and now < until
            if found is not None and not nudged:
                self._nudged[port.name] = found.rows[1], now + _NUDGED_S
        return transaction.add(operation, rows, nudged=nudged, renewed=change.renewed)

    def _settle(self, connection: Connection) -> None:
        """Finish what ovs-vswitchd has taken up, and give up what is late."""
        if self._committed:
            current = self._known_rows().current
            ready = [one for one in self._committed if one.generation is not None and one.generation <= current]
            if ready:
                self._patience = self._timeout
            self._committed = [one for one in self._committed if one not in ready]
            for change in ready:
                change.renewed = change.renewed or change.again
            self._waiting += [one for one in ready if one.again]
            self._finish([one for one in ready if not one.again])
        now = time.monotonic()
        late = [one for one in self._committed if one.deadline <= now]
        if late:
            self._patience = min(self._patience, _IMPATIENT_S)
            self._fail(late, "ovs-vswitchd does not take up what OVSDB tells it; is it running?")
            self._committed = [one for one in self._committed if not one.done]
        if self._sent is not None and min(one.deadline for one in self._sent.changes) <= now:
            # Should the answer come all the same, the rows tell.
            self._patience = min(self._patience, _IMPATIENT_S)
            self._waiting, self._sent = [*self._sent.changes, *self._waiting], None
        late = [one for one in self._waiting if one.deadline <= now]
        if late:
            if not self._connected:
                self._patience = 0.0
            trouble = "it does not answer in time" if self._connected else self._refused or connection.trouble()
            self._fail(
                late,
                f"Open vSwitch: OVSDB at {self._remote}: {trouble}; start openvswitch-switch, and see that OVSDB "
                f"listens there (ovs-vsctl get-manager, set-manager) or name the place in [OVS] ovsdb_connection",
            )
            self._waiting = [one for one in self._waiting if not one.done]

    def _finish(self, changes: Sequence[Change]) -> None:
        for change in changes:
            change.error = self._problem(change)
            change.done = True
        if changes:
            self._ring()

    def _problem(self, change: Change) -> str | None:
        """Return what ovs-vswitchd says of a port that it cannot make."""
        for operation in change.operations:
            port = operation.entry
            assert isinstance(port, SwitchPort)
            found = self._known_rows().ports.get(port.name)
            if operation.verb != "remove" and found is not None and found.ofport == -1 and port.type:
                return f"Open vSwitch cannot make port {port.name} of {port.bridge}: {found.error or 'no reason given'}"
        return None

    def _fail(self, changes: Sequence[Change], error: str) -> None:
        for change in changes:
            change.error, change.done = error, True
        if changes:
            self._ring()

    def _tell(self, names: set[str] | frozenset[str] = frozenset(), *, everything: bool = False) -> None:
        if names or everything:
            with self._lock:
                self._heard.names |= names
                self._heard.all = self._heard.all or everything
            self._ring()

    def _ring(self) -> None:
        os.eventfd_write(self.descriptor, 1)

    def _next_deadline(self) -> float | None:
        sent = self._sent.changes if self._sent else ()
        deadlines = [one.deadline for one in (*self._waiting, *sent, *self._committed)]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
