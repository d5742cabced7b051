# SPDX-License-Identifier: Apache-2.0
"""Submissions to OVSDB as a state machine: waiting, sent, committed, done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from l3agent.dataplane.ovsdb.pipeline import Pipeline, Submission
from l3agent.dataplane.ovsdb.rows import Rows
from l3agent.dataplane.plan.kinds.base import Operation
from l3agent.dataplane.plan.kinds.switch_port import SwitchPort

PORT = SwitchPort("qr-1", "br-int", "internal", frozenset({("iface-id", "p1")}), True)
LOST = Operation("change", PORT, replace(PORT, has_device=False))
TIMEOUT = 10.0


class Switch:
    """A pipeline with the database that it sends to."""

    def __init__(self) -> None:
        self.ended = 0
        self.pipeline = Pipeline(TIMEOUT, self._count)
        self.rows = Rows()
        bridge = {"name": "br-int", "ports": ["set", []]}
        self.rows.update({"Bridge": {"B": {"initial": bridge}}, "Open_vSwitch": {"O": {"initial": {"cur_cfg": 1}}}})

    def _count(self) -> None:
        self.ended += 1

    def submit(self, *operations: Operation[SwitchPort], deadline: float = TIMEOUT) -> Submission:
        submission = Submission(operations or (Operation("add", PORT),), deadline)
        self.pipeline.add(submission)
        return submission

    def send(self, request: object, now: float = 0.0) -> list[dict[str, Any]]:
        steps = self.pipeline.begin(self.rows, now)
        assert steps is not None
        self.pipeline.record_request(request)
        return steps

    def commit(self, request: object, generation: int) -> None:
        self.pipeline.handle_reply(request, None, [{}, {"rows": [{"next_cfg": generation}]}])

    def insert(self, **interface: object) -> None:
        """Insert the port, as the switch does."""
        port = {"name": "qr-1", "interfaces": ["uuid", "I"], "tag": 4095, "vlan_mode": "trunk", "trunks": 4095}
        row = {"name": "qr-1", "type": "internal", "external_ids": ["map", [["iface-id", "p1"]]], "ofport": 3}
        tables = {"Port": {"P": {"initial": port}}, "Interface": {"I": {"initial": {**row, **interface}}}}
        self.rows.update({**tables, "Bridge": {"B": {"modify": {"ports": ["uuid", "P"]}}}})

    def delete(self) -> None:
        tables = {"Port": {"P": {"delete": None}}, "Interface": {"I": {"delete": None}}}
        self.rows.update({**tables, "Bridge": {"B": {"modify": {"ports": ["uuid", "P"]}}}})

    def apply(self, generation: int) -> None:
        self.rows.update({"Open_vSwitch": {"O": {"modify": {"cur_cfg": generation}}}})
        self.pipeline.finish_applied(self.rows)

    def expire(self, now: float, *, is_connected: bool = True) -> None:
        self.pipeline.expire(now, lambda: "no answer", is_connected=is_connected)


@pytest.fixture
def switch() -> Switch:
    return Switch()


def test_a_submission_is_done_when_the_switch_has_applied_it(switch: Switch) -> None:
    one = switch.submit()
    steps = switch.send(7)
    assert [step["op"] for step in steps] == ["insert", "insert", "mutate", "mutate", "comment", "select"]
    switch.commit(7, 5)
    switch.insert()
    switch.apply(4)
    assert not one.done
    switch.apply(5)
    assert (one.done, one.error, switch.ended) == (True, None, 1)
    assert switch.pipeline.next_deadline() is None


def test_one_transaction_is_in_flight_and_has_all_waiting_submissions(switch: Switch) -> None:
    first = [switch.submit(Operation("add", replace(PORT, name=f"qr-{number}"))) for number in range(3)]
    assert sum(step["op"] == "insert" for step in switch.send(7)) == 6
    later = switch.submit(Operation("add", replace(PORT, name="qr-9")))
    assert switch.pipeline.begin(switch.rows, 0.0) is None
    switch.commit(7, 2)
    assert sum(step["op"] == "insert" for step in switch.send(8)) == 2
    switch.apply(2)
    assert [one.done for one in (*first, later)] == [True, True, True, False]


def test_a_transaction_has_a_limited_number_of_submissions(switch: Switch) -> None:
    for number in range(65):
        switch.submit(Operation("add", replace(PORT, name=f"qr-{number}")))
    assert sum(step["op"] == "insert" for step in switch.send(7)) == 128
    switch.commit(7, 2)
    assert sum(step["op"] == "insert" for step in switch.send(8)) == 2


def test_what_the_database_has_is_done_without_a_transaction(switch: Switch) -> None:
    switch.insert()
    one = switch.submit()
    assert switch.pipeline.begin(switch.rows, 0.0) is None
    assert (one.done, one.error, switch.ended) == (True, None, 1)


def test_a_missing_bridge_fails_its_submission_and_no_other(switch: Switch) -> None:
    wrong, right = switch.submit(Operation("add", replace(PORT, bridge="br-none"))), switch.submit()
    assert sum(step["op"] == "insert" for step in switch.send(7)) == 2
    assert wrong.done and "no bridge br-none" in str(wrong.error)
    assert not right.done


def test_after_a_rejection_each_submission_is_sent_alone(switch: Switch) -> None:
    good, bad = switch.submit(), switch.submit(Operation("add", replace(PORT, name="qr-2")))
    switch.send(7)
    switch.pipeline.handle_reply(7, None, [{"error": "constraint violation", "details": "no"}])
    assert not good.done and not bad.done
    assert sum(step["op"] == "insert" for step in switch.send(8)) == 2
    switch.commit(8, 2)
    assert sum(step["op"] == "insert" for step in switch.send(9)) == 2
    switch.pipeline.handle_reply(9, None, [{"error": "constraint violation", "details": "no"}])
    assert bad.error == "OVSDB rejected the change: constraint violation: no"
    switch.apply(2)
    assert (good.done, good.error) == (True, None)


def test_an_answer_to_another_request_is_ignored(switch: Switch) -> None:
    one = switch.submit()
    switch.send(7)
    for request in (6, None):
        switch.commit(request, 1)
        switch.apply(1)
    assert not one.done
    switch.commit(7, 2)
    switch.apply(2)
    assert one.done


def test_a_lost_transaction_is_sent_again_without_what_it_committed(switch: Switch) -> None:
    one, other = switch.submit(), switch.submit(Operation("add", replace(PORT, name="qr-2")))
    switch.send(7)
    switch.pipeline.withdraw()
    switch.insert()
    steps = switch.send(8)
    assert [step["row"]["name"] for step in steps if step["op"] == "insert"] == ["qr-2", "qr-2"]
    switch.commit(7, 1)
    assert not one.done
    switch.commit(8, 2)
    switch.apply(2)
    assert (one.error, other.error, one.done, other.done) == (None, None, True, True)


def test_a_transaction_that_the_connection_refuses_waits_again(switch: Switch) -> None:
    one = switch.submit()
    switch.send(None)
    assert not one.done
    switch.send(7)
    switch.commit(7, 2)
    switch.apply(2)
    assert one.done


def test_a_port_that_the_switch_cannot_create_is_an_error(switch: Switch) -> None:
    one = switch.submit()
    switch.send(7)
    switch.commit(7, 2)
    switch.insert(ofport=-1, error="no such device")
    switch.apply(2)
    assert one.error == "Open vSwitch cannot create port qr-1 of br-int: no such device"


def test_a_port_without_its_device_is_reconfigured_first_and_then_deleted_and_inserted(switch: Switch) -> None:
    switch.insert()
    first = switch.submit(LOST)
    assert [step["op"] for step in switch.send(1)] == ["mutate", "comment", "select"]
    switch.commit(1, 2)
    switch.apply(2)
    assert first.done

    second = switch.submit(LOST)
    assert [step["op"] for step in switch.send(2, now=5.0)] == ["mutate", "mutate", "comment", "select"]
    switch.commit(2, 3)
    switch.delete()
    switch.apply(3)
    assert not second.done and second.removed_before
    assert [step["op"] for step in switch.send(3, now=5.1)][:2] == ["insert", "insert"]
    switch.commit(3, 4)
    switch.insert()
    switch.apply(4)
    assert (second.done, second.error) == (True, None)


def test_after_the_retry_period_a_port_is_reconfigured_again(switch: Switch) -> None:
    switch.insert()
    for request, now, expected in ((1, 0.0, 1), (2, 31.0, 1), (3, 32.0, 2)):
        switch.submit(LOST)
        assert sum(step["op"] == "mutate" for step in switch.send(request, now=now)) == expected
        switch.commit(request, request + 1)
        switch.apply(request + 1)


# ---- deadlines -------------------------------------------------------------------------------------------------


def test_a_switch_that_applies_nothing_fails_the_submission_and_shortens_the_next(switch: Switch) -> None:
    one = switch.submit()
    switch.send(7)
    switch.commit(7, 5)
    switch.expire(TIMEOUT - 0.1)
    assert (one.done, switch.pipeline.next_deadline()) == (False, TIMEOUT)
    switch.expire(TIMEOUT)
    assert one.done and "is it running?" in str(one.error)
    assert switch.pipeline.time_limit == 1.0
    switch.submit(Operation("add", replace(PORT, name="qr-2")))
    switch.send(8)
    switch.commit(8, 6)
    switch.apply(6)
    assert switch.pipeline.time_limit == TIMEOUT


def test_a_database_that_does_not_answer_fails_those_past_their_deadline_only(switch: Switch) -> None:
    one, other = switch.submit(), switch.submit(Operation("add", replace(PORT, name="qr-2")), deadline=20.0)
    switch.send(7)
    switch.expire(TIMEOUT)
    assert (one.done, one.error, other.done) == (True, "no answer", False)
    assert switch.pipeline.time_limit == 1.0
    switch.send(8, now=TIMEOUT)
    switch.commit(8, 2)
    switch.apply(2)
    assert (other.done, other.error) == (True, None)


def test_without_a_connection_later_submissions_fail_at_once(switch: Switch) -> None:
    one = switch.submit()
    switch.expire(TIMEOUT, is_connected=False)
    assert (one.error, switch.pipeline.time_limit) == ("no answer", 0.0)
    switch.pipeline.reset_time_limit()
    assert switch.pipeline.time_limit == TIMEOUT


def test_the_reason_is_sought_for_late_submissions_only(switch: Switch) -> None:
    switch.submit()

    def describe() -> str:
        raise AssertionError

    switch.pipeline.expire(TIMEOUT - 0.1, describe, is_connected=False)


# ---- defects ---------------------------------------------------------------------------------------------------


def test_a_malformed_answer_leaves_no_submission_without_an_end(switch: Switch) -> None:
    one = switch.submit()
    switch.send(7)
    with pytest.raises(LookupError):
        switch.pipeline.handle_reply(7, None, [{}])
    switch.pipeline.fail_unsent("internal error")
    assert (one.done, one.error) == (True, "internal error")
    assert switch.pipeline.next_deadline() is None


def test_a_defect_in_one_submission_leaves_none_without_an_end(switch: Switch) -> None:
    good, bad = switch.submit(), switch.submit()
    bad.operations = (None,)  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        switch.pipeline.begin(switch.rows, 0.0)
    switch.pipeline.fail_unsent("internal error")
    assert [one.error for one in (good, bad)] == ["internal error", "internal error"]
    assert switch.pipeline.begin(switch.rows, 0.0) is None
