# SPDX-License-Identifier: Apache-2.0
"""Limits the log of oslo.messaging during an outage of the broker: each connection logs an error per second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from l3agent.rpc.failure_log import FIRST_S, THEN_S

#: The loggers of oslo.messaging that log each attempt. oslo.log replaces ``oslo_`` in the name of the first one.
_LOGGERS = ("oslo.messaging._drivers.impl_rabbit", "oslo_messaging._drivers.amqpdriver")


class RepetitionFilter(logging.Filter):
    """Passes the first record of a form, and then one per interval with the number of suppressed records.

    Records of one form have the same format string. A record below WARNING always passes.

    :param first: seconds from the first record of a form that passes to the second one.
    :param then: seconds between the following ones.
    :param clock: monotonic seconds.
    """

    def __init__(
        self, *, first: float = FIRST_S, then: float = THEN_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._first = first
        self._then = then
        self._clock = clock
        # By form: number of records passed, when the last one passed, and how many were suppressed since.
        self._passed: dict[str, tuple[int, float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if a record is to be logged."""
        if record.levelno < logging.WARNING:
            if "Reconnected" in str(record.msg):
                self._passed.clear()
            return True
        form, now = str(record.msg), self._clock()
        passed, last, suppressed = self._passed.get(form, (0, now, 0))
        interval = self._first if passed == 1 else self._then
        if passed and now - last < interval:
            self._passed[form] = (passed, last, suppressed + 1)
            return False
        # After an interval without repetitions the record is the first one of another outage.
        self._passed[form] = (passed + 1 if suppressed else 1, now, 0)
        if suppressed:
            record.msg, record.args = f"{record.getMessage()} ({suppressed} more in {now - last:.0f} s)", ()
        return True


_FILTER = RepetitionFilter()


def limit_driver_log() -> None:
    """Limit the records of oslo.messaging's RabbitMQ driver in this process. Idempotent."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
