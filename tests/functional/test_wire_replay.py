# SPDX-License-Identifier: Apache-2.0
"""What a real server said to a real neutron-l3-agent, said to this agent by a stand-in over RabbitMQ.

The agent must ask what the real one asked: the same methods, versions and arguments. It may ask less often where
updates fall together, never for less. The kernel must mean in the end what the real agent made it mean.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from l3agent.testing import wait_until
from tests.support.captured import FOLDER, Asked, Conversation, StandIn, conversation
from tests.support.cloud import assert_same, options
from tests.support.kernel import RouterFacts, golden, observed
from tests.support.processes import Agent, Dataplane, Options
from tests.support.rabbit import Rabbit
from tests.support.sandbox import SandboxError

BUILD = conversation("legacy_build")
ROUTER = BUILD.last_answer()[0]["id"]
NAMESPACE = f"qrouter-{ROUTER}"
#: Of a configuration, what depends on the moment and on what the agent was made with.
_OWN = {"routers", "ex_gw_ports", "interfaces", "floating_ips", "extensions", "interface_driver"}


class Stage:
    """A stand-in server, and agents on one kernel."""

    def __init__(self, server: StandIn, dataplane: Dataplane, start: Callable[[], Agent]) -> None:
        self.server = server
        self.sandbox = dataplane.sandbox
        self._start = start

    def start_agent(self, routers: list[Any]) -> Agent:
        """Start an agent that finds these routers at the server."""
        self.server.routers = routers
        agent = self._start()
        agent.wait_in_sync()
        return agent

    def replay(self, agent: Agent, said: Conversation, *, paced: bool) -> None:
        """Send the casts in their order; ``paced``: each after the agent has done what the one before asked for.

        Otherwise the agent gets the last answer where the real one got several, so the server has to remember what it
        was told itself.
        """
        self.server.keeps_statuses = not paced
        for cast, answer in said.casts():
            before = len(self.server.arguments("sync_routers"))
            self.server.routers = [] if answer is None else answer
            self.server.cast(cast, said.context)
            if paced and answer is not None:
                wait_until(lambda asked=before: len(self.server.arguments("sync_routers")) > asked, timeout=10)
            if paced:
                idle(agent)
        if answer is not None:  # else the agent may find it gone before it asks
            wait_until(lambda: len(self.server.arguments("sync_routers")) > before, timeout=60)
        idle(agent)

    def facts(self) -> RouterFacts:
        return observed(self.sandbox, NAMESPACE)

    def is_like(self, expected: RouterFacts) -> bool:
        """Tell whether the router is this; while it is built, something may not be there to be asked."""
        try:
            return _equal(self.facts(), expected)
        except (SandboxError, AssertionError):
            return False


def idle(agent: Agent) -> None:
    agent.wait_for(lambda status: status["in_sync"] and not any(status["queue"].values()))


@pytest.fixture
def stage(
    rabbit: Rabbit, dataplane: Dataplane, folder: Path, start_agent: Callable[[Options], Agent]
) -> Iterator[Stage]:
    server = StandIn(rabbit.url)
    server.start()
    chosen = dict(options(rabbit, dataplane, folder))
    chosen["DEFAULT"] = {**chosen["DEFAULT"], "host": BUILD.host}
    yield Stage(server, dataplane, lambda: start_agent(chosen))
    server.stop()


@pytest.fixture
def built() -> RouterFacts:
    return golden(FOLDER / "legacy_kernel.json")


def asked_of(event: Mapping[str, Any]) -> Asked:
    return Asked(event["topic"], event["call"], event["version"], event["args"])


def meaning(asked: Asked) -> tuple[Any, ...]:
    """Return what must be the same in a request of the real agent and in ours."""
    args = dict(asked.args)
    if asked.method == "report_state":
        state = dict(args["agent_state"]["agent_state"])
        assert re.fullmatch(r"[0-9a-f-]{36}", state.pop("uuid"))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", args.pop("time"))
        configurations = state.pop("configurations")
        state["keys"] = sorted(configurations)
        state |= {key: value for key, value in configurations.items() if key not in _OWN}
        args["agent_state"] = state
    return (asked.topic, asked.method, asked.version, sorted(args.items(), key=str))


def assert_asked_the_same(server: StandIn, said: Conversation) -> None:
    """Whatever the real agent asked, this one asked as well, and nothing of another kind."""
    ours = [meaning(asked) for asked in server.asked if asked.method != "update_floatingip_statuses"]
    for event in said.calls():
        if event["call"] != "update_floatingip_statuses":
            assert meaning(asked_of(event)) in ours
    assert {(method, version) for _, method, version, _ in ours} <= {
        ("get_host_ha_router_count", "1.11"),
        ("report_state", "1.4"),
        ("get_router_ids", "1.9"),
        ("sync_routers", "1.0"),
    }


def statuses_told(calls: list[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the statuses of each floating IP in the order they were told."""
    told: dict[str, list[str]] = {}
    for args in calls:
        assert args["router_id"] == ROUTER
        for fip_id, status in args["fip_statuses"].items():
            told.setdefault(fip_id, []).append(status)
    return told


@pytest.mark.feature("process.first-report", "process.start-flag")
def test_a_start_asks_and_reports_what_the_real_agent_does(stage: Stage) -> None:
    said = conversation("agent_start")
    stage.start_agent([])
    wait_until(lambda: len(stage.server.arguments("report_state")) >= 2, timeout=10)
    assert_asked_the_same(stage.server, said)
    methods = stage.server.methods()
    assert methods.index("get_host_ha_router_count") < methods.index("report_state") < methods.index("get_router_ids")
    first, second = (state["agent_state"]["agent_state"] for state in stage.server.arguments("report_state")[:2])
    assert first["start_flag"] is True
    assert "start_flag" not in second


@pytest.mark.feature("process.context")
def test_the_context_of_a_request_has_every_key_of_the_real_one(stage: Stage) -> None:
    stage.start_agent([])
    for asked in stage.server.asked:
        assert set(BUILD.context) <= set(asked.context)
        assert asked.context["_context_roles"] == BUILD.context["_context_roles"]
    requests = {asked.context["_context_request_id"] for asked in stage.server.asked}
    assert len(requests) == len(stage.server.asked)


@pytest.mark.feature("router.life")
@pytest.mark.parametrize("paced", [True, False], ids=["one by one", "all at once"])
def test_a_router_built_step_by_step_is_what_the_real_agent_made_of_it(
    stage: Stage, built: RouterFacts, paced: bool
) -> None:
    agent = stage.start_agent([])
    stage.server.asked.clear()
    stage.replay(agent, BUILD, paced=paced)
    wait_until(lambda: stage.is_like(built), timeout=60)
    calls = stage.server.arguments("sync_routers")
    assert all(call == {"host": BUILD.host, "router_ids": [ROUTER]} for call in calls)
    real = statuses_told([event["args"] for event in BUILD.calls("update_floatingip_statuses")])
    wait_until(lambda: statuses_told(stage.server.arguments("update_floatingip_statuses")) == real, timeout=20)
    assert {asked.version for asked in stage.server.asked if asked.method == "update_floatingip_statuses"} == {"1.1"}
    if paced:
        assert len(calls) == len(BUILD.calls("sync_routers"))


@pytest.mark.feature("router.life")
def test_a_restart_asks_what_the_real_agent_asks_and_changes_nothing(stage: Stage, built: RouterFacts) -> None:
    said = conversation("restart_full_sync")
    stage.start_agent(said.last_answer()).kill()
    before = kernel(stage)
    stage.server.asked.clear()
    agent = stage.start_agent(said.last_answer())
    assert agent.status()["routers"][ROUTER]["last"]["operations"] == []
    assert kernel(stage) == before
    assert_same(stage.facts(), built)
    wait_until(lambda: len(stage.server.arguments("report_state")) >= 2, timeout=10)
    assert_asked_the_same(stage.server, said)
    assert not stage.server.arguments("update_floatingip_statuses")


@pytest.mark.feature("sync.mtu")
def test_a_network_with_another_mtu_changes_that_and_nothing_else(stage: Stage, built: RouterFacts) -> None:
    said = conversation("network_mtu_update")
    agent = stage.start_agent(BUILD.last_answer())
    stage.server.asked.clear()
    stage.replay(agent, said, paced=True)
    mac, _ = built.links["qr-87022031-72"]
    built.links["qr-87022031-72"] = (mac, 1400)
    assert_same(stage.facts(), built)
    assert [call["router_ids"] for call in stage.server.arguments("sync_routers")] == [[ROUTER]]


@pytest.mark.feature("router.life")
@pytest.mark.parametrize("paced", [True, False], ids=["one by one", "all at once"])
def test_a_router_taken_apart_step_by_step_leaves_nothing(stage: Stage, paced: bool) -> None:
    said = conversation("legacy_teardown")
    agent = stage.start_agent(conversation("network_mtu_update").last_answer())
    assert stage.facts().dnat
    stage.server.asked.clear()
    stage.replay(agent, said, paced=paced)
    wait_until(lambda: stage.sandbox.namespaces() == set(), timeout=10)
    wait_until(lambda: [link["ifname"] for link in stage.sandbox.json("ip -j link")] == ["lo"], timeout=10)
    if paced:  # else the router is gone before there is anything to tell
        # The real agent names the floating IP that left, as DOWN. Ours names those that are left, none here, and the
        # server sets DOWN what is on no router.
        real = [event["args"] for event in said.calls("update_floatingip_statuses")]
        assert set(real[-1]["fip_statuses"].values()) == {"DOWN"}
        ours = stage.server.arguments("update_floatingip_statuses")
        assert ours[-1] == {"router_id": ROUTER, "fip_statuses": {}}
        assert "DOWN" not in statuses_told(ours).values()


def kernel(stage: Stage) -> Any:
    """Return what would show that something was taken away and put back: indexes, handles and life times."""
    return (
        stage.sandbox.run(["ip", "-d", "addr"], netns=NAMESPACE),
        stage.sandbox.run(["ip", "route", "show", "table", "all"], netns=NAMESPACE),
        stage.sandbox.run(["nft", "-a", "list", "ruleset"], netns=NAMESPACE),
    )


def _equal(found: RouterFacts, expected: RouterFacts) -> bool:
    return dataclasses.asdict(found) == dataclasses.asdict(expected)
