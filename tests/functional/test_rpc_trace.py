# SPDX-License-Identifier: Apache-2.0
"""A trace is replayed: the messages that one agent recorded have the same effect on another."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from l3agent.testing import wait_until
from tests.functional.test_wire_replay import NAMESPACE, Stage
from tests.support.captured import StandIn, conversation, traced
from tests.support.cloud import options
from tests.support.kernel import observed
from tests.support.processes import Agent, Dataplane, Options
from tests.support.rabbit import Rabbit

BUILD = conversation("legacy_build")


@pytest.fixture
def server(rabbit: Rabbit) -> Iterator[StandIn]:
    server = StandIn(rabbit.url)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def stage_of(
    server: StandIn, rabbit: Rabbit, dataplane: Dataplane, folder: Path, start_agent: Callable[[Options], Agent]
) -> Callable[..., Stage]:
    def stage_of(host: str, **l3agent: object) -> Stage:
        chosen = dict(options(rabbit, dataplane, folder))
        chosen["DEFAULT"] = {**chosen["DEFAULT"], "host": host}
        chosen["l3agent"] = {**chosen["l3agent"], **l3agent}
        return Stage(server, dataplane, lambda: start_agent(chosen))

    return stage_of


@pytest.mark.feature("operation.rpc-trace")
def test_a_trace_from_the_field_is_replayed_and_makes_the_same_router(
    stage_of: Callable[..., Stage], server: StandIn, dataplane: Dataplane, folder: Path
) -> None:
    path = folder / "trace.jsonl"
    field = stage_of(BUILD.host, rpc_trace_file=path)
    agent = field.start_agent([])
    field.replay(agent, BUILD, paced=True)
    expected = field.facts()
    agent.kill()
    assert dataplane.sandbox.namespaces()
    entries = traced(path, BUILD.context)
    assert [event["cast"] for event in entries.events if "cast" in event] == [one["cast"] for one, _ in BUILD.casts()]
    assert entries.calls("sync_routers") and entries.calls("report_state")

    # The same node without routers: the server returns none.
    test = stage_of(entries.host, state_cache_interval=0)
    agent = test.start_agent([])
    wait_until(lambda: not dataplane.sandbox.namespaces(), timeout=30)
    test.replay(agent, entries, paced=True)
    wait_until(lambda: observed(dataplane.sandbox, NAMESPACE) == expected, timeout=10)


@pytest.mark.feature("operation.rpc-trace")
def test_a_trace_has_no_secrets_and_is_for_its_owner_only(
    stage_of: Callable[..., Stage], server: StandIn, folder: Path
) -> None:
    path = folder / "trace.jsonl"
    router = BUILD.last_answer()[0]
    hidden = {"name": "Payroll", "tenant_id": "c0ffee", "gw_port_host": BUILD.host, "auth_token": "t0ps3cret"}
    stage = stage_of(BUILD.host, rpc_trace_file=path)
    stage.start_agent([router | hidden])
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [word for word in (*hidden.values(), "_context_") if word in text]
    answers = [json.loads(line) for line in text.splitlines() if '"sync_routers"' in line]
    [redacted] = answers[-1]["result"]
    # Values that a replay needs are unchanged, and equal values have equal replacements.
    assert redacted["id"] == router["id"] and redacted["gw_port"]["mac_address"] == router["gw_port"]["mac_address"]
    assert redacted["gw_port_host"] == json.loads(text.splitlines()[0])["host"] == answers[-1]["args"]["host"]
