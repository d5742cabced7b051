# SPDX-License-Identifier: Apache-2.0
"""Failures of one cause are few lines in the log."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from oslo_log import log
from oslo_messaging._drivers import amqpdriver, impl_rabbit

from l3agent.rpc.driver_log import RepetitionFilter, limit_driver_log
from l3agent.rpc.failure_log import _CAUSES_MAX, FailureLog
from l3agent.testing import wait_until

_UNREACHABLE = "[%(connection_id)s] AMQP server on %(hostname)s:%(port)s is unreachable: %(err_str)s."


def record(form: str, *args: object, level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord("oslo.messaging._drivers.impl_rabbit", level, "impl_rabbit.py", 1, form, args, None)


def test_the_first_failure_is_logged_at_once_and_the_others_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    failures = FailureLog(log.getLogger("l3agent.test"), first=0.05, then=0.1)
    for number in range(1000):
        failures.warning("gone", "router %d: %s", number, "gone")
    failures.warning("busy", "router %d: %s", 7, "busy")
    assert [one.getMessage() for one in caplog.records] == ["router 0: gone", "router 7: busy"]
    wait_until(lambda: len(caplog.records) == 3)
    assert caplog.records[2].getMessage() == "999 more failures in 0.05 s, the last one: router 999: gone"
    # After an interval without failures the next one is the first again.
    wait_until(lambda: not failures._counts)
    failures.warning("gone", "router %d: %s", 1, "gone")
    assert caplog.records[3].getMessage() == "router 1: gone"


def test_an_unexpected_exception_has_one_traceback(caplog: pytest.LogCaptureFixture) -> None:
    failures = FailureLog(log.getLogger("l3agent.test"), first=0.05)
    for _ in range(10):
        try:
            raise ZeroDivisionError("bug")
        except ZeroDivisionError as exc:
            failures.exception(repr(exc), "router %s", "r")
    wait_until(lambda: len(caplog.records) == 2)
    assert [bool(one.exc_info) for one in caplog.records] == [True, False]


def test_the_number_of_causes_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    failures = FailureLog(log.getLogger("l3agent.test"), first=0.05, then=0.05)
    # No greenthread runs in between.
    for number in range(10 * _CAUSES_MAX):
        failures.warning(f"cause {number}", "%d", number)
    assert len(caplog.records) == len(failures._counts) == _CAUSES_MAX + 1
    # The count of the others is a line, which must not come in a later test.
    wait_until(lambda: not failures._counts)


@pytest.mark.feature("operation.log-volume")
@pytest.mark.parametrize("connections", [1, 6])
def test_a_driver_that_repeats_an_error_every_second_for_ten_minutes_is_few_lines(connections: int) -> None:
    now = 0.0
    repetitions = RepetitionFilter(clock=lambda: now)
    passed = []
    for second in range(600):
        now = float(second)
        for number in range(connections):
            info = {"connection_id": number, "hostname": "h", "port": 5672, "err_str": "refused"}
            one = record(_UNREACHABLE, info)
            if repetitions.filter(one):
                passed.append((now, one.getMessage()))
    assert [at for at, _ in passed] == [0, 10, 130, 250, 370, 490]
    assert passed[0][1] == "[0] AMQP server on h:5672 is unreachable: refused."
    assert passed[2][1].endswith(f"refused. ({120 * connections - 1} more in 120 s)")


def test_records_of_other_forms_and_levels_pass_and_a_reconnection_starts_anew() -> None:
    repetitions = RepetitionFilter(clock=lambda: 0.0)
    assert repetitions.filter(record("one %s", 1)) and repetitions.filter(record("two %s", 1))
    assert not repetitions.filter(record("one %s", 2))
    assert repetitions.filter(record("[%s] Reconnected", 1, level=logging.INFO))
    assert repetitions.filter(record("one %s", 100))


@pytest.mark.parametrize("module", [impl_rabbit, amqpdriver])
def test_the_loggers_of_the_driver_have_the_filter_once(module: Any) -> None:
    limit_driver_log()
    limit_driver_log()
    filters = logging.getLogger(module.LOG.name).filters
    assert len([one for one in filters if isinstance(one, RepetitionFilter)]) == 1
