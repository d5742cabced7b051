# SPDX-License-Identifier: Apache-2.0
"""Thread that owns the connection to OVSDB, so that a slow database delays no state without a new port.

All waiting submissions become one transaction. The copy of the rows outlives a lost connection, so existing ports stay
served.
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

from l3agent.dataplane.ovsdb.jsonrpc import OvsdbConnection, Tls
from l3agent.dataplane.ovsdb.ports import Changes
from l3agent.dataplane.ovsdb.rows import COLUMNS, DEAD_VLAN, PortRow, Rows
from l3agent.dataplane.ovsdb.transact import Transaction, check_bridges, first_error
from l3agent.dataplane.plan.kinds.base import Operation
from l3agent.dataplane.plan.kinds.switch_port import SwitchPort
from l3agent.exceptions import ApplyError

LOG = logging.getLogger(__name__)

_DATABASE, _MONITOR = "Open_vSwitch", "l3agent"
#: Seconds for a submission after the previous one timed out at ovs-vswitchd: one router must not delay others.
_SHORT_LIMIT_S = 1.0
#: Seconds in which a port whose device is still missing is deleted and inserted again.
_RETRY_S = 30.0
#: Maximum number of submissions in one transaction.
_MAX_SUBMISSIONS = 64


@dataclass(eq=False, slots=True)
class Submission:
    """Submitted operations on ports; ``done`` after they succeeded or failed.

    :param error: reason of the failure.
    :param deadline: time of the monotonic clock at which the operations fail.
    :param alone: True after the server rejected a transaction that contained them with others.
    :param has_second_part: True if a second transaction follows after ovs-vswitchd has applied the first.
    :param removed_before: True for the second transaction.
    :param generation: generation of the configuration that ovs-vswitchd must reach; None before the commit.
    """

    operations: Sequence[Operation[SwitchPort]]
    deadline: float
    done: bool = False
    error: str | None = None
    alone: bool = False
    has_second_part: bool = False
    removed_before: bool = False
    generation: int | None = None


@dataclass(slots=True)
class _Sent:
    """A transaction in flight."""

    request: Any
    submissions: list[Submission]
    waits: bool


@dataclass(slots=True)
class _PendingChanges:
    """Changes collected until :meth:`OvsdbThread.read_changes` returns them."""

    names: set[str] = field(default_factory=set)
    all: bool = False


class OvsdbThread:
    """Access to the ports of Open vSwitch.

    :param remote: address of the OVSDB server.
    :param timeout: time limit of a submission in seconds.
    """

    def __init__(self, remote: str, timeout: float, tls: Tls = Tls()) -> None:  # noqa: B008
        self._remote = remote
        self._tls = tls
        self._timeout = timeout
        self._time_limit = timeout
        self._rows: Rows | None = None
        self._new: SimpleQueue[Submission] = SimpleQueue()
        self._waiting: list[Submission] = []
        self._sent: _Sent | None = None
        self._committed: list[Submission] = []
        #: Ports without a device that ovs-vswitchd was made to reconfigure: row, and end of the retry period.
        self._retried_interfaces: dict[str, tuple[str, float]] = {}
        self._changes = _PendingChanges()
        self._lock = threading.Lock()
        self._wakeup_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._session: int | None = None
        self._monitor: Any = None
        self._connected = False
        self._loaded = threading.Event()
        self._monitor_error: str | None = None
        #: Becomes readable when a submission is done or ports have changed.
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        threading.Thread(target=self._run, name="ovsdb", daemon=True).start()

    # ---- called by the kernel thread -------------------------------------------------------------------------

    @property
    def is_loaded(self) -> bool:
        """True after the rows were read once; they may be stale if the connection is lost."""
        return self._rows is not None

    def wait_until_loaded(self, seconds: float) -> None:
        """Wait for the rows, at most ``seconds``."""
        self._loaded.wait(seconds)

    def stats(self) -> dict[str, object]:
        """Return the state of the connection, and the number of our ports in total and not yet wired."""
        rows = self._rows
        names = [] if rows is None else [name for owned in list(rows.owned.values()) for name in owned]
        found = [self.port(name) for name in names]
        dead = sum(one is not None and one.tag == DEAD_VLAN for one in found)
        return {"connected": self._connected, "ports": len(names), "not_wired": dead}

    def port(self, name: str) -> PortRow | None:
        """Return a port by its name."""
        rows = self._rows
        return None if rows is None else rows.ports.get(name)

    def port_names(self, router_id: str) -> frozenset[str]:
        """Return the names of the ports that are marked with a router."""
        rows = self._rows
        return frozenset() if rows is None else rows.owned.get(router_id, frozenset())

    def owners(self) -> list[str]:
        """Return the ids of all routers with marked ports."""
        rows = self._rows
        return [] if rows is None else list(rows.owned)

    def submit(self, operations: Sequence[Operation[SwitchPort]]) -> Submission:
        """Submit operations; the submission reports their end."""
        submission = Submission(operations, time.monotonic() + self._time_limit)
        self._new.put(submission)
        os.eventfd_write(self._wakeup_fd, 1)
        return submission

    def read_changes(self) -> Changes:
        """Return the changes since the last call."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            return Changes()
        with self._lock:
            pending, self._changes = self._changes, _PendingChanges()
        return Changes(frozenset(pending.names), pending.all)

    # ---- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        connection = OvsdbConnection(self._remote, self._tls)
        while True:
            try:
                self._run_once(connection)
            except Exception:
                # A defect, or a malformed message: the submissions fail with an error, the thread continues.
                LOG.exception("OVSDB %s", self._remote)
                self._fail(
                    [*self._waiting, *(self._sent.submissions if self._sent else ())], "internal error; see the log"
                )
                self._waiting, self._sent = [], None
                time.sleep(1)

    def _run_once(self, connection: OvsdbConnection) -> None:
        connection.run()
        self._check_connection(connection)
        while (message := connection.receive()) is not None:
            self._handle_message(message)
        self._read_queue()
        self._finish_applied(connection)
        self._send(connection)
        connection.wait(self._wakeup_fd, self._next_deadline())

    def _check_connection(self, connection: OvsdbConnection) -> None:
        """Detect a new or lost connection."""
        if connection.session_number == self._session:
            return
        self._session = connection.session_number
        if self._connected:
            LOG.warning("OVSDB %s: connection lost; existing ports remain in service", self._remote)
        self._connected = False
        if self._sent is not None:
            # The rows show whether the transaction was committed; missing operations are sent again.
            self._waiting = [*self._sent.submissions, *self._waiting]
            self._sent = None
        if self._session is not None:
            tables = {name: [{"columns": list(columns)}] for name, columns in COLUMNS.items()}
            self._monitor = connection.request("monitor_cond", [_DATABASE, _MONITOR, tables])

    def _handle_message(self, message: Any) -> None:
        if message.method == "update2":
            rows = self._loaded_rows()
            bridges = rows.bridges.keys()
            names = rows.update(message.params[1])
            # A bridge was added, or removed with its ports.
            self._publish_changes(names, everything=rows.bridges.keys() != bridges)
        elif message.id is not None and message.id == self._monitor:
            self._monitor = None
            self._monitor_error = None if message.error is None else f"monitor request rejected: {message.error}"
            if self._monitor_error:
                LOG.error("OVSDB %s: %s", self._remote, self._monitor_error)
                return
            rows = Rows()
            rows.update(message.result)
            self._rows, self._connected, self._time_limit = rows, True, self._timeout
            self._loaded.set()
            LOG.info("OVSDB %s: connected, %d ports", self._remote, len(rows.ports))
            self._publish_changes(everything=True)
        elif self._sent is not None and message.id == self._sent.request:
            sent, self._sent = self._sent, None
            self._handle_reply(sent, message)

    def _loaded_rows(self) -> Rows:
        assert self._rows is not None
        return self._rows

    def _handle_reply(self, sent: _Sent, message: Any) -> None:
        reason = str(message.error) if message.error is not None else first_error(message.result)
        if reason is None:
            generation = message.result[-1]["rows"][0]["next_cfg"]
            for submission in sent.submissions:
                submission.generation = generation if sent.waits else 0
            self._committed += sent.submissions
        elif len(sent.submissions) == 1:
            self._fail(sent.submissions, f"OVSDB rejected the change: {reason}")
        else:
            for submission in sent.submissions:
                submission.alone = True
            self._waiting = [*sent.submissions, *self._waiting]

    def _read_queue(self) -> None:
        try:
            os.eventfd_read(self._wakeup_fd)
        except BlockingIOError:
            return
        try:
            while True:
                self._waiting.append(self._new.get_nowait())
        except Empty:
            pass

    def _send(self, connection: OvsdbConnection) -> None:
        """Send all waiting submissions as one transaction, unless a transaction is in flight."""
        while self._connected and self._sent is None and self._waiting:
            count = 1 if self._waiting[0].alone else _MAX_SUBMISSIONS
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
            transaction, submissions = Transaction(), []
            for submission in batch:
                try:
                    # All operations first: steps that are in the transaction are sent.
                    check_bridges(submission.operations, self._loaded_rows())
                except ApplyError as exc:
                    self._fail([submission], str(exc))
                    continue
                submission.has_second_part = False
                for one in submission.operations:
                    submission.has_second_part |= self._add(transaction, one, submission)
                submissions.append(submission)
            steps = transaction.build()
            if not steps:
                self._finish(submissions)
                continue
            steps.append({"op": "comment", "comment": f"l3agent: {len(submissions)} changes"})
            # The generation is read from the last answer, so its step comes last.
            steps[-1], steps[-2] = steps[-2], steps[-1]
            request = connection.request("transact", [_DATABASE, *steps])
            if request is None:
                self._waiting = [*submissions, *self._waiting]
                return
            self._sent = _Sent(request, submissions, transaction.waits)

    def _add(self, transaction: Transaction, operation: Operation[SwitchPort], submission: Submission) -> bool:
        rows, port = self._loaded_rows(), operation.entry
        retried = True
        if operation.previous is not None and not operation.previous.has_device and not submission.removed_before:
            # ovs-vswitchd creates its devices when it starts, and keeps the wiring of the L2 agent.
            found, now = rows.ports.get(port.name), time.monotonic()
            row, until = self._retried_interfaces.pop(port.name, ("", 0.0))
            retried = found is not None and found.rows[1] == row and now < until
            if found is not None and not retried:
                self._retried_interfaces[port.name] = found.rows[1], now + _RETRY_S
        return transaction.add(operation, rows, retried=retried, removed_before=submission.removed_before)

    def _finish_applied(self, connection: OvsdbConnection) -> None:
        """Finish the submissions that ovs-vswitchd has applied; fail those past their deadline."""
        if self._committed:
            current = self._loaded_rows().current
            ready = [one for one in self._committed if one.generation is not None and one.generation <= current]
            if ready:
                self._time_limit = self._timeout
            self._committed = [one for one in self._committed if one not in ready]
            for submission in ready:
                submission.removed_before = submission.removed_before or submission.has_second_part
            self._waiting += [one for one in ready if one.has_second_part]
            self._finish([one for one in ready if not one.has_second_part])
        now = time.monotonic()
        late = [one for one in self._committed if one.deadline <= now]
        if late:
            self._time_limit = min(self._time_limit, _SHORT_LIMIT_S)
            self._fail(late, "ovs-vswitchd does not apply the configuration in OVSDB; is it running?")
            self._committed = [one for one in self._committed if not one.done]
        if self._sent is not None and min(one.deadline for one in self._sent.submissions) <= now:
            # If the answer still arrives, the rows show the result.
            self._time_limit = min(self._time_limit, _SHORT_LIMIT_S)
            self._waiting, self._sent = [*self._sent.submissions, *self._waiting], None
        late = [one for one in self._waiting if one.deadline <= now]
        if late:
            if not self._connected:
                self._time_limit = 0.0
            trouble = "no answer in time" if self._connected else self._monitor_error or connection.diagnose()
            self._fail(
                late,
                f"Open vSwitch: OVSDB at {self._remote}: {trouble}; start openvswitch-switch, and check that OVSDB "
                f"listens there (ovs-vsctl get-manager, set-manager) or set [OVS] ovsdb_connection",
            )
            self._waiting = [one for one in self._waiting if not one.done]

    def _finish(self, submissions: Sequence[Submission]) -> None:
        for submission in submissions:
            submission.error = self._port_error(submission)
            submission.done = True
        if submissions:
            self._notify()

    def _port_error(self, submission: Submission) -> str | None:
        """Return the error of a port that ovs-vswitchd cannot create."""
        for operation in submission.operations:
            port = operation.entry
            found = self._loaded_rows().ports.get(port.name)
            if operation.verb != "remove" and found is not None and found.ofport == -1 and port.type:
                return (
                    f"Open vSwitch cannot create port {port.name} of {port.bridge}: {found.error or 'no reason given'}"
                )
        return None

    def _fail(self, submissions: Sequence[Submission], error: str) -> None:
        for submission in submissions:
            submission.error, submission.done = error, True
        if submissions:
            self._notify()

    def _publish_changes(self, names: set[str] | frozenset[str] = frozenset(), *, everything: bool = False) -> None:
        if names or everything:
            with self._lock:
                self._changes.names |= names
                self._changes.all = self._changes.all or everything
            self._notify()

    def _notify(self) -> None:
        os.eventfd_write(self.descriptor, 1)

    def _next_deadline(self) -> float | None:
        sent = self._sent.submissions if self._sent else ()
        deadlines = [one.deadline for one in (*self._waiting, *sent, *self._committed)]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
