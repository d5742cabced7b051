# SPDX-License-Identifier: Apache-2.0
"""Thread that owns the connection to OVSDB, so that a slow database delays no state without a new port.

It moves messages between the connection, the rows (:mod:`l3agent.dataplane.ovsdb.monitor`) and the submissions
(:mod:`l3agent.dataplane.ovsdb.pipeline`). The copy of the rows outlives a lost connection, so existing ports stay
served.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from l3agent.dataplane.ovsdb.jsonrpc import OvsdbConnection, Tls
from l3agent.dataplane.ovsdb.monitor import DATABASE, ChangeFeed, Monitor
from l3agent.dataplane.ovsdb.pipeline import Pipeline, Submission
from l3agent.dataplane.ovsdb.ports import Changes
from l3agent.dataplane.ovsdb.rows import PortRow
from l3agent.dataplane.plan.kinds.base import Operation
from l3agent.dataplane.plan.kinds.switch_port import SwitchPort

LOG = logging.getLogger(__name__)


class OvsdbThread:
    """Access to the ports of Open vSwitch.

    :param remote: address of the OVSDB server.
    :param timeout: time limit of a submission in seconds.
    :ivar descriptor: becomes readable when a submission is done or ports have changed.
    """

    def __init__(self, remote: str, timeout: float, tls: Tls = Tls()) -> None:  # noqa: B008
        self._remote = remote
        self._tls = tls
        self._feed = ChangeFeed()
        self._monitor = Monitor(remote, self._feed)
        self._pipeline = Pipeline(timeout, self._feed.notify)
        self._new: SimpleQueue[Submission] = SimpleQueue()
        self._wakeup_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.descriptor = self._feed.descriptor
        threading.Thread(target=self._run, name="ovsdb", daemon=True).start()

    # ---- called by the kernel thread -------------------------------------------------------------------------

    @property
    def is_loaded(self) -> bool:
        """True after the rows were read once; they may be stale if the connection is lost."""
        return self._monitor.rows is not None

    def wait_until_loaded(self, seconds: float) -> None:
        """Wait for the rows, at most ``seconds``."""
        self._monitor.wait_until_loaded(seconds)

    def stats(self) -> dict[str, object]:
        """Return the state of the connection, and the number of our ports in total and not yet wired."""
        return self._monitor.stats()

    def port(self, name: str) -> PortRow | None:
        """Return a port by its name."""
        return self._monitor.port(name)

    def port_names(self, router_id: str) -> frozenset[str]:
        """Return the names of the ports that are marked with a router."""
        return self._monitor.port_names(router_id)

    def owners(self) -> list[str]:
        """Return the ids of all routers with marked ports."""
        return self._monitor.owners()

    def submit(self, operations: Sequence[Operation[SwitchPort]]) -> Submission:
        """Submit operations; the submission reports their end."""
        submission = Submission(operations, time.monotonic() + self._pipeline.time_limit)
        self._new.put(submission)
        os.eventfd_write(self._wakeup_fd, 1)
        return submission

    def read_changes(self) -> Changes:
        """Return the changes since the last call."""
        return self._feed.read()

    # ---- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        connection = OvsdbConnection(self._remote, self._tls)
        while True:
            try:
                self._run_once(connection)
            except Exception:
                # A defect, or a malformed message: the submissions fail with an error, the thread continues.
                LOG.exception("OVSDB %s", self._remote)
                self._pipeline.fail_unsent("internal error; see the log")
                time.sleep(1)

    def _run_once(self, connection: OvsdbConnection) -> None:
        connection.run()
        if self._monitor.has_new_session(connection):
            # The rows show whether the transaction was committed.
            self._pipeline.withdraw()
        self._receive(connection)
        self._read_queue()
        self._advance(connection)
        deadline = self._pipeline.next_deadline()
        connection.wait(self._wakeup_fd, None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _receive(self, connection: OvsdbConnection) -> None:
        while (message := connection.receive()) is not None:
            was_connected = self._monitor.is_connected
            if not self._monitor.handle_message(message):
                self._pipeline.handle_reply(message.id, message.error, message.result)
            elif self._monitor.is_connected and not was_connected:
                self._pipeline.reset_time_limit()

    def _read_queue(self) -> None:
        try:
            os.eventfd_read(self._wakeup_fd)
        except BlockingIOError:
            return
        try:
            while True:
                self._pipeline.add(self._new.get_nowait())
        except Empty:
            pass

    def _advance(self, connection: OvsdbConnection) -> None:
        pipeline, rows = self._pipeline, self._monitor.rows
        is_connected = self._monitor.is_connected
        if rows is not None:
            pipeline.finish_applied(rows)
        pipeline.expire(time.monotonic(), lambda: self._describe_failure(connection), is_connected=is_connected)
        if rows is not None and is_connected and (steps := pipeline.begin(rows, time.monotonic())) is not None:
            pipeline.record_request(connection.request("transact", [DATABASE, *steps]))

    def _describe_failure(self, connection: OvsdbConnection) -> str:
        trouble = "no answer in time" if self._monitor.is_connected else self._monitor.error or connection.diagnose()
        return (
            f"Open vSwitch: OVSDB at {self._remote}: {trouble}; start openvswitch-switch, and check that OVSDB "
            f"listens there (ovs-vsctl get-manager, set-manager) or set [OVS] ovsdb_connection"
        )
