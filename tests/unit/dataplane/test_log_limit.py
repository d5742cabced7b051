# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import pytest

from l3agent.dataplane.server.log_limit import LineLimit

#: A logger with two handlers that share one limit, what the handlers wrote, and the time.
Log = tuple[logging.Logger, list[str], list[float]]


@pytest.fixture
def log() -> Log:
    """Return a logger with two handlers that share one limit, what the handlers wrote, and the time."""
    written: list[str] = []
    now = [0.0]
    limit = LineLimit(lambda: now[0])

    class Written(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    logger = logging.Logger("limited", logging.DEBUG)
    for _ in range(2):
        handler = Written()
        handler.addFilter(limit)
        logger.addHandler(handler)
    return logger, written, now


def test_a_statement_that_logs_too_often_is_cut_and_counted(log: Log) -> None:
    logger, written, now = log

    def write(times: int) -> None:
        for _ in range(times):
            logger.warning("100 %% of %s", "it")

    write(100)
    assert written == ["100 % of it"] * 200
    write(50)
    # Another statement has a limit of its own, and what is logged for a developer has none.
    logger.warning("other")
    for _ in range(300):
        logger.debug("much")
    assert written[200:] == ["other"] * 2 + ["much"] * 600
    now[0] = 1.5
    write(2)
    assert written[802:] == ["100 % of it (50 more like this were not logged)"] * 2
    now[0] = 1000.0
    write(100)
    assert written[804:806] == ["100 % of it (1 more like this were not logged)"] * 2
    assert written[806:] == ["100 % of it"] * 198
