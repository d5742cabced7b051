# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from oslo_config import cfg

from l3agent.rpc import Connection, StateReporter, Target, get_transport


class Server:
    """The report-state callback of a server: stores reports and returns a given answer."""

    target = Target(version="1.1")

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.times: list[str] = []
        self.answer: Any = "alive"

    def report_state(self, context: Any, agent_state: dict[str, Any], time: str) -> Any:
        assert context.is_admin
        self.reports.append(agent_state["agent_state"])
        self.times.append(time)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def transport() -> Any:
    conf = cfg.ConfigOpts()
    conf([])
    return get_transport(conf, f"local:///{uuid.uuid4()}")


@pytest.fixture
def server(transport: Any) -> Iterator[Server]:
    server = Server()
    connection = Connection(transport, host="controller")
    connection.create_consumer("q-reports-plugin", [server])
    connection.consume_in_threads()
    yield server
    connection.close()


@pytest.fixture
def revived() -> list[str]:
    return []


@pytest.fixture
def reporter(transport: Any, revived: list[str]) -> StateReporter:
    return StateReporter(
        transport,
        host="node1",
        binary="neutron-l3-agent",
        topic="l3_agent",
        agent_type="L3 agent",
        availability_zone="nova",
        configurations=lambda: {"routers": 3},
        timeout=0.2,
        on_revived=lambda: revived.append("revived"),
    )


def test_a_report_has_identity_and_state(server: Server, reporter: StateReporter) -> None:
    assert reporter.report() == "alive"
    report = server.reports[0]
    assert uuid.UUID(report.pop("uuid"))
    assert report == {
        "binary": "neutron-l3-agent",
        "host": "node1",
        "topic": "l3_agent",
        "agent_type": "L3 agent",
        "availability_zone": "nova",
        "configurations": {"routers": 3},
        "start_flag": True,
    }
    moment = datetime.datetime.strptime(server.times[0], "%Y-%m-%dT%H:%M:%S.%f")
    assert abs((datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - moment).total_seconds()) < 10


def test_the_start_flag_is_sent_until_a_report_arrived(server: Server, reporter: StateReporter) -> None:
    server.answer = RuntimeError("not yet")
    assert reporter.report() is None
    server.answer = "new"
    reporter.report()
    reporter.report()
    assert ["start_flag" in report for report in server.reports] == [True, True, False]


def test_each_report_has_an_id_of_its_own(server: Server, reporter: StateReporter) -> None:
    reporter.report()
    reporter.report()
    assert server.reports[0]["uuid"] != server.reports[1]["uuid"]


def test_revived_is_passed_on_and_nothing_else_is(server: Server, reporter: StateReporter, revived: list[str]) -> None:
    for server.answer in ("new", "alive", "revived", None):
        reporter.report()
    assert revived == ["revived"]


def test_an_agent_that_the_server_has_forgotten_learns_it(
    server: Server, reporter: StateReporter, revived: list[str]
) -> None:
    for server.answer in ("new", "alive", "new"):
        reporter.report()
    assert revived == ["revived"]


def test_a_server_that_is_not_there_is_a_warning_only(
    reporter: StateReporter, caplog: pytest.LogCaptureFixture
) -> None:
    assert reporter.report() is None
    assert "this topic has no consumer" in caplog.text
