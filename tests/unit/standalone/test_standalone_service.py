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
from l3agent.standalone.standalone_service import PluginService
from l3agent.testing import FakeDataplane, running, wait_until

from .conftest import agent_state, utc

R1, R2, R3 = (stable_id("router", name) for name in ("r1", "r2", "r3"))
WATCH = 0.05


class Agent:
    """The wire side of an agent: reports, asks, and remembers what it is told."""

    target = Target(version="1.4")

    def __init__(self, transport: Any, host: str) -> None:
        self.told: list[tuple[str, Any]] = []
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

    def ask(self, method: str, version: str, **arguments: Any) -> Any:
        return self.plugin.call(admin_context(), method, version=version, **arguments)

    def join(self) -> list[str]:
        """Report, and take over the routers."""
        self.reporter.report()
        return list(self.ask("get_router_ids", "1.9", host=self.host))

    def routers_updated(self, context: Any, routers: list[str]) -> None:
        self.told.append(("routers_updated", sorted(routers)))

    def router_deleted(self, context: Any, router_id: str) -> None:
        self.told.append(("router_deleted", router_id))

    def router_removed_from_agent(self, context: Any, payload: dict[str, str]) -> None:
        self.told.append(("router_removed_from_agent", payload["router_id"]))


@pytest.fixture
def agent(transport: Any) -> Iterator[Agent]:
    agent = Agent(transport, "node1")
    yield agent
    agent.connection.close()


@pytest.fixture
def dataplane() -> FakeDataplane:
    return FakeDataplane()


@pytest.fixture
def service(transport: Any, topology_file: Path, dataplane: FakeDataplane) -> Iterator[PluginService]:
    service = PluginService(transport, topology_file, dataplane=dataplane, watch_interval=WATCH)
    with running(service):
        yield service


def change(path: Path, old: str, new: str) -> None:
    """Replace the file as a careful editor does."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    draft = path.with_suffix(".draft")
    draft.write_text(text.replace(old, new), encoding="utf-8")
    os.replace(draft, path)


def without_r3(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    change(path, text[text.index("  r3:") : text.index("# Namespaces that")], "")


def test_an_agent_finds_its_routers_over_the_wire(service: PluginService, agent: Agent) -> None:
    assert agent.reporter.report() == "new"
    ids = agent.ask("get_router_ids", "1.9", host="node1")
    assert set(ids) == {R1, R2, R3}
    routers = agent.ask("sync_routers", "1.0", host="node1", router_ids=[R1])
    assert [router["name"] for router in routers] == ["r1"]
    assert routers[0]["gw_port_host"] == routers[0]["gw_port"]["binding:host_id"] == "node1"
    assert {router["id"] for router in agent.ask("sync_routers", "1.0", host="node1", router_ids=None)} == set(ids)


def test_who_never_reported_gets_the_error_of_the_real_server(service: PluginService, agent: Agent) -> None:
    with pytest.raises(RemoteError) as caught:
        agent.ask("sync_routers", "1.0", host="node1", router_ids=[R1])
    assert caught.value.exc_type == "AgentNotFoundByTypeHost"


def test_everything_else_that_an_agent_may_ask_is_answered(
    service: PluginService, agent: Agent, transport: Any
) -> None:
    agent.join()
    (router,) = agent.ask("sync_routers", "1.0", host="node1", router_ids=[R1])
    (fip,) = router["_floatingips"]
    agent.ask("update_floatingip_statuses", "1.1", router_id=R1, fip_statuses={fip["id"]: "ACTIVE"})
    (router,) = agent.ask("sync_routers", "1.0", host="node1", router_ids=[R1])
    assert router["_floatingips"][0]["status"] == "ACTIVE"
    assert "L3_ROUTER_NAT" in agent.ask("get_service_plugin_list", "1.3")
    assert agent.ask("get_host_ha_router_count", "1.11", host="node1") == 0
    assert agent.ask("update_all_ha_network_port_statuses", "1.10", host="node1") is None
    assert agent.ask("update_ha_routers_states", "1.5", host="node1", states={R1: "active"}) is None
    subnet_id = router["_interfaces"][0]["subnets"][0]["id"]
    assert len(agent.ask("get_ports_by_subnet", "1.2", host="node1", subnet_id=subnet_id)) == 4
    networks = agent.ask("get_networks", "1.12", filters={"router:external": [True]}, fields=["name", "mtu"])
    assert networks == [{"name": "public", "mtu": 1500}]
    reports = Client(transport, "q-reports-plugin", timeout=5)
    assert reports.call(admin_context(), "has_alive_neutron_server", version="1.2") is True


def test_a_report_over_the_wire_that_says_nothing_is_refused(service: PluginService, transport: Any) -> None:
    reports = Client(transport, "q-reports-plugin", timeout=5)
    state = {key: value for key, value in agent_state("node1").items() if key != "host"}
    with pytest.raises(RemoteError):
        reports.call(admin_context(), "report_state", agent_state={"agent_state": state}, time=utc().isoformat())


def test_agents_are_told_exactly_what_changed(service: PluginService, agent: Agent, topology_file: Path) -> None:
    agent.join()
    change(topology_file, "203.0.113.100: vm1", "203.0.113.100: vm2")
    wait_until(lambda: agent.told)
    assert agent.told == [("routers_updated", [R1])]
    without_r3(topology_file)
    wait_until(lambda: len(agent.told) > 1)
    assert agent.told[1:] == [("router_deleted", R3)]


def test_a_moved_router_leaves_one_agent_and_comes_to_the_other(
    service: PluginService, agent: Agent, topology_file: Path, transport: Any
) -> None:
    agent.join()
    other = Agent(transport, "node2")
    other.join()
    change(topology_file, "  r1:\n", "  r1:\n    agent: node2\n")
    wait_until(lambda: agent.told and other.told)
    assert agent.told == [("router_removed_from_agent", R1)]
    assert other.told == [("routers_updated", [R1])]
    other.connection.close()


def test_a_bad_file_leaves_everything_as_it_was_and_says_why(
    service: PluginService, agent: Agent, topology_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(agent.join())
    change(topology_file, "mtu: 1450", "mtu: huge")
    with caplog.at_level(logging.ERROR):
        wait_until(lambda: any("networks.red.mtu: huge" in record.getMessage() for record in caplog.records))
    assert set(agent.join()) == before
    change(topology_file, "mtu: huge", "mtu: 1400")
    wait_until(lambda: agent.told)
    assert agent.told == [("routers_updated", [R2])]


@pytest.mark.parametrize("escape", [r"\U00110000", r"\UFFFFFFFF"])
def test_an_escape_beyond_unicode_leaves_everything_as_it_was_and_the_file_is_followed_on(
    service: PluginService, agent: Agent, topology_file: Path, caplog: pytest.LogCaptureFixture, escape: str
) -> None:
    good = topology_file.read_text(encoding="utf-8")
    agent.join()
    with caplog.at_level(logging.ERROR):
        change(topology_file, "  r3:", f'  "{escape}": {{}}\n  r3:')
        wait_until(lambda: any("stays as it was" in record.getMessage() for record in caplog.records))
    line = good[: good.index("  r3:")].count("\n") + 1
    assert f"{topology_file}:{line}: file: no valid YAML" in caplog.text
    assert agent.told == []
    topology_file.write_text(good, encoding="utf-8")
    without_r3(topology_file)
    wait_until(lambda: agent.told == [("router_deleted", R3)])


@pytest.mark.parametrize("harm", ["emptied", "removed"])
def test_a_file_that_is_gone_or_empty_removes_nothing(
    service: PluginService, agent: Agent, topology_file: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(agent.join())
    text = topology_file.read_text(encoding="utf-8")
    topology_file.unlink() if harm == "removed" else topology_file.write_text("", encoding="utf-8")
    with caplog.at_level(logging.ERROR):
        wait_until(lambda: any("stays as it was" in record.getMessage() for record in caplog.records))
    assert set(agent.join()) == before
    topology_file.write_text(text.replace("mtu: 1450", "mtu: 1400"), encoding="utf-8")
    wait_until(lambda: agent.told)
    assert agent.told == [("routers_updated", [R2])]


def test_a_bad_file_is_logged_once_and_not_at_every_look(
    service: PluginService, topology_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        change(topology_file, "mtu: 1450", "mtu: huge")
        wait_until(lambda: any("stays as it was" in record.getMessage() for record in caplog.records))
        looks = [0]
        service.tg.add_timer(WATCH, lambda: looks.__setitem__(0, looks[0] + 1))
        wait_until(lambda: looks[0] > 5)
    assert sum("stays as it was" in record.getMessage() for record in caplog.records) == 1


def test_reset_reads_the_file_at_once(transport: Any, topology_file: Path, agent: Agent) -> None:
    service = PluginService(transport, topology_file, watch_interval=3600)
    with running(service):
        agent.join()
        change(topology_file, "mtu: 1450", "mtu: 1400")
        service.reset()
        wait_until(lambda: agent.told)


def test_a_bad_file_at_the_start_is_refused(transport: Any, topology_file: Path) -> None:
    change(topology_file, "mtu: 1450", "mtu: huge")
    with pytest.raises(ConfigError, match=r"networks\.red\.mtu: huge"):
        PluginService(transport, topology_file)


def test_a_service_that_was_stopped_can_start_again(transport: Any, topology_file: Path, agent: Agent) -> None:
    service = PluginService(transport, topology_file, watch_interval=WATCH)
    service.stop()
    service.wait()
    for mtu in ("1450", "1400"):
        with running(service):
            agent.join()
            change(topology_file, f"mtu: {mtu}", f"mtu: {int(mtu) - 50}")
            wait_until(lambda: agent.told.pop() if agent.told else None)


def test_the_kernel_gets_hosts_of_the_file_and_only_the_difference_later(
    service: PluginService, dataplane: FakeDataplane, topology_file: Path
) -> None:
    names = {"vm1", "vm2", "vm3", "vm4", "branch", "outside"}
    wait_until(lambda: {key[1] for key in dataplane.states} == names)
    before = len(dataplane.applied)
    change(topology_file, "[10.0.0.6, ", "[10.0.0.7, ")
    wait_until(lambda: len(dataplane.applied) > before)
    assert [key for key, _ in dataplane.applied[before:]] == [("host", "vm2")]


def test_hosts_wait_for_a_data_plane_that_is_away(transport: Any, topology_file: Path) -> None:
    dataplane = FakeDataplane()
    dataplane.fail_next(DataplaneUnavailable("away"), operation="inventory")
    with running(PluginService(transport, topology_file, dataplane=dataplane, watch_interval=WATCH)):
        wait_until(lambda: ("host", "outside") in dataplane.states)
