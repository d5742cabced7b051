# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from l3agent.exceptions import ConfigError, DataplaneUnavailable
from l3agent.rpc import Client, Connection, RemoteError, StateReporter, Target, admin_context
from l3agent.standalone.entities import stable_id
from l3agent.standalone.standalone_service import StandaloneService
from l3agent.testing import FakeDataplane, running, wait_until

from .conftest import agent_state, utc

R1, R2, R3 = (stable_id("router", name) for name in ("r1", "r2", "r3"))
WATCH = 0.05


class Agent:
    """The RPC side of an agent: reports its state, calls the server, and records casts."""

    target = Target(version="1.4")

    def __init__(self, transport: Any, host: str) -> None:
        self.casts: list[tuple[str, Any]] = []
        self.host = host
        self.connection = Connection(transport, host=host)
        self.connection.create_consumer("l3_agent", [self])
        self.connection.consume_in_threads()
        self.plugin = Client(transport, "q-l3-plugin", timeout=5)
        self.reporter = StateReporter(
            transport,
            host=host,
            binary="neutron-l3-agent",
            topic="l3_agent",
            agent_type="L3 agent",
            configurations=lambda: {"agent_mode": "legacy"},
            timeout=5,
        )

    def call(self, method: str, version: str, **arguments: Any) -> Any:
        return self.plugin.call(admin_context(), method, version=version, **arguments)

    def join(self) -> list[str]:
        """Report the state; return the ids of the routers bound to this agent."""
        self.reporter.report()
        return list(self.call("get_router_ids", "1.9", host=self.host))

    def routers_updated(self, context: Any, routers: list[str]) -> None:
        self.casts.append(("routers_updated", sorted(routers)))

    def router_deleted(self, context: Any, router_id: str) -> None:
        self.casts.append(("router_deleted", router_id))

    def router_removed_from_agent(self, context: Any, payload: dict[str, str]) -> None:
        self.casts.append(("router_removed_from_agent", payload["router_id"]))


@pytest.fixture
def agent(transport: Any) -> Iterator[Agent]:
    agent = Agent(transport, "node1")
    yield agent
    agent.connection.close()


@pytest.fixture
def dataplane() -> FakeDataplane:
    return FakeDataplane()


@pytest.fixture
def service(transport: Any, topology_file: Path, dataplane: FakeDataplane) -> Iterator[StandaloneService]:
    service = StandaloneService(transport, topology_file, dataplane=dataplane, watch_interval=WATCH)
    with running(service):
        yield service


def change(path: Path, old: str, new: str) -> None:
    """Replace the file atomically."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    draft = path.with_suffix(".draft")
    draft.write_text(text.replace(old, new), encoding="utf-8")
    os.replace(draft, path)


def delete_r3(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    change(path, text[text.index("  r3:") : text.index("# Simulated hosts")], "")


def test_an_agent_fetches_its_routers_over_rpc(service: StandaloneService, agent: Agent) -> None:
    assert agent.reporter.report() == "new"
    ids = agent.call("get_router_ids", "1.9", host="node1")
    assert set(ids) == {R1, R2, R3}
    routers = agent.call("sync_routers", "1.0", host="node1", router_ids=[R1])
    assert [router["name"] for router in routers] == ["r1"]
    assert routers[0]["gw_port_host"] == routers[0]["gw_port"]["binding:host_id"] == "node1"
    assert {router["id"] for router in agent.call("sync_routers", "1.0", host="node1", router_ids=None)} == set(ids)


def test_an_agent_without_a_report_gets_the_error_of_neutron(service: StandaloneService, agent: Agent) -> None:
    with pytest.raises(RemoteError) as caught:
        agent.call("sync_routers", "1.0", host="node1", router_ids=[R1])
    assert caught.value.exc_type == "AgentNotFoundByTypeHost"


def test_all_other_methods_of_the_server_answer(service: StandaloneService, agent: Agent, transport: Any) -> None:
    agent.join()
    (router,) = agent.call("sync_routers", "1.0", host="node1", router_ids=[R1])
    (fip,) = router["_floatingips"]
    agent.call("update_floatingip_statuses", "1.1", router_id=R1, fip_statuses={fip["id"]: "ACTIVE"})
    (router,) = agent.call("sync_routers", "1.0", host="node1", router_ids=[R1])
    assert router["_floatingips"][0]["status"] == "ACTIVE"
    assert "L3_ROUTER_NAT" in agent.call("get_service_plugin_list", "1.3")
    assert agent.call("get_host_ha_router_count", "1.11", host="node1") == 0
    assert agent.call("update_all_ha_network_port_statuses", "1.10", host="node1") is None
    assert agent.call("update_ha_routers_states", "1.5", host="node1", states={R1: "active"}) is None
    subnet_id = router["_interfaces"][0]["subnets"][0]["id"]
    assert len(agent.call("get_ports_by_subnet", "1.2", host="node1", subnet_id=subnet_id)) == 4
    networks = agent.call("get_networks", "1.12", filters={"router:external": [True]}, fields=["name", "mtu"])
    assert networks == [{"name": "public", "mtu": 1500}]
    reports = Client(transport, "q-reports-plugin", timeout=5)
    assert reports.call(admin_context(), "has_alive_neutron_server", version="1.2") is True


def test_a_report_over_rpc_without_identity_is_refused(service: StandaloneService, transport: Any) -> None:
    reports = Client(transport, "q-reports-plugin", timeout=5)
    state = {key: value for key, value in agent_state("node1").items() if key != "host"}
    with pytest.raises(RemoteError):
        reports.call(admin_context(), "report_state", agent_state={"agent_state": state}, time=utc().isoformat())


def test_agents_are_notified_of_exactly_the_changed_routers(
    service: StandaloneService, agent: Agent, topology_file: Path
) -> None:
    agent.join()
    change(topology_file, "203.0.113.100: vm1", "203.0.113.100: vm2")
    wait_until(lambda: agent.casts)
    assert agent.casts == [("routers_updated", [R1])]
    delete_r3(topology_file)
    wait_until(lambda: len(agent.casts) > 1)
    assert agent.casts[1:] == [("router_deleted", R3)]


def test_a_moved_router_is_removed_from_one_agent_and_added_to_the_other(
    service: StandaloneService, agent: Agent, topology_file: Path, transport: Any
) -> None:
    agent.join()
    other = Agent(transport, "node2")
    other.join()
    change(topology_file, "  r1:\n", "  r1:\n    agent: node2\n")
    wait_until(lambda: agent.casts and other.casts)
    assert agent.casts == [("router_removed_from_agent", R1)]
    assert other.casts == [("routers_updated", [R1])]
    other.connection.close()


def test_an_invalid_file_changes_nothing_and_its_problem_is_logged(
    service: StandaloneService, agent: Agent, topology_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(agent.join())
    change(topology_file, "mtu: 1450", "mtu: huge")
    with caplog.at_level(logging.ERROR):
        wait_until(lambda: any("networks.red.mtu: huge" in record.getMessage() for record in caplog.records))
    assert set(agent.join()) == before
    change(topology_file, "mtu: huge", "mtu: 1400")
    wait_until(lambda: agent.casts)
    assert agent.casts == [("routers_updated", [R2])]


@pytest.mark.parametrize("escape", [r"\U00110000", r"\UFFFFFFFF"])
def test_an_escape_beyond_unicode_changes_nothing_and_later_versions_are_loaded(
    service: StandaloneService, agent: Agent, topology_file: Path, caplog: pytest.LogCaptureFixture, escape: str
) -> None:
    good = topology_file.read_text(encoding="utf-8")
    agent.join()
    with caplog.at_level(logging.ERROR):
        change(topology_file, "  r3:", f'  "{escape}": {{}}\n  r3:')
        wait_until(lambda: any("topology is unchanged" in record.getMessage() for record in caplog.records))
    line = good[: good.index("  r3:")].count("\n") + 1
    assert f"{topology_file}:{line}: file: invalid YAML" in caplog.text
    assert agent.casts == []
    topology_file.write_text(good, encoding="utf-8")
    delete_r3(topology_file)
    wait_until(lambda: agent.casts == [("router_deleted", R3)])


@pytest.mark.parametrize("harm", ["emptied", "removed"])
def test_a_missing_or_empty_file_removes_nothing(
    service: StandaloneService, agent: Agent, topology_file: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(agent.join())
    text = topology_file.read_text(encoding="utf-8")
    topology_file.unlink() if harm == "removed" else topology_file.write_text("", encoding="utf-8")
    with caplog.at_level(logging.ERROR):
        wait_until(lambda: any("topology is unchanged" in record.getMessage() for record in caplog.records))
    assert set(agent.join()) == before
    topology_file.write_text(text.replace("mtu: 1450", "mtu: 1400"), encoding="utf-8")
    wait_until(lambda: agent.casts)
    assert agent.casts == [("routers_updated", [R2])]


def test_an_invalid_file_is_logged_once_not_at_every_poll(
    service: StandaloneService, topology_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        change(topology_file, "mtu: 1450", "mtu: huge")
        wait_until(lambda: any("topology is unchanged" in record.getMessage() for record in caplog.records))
        polls = [0]
        service.tg.add_timer(WATCH, lambda: polls.__setitem__(0, polls[0] + 1))
        wait_until(lambda: polls[0] > 5)
    assert sum("topology is unchanged" in record.getMessage() for record in caplog.records) == 1


def test_reset_reloads_the_file_at_once(transport: Any, topology_file: Path, agent: Agent) -> None:
    service = StandaloneService(transport, topology_file, watch_interval=3600)
    with running(service):
        agent.join()
        change(topology_file, "mtu: 1450", "mtu: 1400")
        service.reset()
        wait_until(lambda: agent.casts)


def test_an_invalid_file_at_the_start_is_an_error(transport: Any, topology_file: Path) -> None:
    change(topology_file, "mtu: 1450", "mtu: huge")
    with pytest.raises(ConfigError, match=r"networks\.red\.mtu: huge"):
        StandaloneService(transport, topology_file)


def test_a_stopped_service_can_be_started_again(transport: Any, topology_file: Path, agent: Agent) -> None:
    service = StandaloneService(transport, topology_file, watch_interval=WATCH)
    service.stop()
    service.wait()
    for mtu in ("1450", "1400"):
        with running(service):
            agent.join()
            change(topology_file, f"mtu: {mtu}", f"mtu: {int(mtu) - 50}")
            wait_until(lambda: agent.casts.pop() if agent.casts else None)


def test_hosts_of_the_file_are_applied_and_later_only_the_difference(
    service: StandaloneService, dataplane: FakeDataplane, topology_file: Path
) -> None:
    names = {"vm1", "vm2", "vm3", "vm4", "branch", "outside"}
    wait_until(lambda: {key[1] for key in dataplane.states} == names)
    before = len(dataplane.applied)
    change(topology_file, "[10.0.0.6, ", "[10.0.0.7, ")
    wait_until(lambda: len(dataplane.applied) > before)
    assert [key for key, _ in dataplane.applied[before:]] == [("host", "vm2")]


def test_hosts_are_applied_when_the_data_plane_becomes_available(transport: Any, topology_file: Path) -> None:
    dataplane = FakeDataplane()
    dataplane.fail_next(DataplaneUnavailable("unavailable"), operation="inventory")
    with running(StandaloneService(transport, topology_file, dataplane=dataplane, watch_interval=WATCH)):
        wait_until(lambda: ("host", "outside") in dataplane.states)
