# SPDX-License-Identifier: Apache-2.0
"""Submissions on their way to Open vSwitch: a state machine without I/O, clock or thread.

::

    add() ──> waiting ── begin() ──> sent ── handle_reply() ──> committed ── finish_applied() ──> done
                 ^                     │                            │
                 ├── rejected with others, no answer in time,       │
                 │   connection lost ──┘                            │
                 └── the first of two transactions is applied ──────┘

A submission is in one of the states until it is done. ``expire`` fails it at its deadline, if it waits or is committed;
one in flight becomes waiting first. One transaction is in flight; it has all waiting submissions, at most 64, or one
that was rejected with others. Operations that a lost transaction has committed are in the rows: only the others are
sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from l3agent.dataplane.ovsdb.rows import Rows
from l3agent.dataplane.ovsdb.transact import Transaction, check_bridges, first_error
from l3agent.dataplane.plan.kinds.base import Operation
from l3agent.dataplane.plan.kinds.switch_port import SwitchPort
from l3agent.exceptions import ApplyError

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
    """A transaction in flight.

    :param request: its id, None while it is handed to the connection.
    """

    submissions: list[Submission]
    waits: bool
    request: object = None


class Pipeline:
    """The submissions of one database. Times are those of the monotonic clock, in seconds.

    :param timeout: time limit of a submission.
    :param on_end: called after submissions have ended.
    """

    def __init__(self, timeout: float, on_end: Callable[[], None]) -> None:
        self._timeout = self._time_limit = timeout
        self._on_end = on_end
        self._waiting: list[Submission] = []
        self._sent: _Sent | None = None
        self._committed: list[Submission] = []
        self._retries = _Retries()

    @property
    def time_limit(self) -> float:
        """Seconds that a new submission has; less than the timeout after others were late. Any thread may read it."""
        return self._time_limit

    def reset_time_limit(self) -> None:
        """Give new submissions the whole timeout: the database answers again."""
        self._time_limit = self._timeout

    def add(self, submission: Submission) -> None:
        """Add a submission; it waits for the next transaction."""
        self._waiting.append(submission)

    def begin(self, rows: Rows, now: float) -> list[dict[str, Any]] | None:
        """Return the steps of the next transaction, None if one is in flight or there is nothing to send.

        :meth:`record_request` has to follow.
        """
        while self._sent is None and self._waiting:
            count = 1 if self._waiting[0].alone else _MAX_SUBMISSIONS
            transaction, accepted = Transaction(), []
            for submission in self._waiting[:count]:
                try:
                    # All operations first: steps that are in the transaction are sent.
                    check_bridges(submission.operations, rows)
                except ApplyError as exc:
                    self._fail([submission], str(exc))
                    continue
                submission.has_second_part = False
                for one in submission.operations:
                    submission.has_second_part |= self._add_operation(transaction, one, submission, rows, now)
                accepted.append(submission)
            steps = transaction.build()
            self._waiting = self._waiting[count:]
            if steps:
                self._sent = _Sent(accepted, transaction.waits)
                return _with_comment(steps, len(accepted))
            self._finish(accepted, rows)
        return None

    def record_request(self, request: object) -> None:
        """Record the id of the request that carries the transaction; None if the connection is lost."""
        if request is None:
            self.withdraw()
        elif self._sent is not None:
            self._sent.request = request

    def withdraw(self) -> None:
        """Withdraw the transaction in flight: its submissions become waiting."""
        if self._sent is not None:
            self._waiting = [*self._sent.submissions, *self._waiting]
            self._sent = None

    def handle_reply(self, request: object, error: object, result: Any) -> None:
        """Handle the answer to a request; an answer to another request than that in flight is ignored.

        :param error: the error of the request, None if it was executed; then the result has the errors of its steps.
        :raises LookupError, TypeError: the result is malformed.
        """
        sent = self._sent
        if sent is None or request is None or request != sent.request:
            return
        reason = str(error) if error is not None else first_error(result)
        if reason is None:
            generation = result[-1]["rows"][0]["next_cfg"] if sent.waits else 0
            for submission in sent.submissions:
                submission.generation = generation
            self._sent, self._committed = None, self._committed + sent.submissions
        elif len(sent.submissions) == 1:
            self._sent = None
            self._fail(sent.submissions, f"OVSDB rejected the change: {reason}")
        else:
            for submission in sent.submissions:
                submission.alone = True
            self.withdraw()

    def finish_applied(self, rows: Rows) -> None:
        """Finish the submissions that ovs-vswitchd has applied; the second parts of others wait from now on."""
        applied = [one for one in self._committed if one.generation is not None and one.generation <= rows.current]
        if not applied:
            return
        self.reset_time_limit()
        self._committed = [one for one in self._committed if one not in applied]
        for submission in applied:
            submission.removed_before = submission.removed_before or submission.has_second_part
        self._waiting += [one for one in applied if one.has_second_part]
        self._finish([one for one in applied if not one.has_second_part], rows)

    def expire(self, now: float, describe: Callable[[], str], *, is_connected: bool) -> None:
        """Fail the submissions past their deadline.

        :param describe: returns why waiting submissions are not sent; called only if one of them is late.
        """
        late = [one for one in self._committed if one.deadline <= now]
        if late:
            self._shorten_time_limit()
            self._committed = [one for one in self._committed if one not in late]
            self._fail(late, "ovs-vswitchd does not apply the configuration in OVSDB; is it running?")
        if self._sent is not None and min(one.deadline for one in self._sent.submissions) <= now:
            # If the answer still arrives, the rows show the result.
            self._shorten_time_limit()
            self.withdraw()
        late = [one for one in self._waiting if one.deadline <= now]
        if late:
            if not is_connected:
                self._time_limit = 0.0
            self._waiting = [one for one in self._waiting if one not in late]
            self._fail(late, describe())

    def fail_unsent(self, error: str) -> None:
        """Fail the submissions whose transaction is not committed."""
        self.withdraw()
        failed, self._waiting = self._waiting, []
        self._fail(failed, error)

    def next_deadline(self) -> float | None:
        """Return the earliest deadline of all submissions, None if there is none."""
        sent = self._sent.submissions if self._sent else ()
        return min((one.deadline for one in (*self._waiting, *sent, *self._committed)), default=None)

    # ---- private ---------------------------------------------------------------------------------------------

    def _add_operation(
        self, transaction: Transaction, one: Operation[SwitchPort], submission: Submission, rows: Rows, now: float
    ) -> bool:
        removed_before = submission.removed_before
        retried = removed_before or self._retries.is_retried(one, rows, now)
        return transaction.add(one, rows, retried=retried, removed_before=removed_before)

    def _shorten_time_limit(self) -> None:
        self._time_limit = min(self._time_limit, _SHORT_LIMIT_S)

    def _finish(self, submissions: Iterable[Submission], rows: Rows) -> None:
        self._end((one, _port_error(one, rows)) for one in submissions)

    def _fail(self, submissions: Iterable[Submission], error: str) -> None:
        self._end((one, error) for one in submissions)

    def _end(self, ended: Iterable[tuple[Submission, str | None]]) -> None:
        count = 0
        for submission, error in ended:
            if not submission.done:
                # In this order: other threads read the error when it is done.
                submission.error, submission.done = error, True
                count += 1
        if count:
            self._on_end()


class _Retries:
    """Ports without a device that ovs-vswitchd was made to reconfigure: row, and end of the retry period, by name."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[str, float]] = {}

    def is_retried(self, operation: Operation[SwitchPort], rows: Rows, now: float) -> bool:
        """Return True if reconfiguring a port did not bring its device back, or if it has not lost one.

        ovs-vswitchd creates its devices when it starts, and keeps the wiring of the L2 agent.
        """
        if operation.previous is None or operation.previous.has_device:
            return True
        name = operation.entry.name
        found = rows.ports.get(name)
        row, until = self._until.pop(name, ("", 0.0))
        if found is None or (found.rows[1] == row and now < until):
            return found is not None
        self._until[name] = found.rows[1], now + _RETRY_S
        return False


def _with_comment(steps: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    # The generation is read from the last answer, so its step comes last.
    return [*steps[:-1], {"op": "comment", "comment": f"l3agent: {count} changes"}, steps[-1]]


def _port_error(submission: Submission, rows: Rows) -> str | None:
    """Return the error of a port that ovs-vswitchd cannot create."""
    for operation in submission.operations:
        port = operation.entry
        found = rows.ports.get(port.name)
        if operation.verb != "remove" and found is not None and found.ofport == -1 and port.type:
            return f"Open vSwitch cannot create port {port.name} of {port.bridge}: {found.error or 'no reason given'}"
    return None
