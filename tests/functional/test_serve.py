# SPDX-License-Identifier: Apache-2.0
"""``l3-agentctl serve`` as a process on a real broker."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from l3agent.demo.samples import sample
from l3agent.exceptions import ServerUnavailable
from l3agent.rpc import Client, Connection, StateReporter, Target, admin_context, get_transport
from l3agent.standalone.entities import stable_id
from l3agent.testing import wait_until
from tests.support.rabbit import Rabbit

R1, R2, R3 = (stable_id("router", name) for name in ("r1", "r2", "r3"))


class Server:
    """The server process."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._log = (folder / "serve.log").open("ab")
        self._argv = [sys.executable, "-m", "l3agent.cli.main", "serve", *arguments]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self._argv, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL)

    def end(self, signo: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(signo)
        return wait_until(lambda: (self.process.poll(),) if self.process.poll() is not None else None, 15)[0]

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()


class Agent:
    """An agent reduced to its RPC messages."""

    target = Target(version="1.4")

    def __init__(self, transport: Any, host: str) -> None:
        self.host = host
        self.told: list[tuple[str, Any]] = []
        self.words: list[str | None] = []
        self.lost = False
        self._plugin = Client(transport, "q-l3-plugin", timeout=10, max_timeout=10)
        self.connection = Connection(transport, host=host, on_lost=self._on_lost)
        self.connection.create_consumer("l3_agent", [self])
        self.connection.consume_in_threads()
        self._reporter = StateReporter(
            transport,
            host=host,
            binary="neutron-l3-agent",
            topic="l3_agent",
            agent_type="L3 agent",
            configurations=dict,
            timeout=10,
        )

    def join(self) -> set[str]:
        """Report until a server answers, and fetch the routers."""
        self.words.append(wait_until(self._reporter.report, 60))
        return set(self.request("get_router_ids", "1.9"))

    def request(self, method: str, version: str, **arguments: Any) -> Any:
        return self._plugin.call(admin_context(), method, version=version, host=self.host, **arguments)

    def request_or_none(self, method: str, version: str, **arguments: Any) -> Any:
        """Send a request; return None while no server answers."""
        try:
            return self.request(method, version, **arguments)
        except ServerUnavailable:
            return None

    def _on_lost(self) -> None:
        self.lost = True

    def routers_updated(self, context: Any, routers: list[str]) -> None:
        self.told.append(("routers_updated", sorted(routers)))

    def router_deleted(self, context: Any, router_id: str) -> None:
        self.told.append(("router_deleted", router_id))

    def router_removed_from_agent(self, context: Any, payload: dict[str, str]) -> None:
        self.told.append(("router_removed_from_agent", payload["router_id"]))


@pytest.fixture
def topology_file(folder: Path) -> Path:
    path = folder / "topology.yaml"
    path.write_text(sample("topology.yaml").read_text())
    return path


@pytest.fixture
def server(rabbit: Rabbit, folder: Path, topology_file: Path) -> Iterator[Server]:
    (folder / "serve.conf").write_text(f"[DEFAULT]\nstate_path = {folder}\n[standalone]\nwatch_interval = 0.1\n")
    config = ("--config-file", str(folder / "serve.conf"))
    server = Server(folder, str(topology_file), "--transport-url", rabbit.url, *config)
    server.start()
    yield server
    server.close()
    print((folder / "serve.log").read_text())  # pytest shows it where the test failed


@pytest.fixture
def agent(rabbit: Rabbit) -> Iterator[Callable[[str], Agent]]:
    transport = get_transport(cfg.ConfigOpts(), rabbit.url)
    agents: list[Agent] = []

    def make(host: str) -> Agent:
        agents.append(Agent(transport, host))
        return agents[-1]

    yield make
    for one in agents:
        one.connection.close()
    transport.cleanup()


def test_several_agents_on_one_broker_share_a_file(
    server: Server, agent: Callable[[str], Agent], topology_file: Path
) -> None:
    first, second = agent("node1"), agent("node2")
    assert first.join() == {R1, R2, R3}
    assert second.join() == set()
    (router,) = first.request("sync_routers", "1.0", router_ids=[R1])
    assert router["gw_port_host"] == "node1"

    text = topology_file.read_text()
    topology_file.write_text(text.replace("  r2:\n", "  r2:\n    agent: node2\n"))
    wait_until(lambda: ("routers_updated", [R2]) in second.told)
    wait_until(lambda: ("router_removed_from_agent", R2) in first.told)
    start, end = text.index("  r3:"), text.index("# Simulated hosts")
    topology_file.write_text(text[:start] + text[end:])
    wait_until(lambda: ("router_deleted", R3) in first.told and ("router_deleted", R3) in second.told)
    assert server.end() == 0


def test_a_restarted_server_keeps_each_router_with_its_agent_and_has_agents_ask_again(
    server: Server, agent: Callable[[str], Agent], topology_file: Path, folder: Path
) -> None:
    first, second = agent("node1"), agent("node2")
    assert first.join() == {R1, R2, R3}
    wait_until(lambda: (folder / "standalone-agents.json").exists())
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    server.start()
    assert second.join() == set()
    assert first.join() == {R1, R2, R3}
    assert first.words[-1] == "revived"


def test_sighup_reads_a_changed_file_and_a_bad_one_changes_nothing(
    server: Server, agent: Callable[[str], Agent], topology_file: Path, folder: Path
) -> None:
    first = agent("node1")
    first.join()
    text = topology_file.read_text()
    topology_file.write_text(text.replace("mtu: 1450", "mtu: huge"))
    wait_until(lambda: "networks.red.mtu: huge" in (folder / "serve.log").read_text())
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: (folder / "serve.log").read_text().count("networks.red.mtu: huge") == 2)
    assert first.join() == {R1, R2, R3}
    topology_file.write_text(text.replace("mtu: 1450", "mtu: 1400"))
    wait_until(lambda: first.told == [("routers_updated", [R2])])


def test_a_change_made_while_the_broker_was_away_reaches_the_agent(
    server: Server, agent: Callable[[str], Agent], topology_file: Path, rabbit: Rabbit
) -> None:
    first = agent("node1")
    first.join()
    rabbit.stop()
    topology_file.write_text(topology_file.read_text().replace("mtu: 1450", "mtu: 1400"))
    rabbit.start()
    # An agent that detected the loss requests a full sync; the other one is notified.
    wait_until(lambda: first.lost or ("routers_updated", [R2]) in first.told, 120)
    (router,) = wait_until(lambda: first.request_or_none("sync_routers", "1.0", router_ids=[R2]), 120)
    assert router["_interfaces"][0]["mtu"] == 1400
