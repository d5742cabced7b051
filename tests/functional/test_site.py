# SPDX-License-Identifier: Apache-2.0
"""Two nodes on one RabbitMQ, nearly as the README sets them up: agents of ``l3-agentctl serve``, each with its data
plane in a network and mount namespace of its own, but beside the broker; and what agents make of a bad server, and of
a full disk."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from l3agent.demo.samples import sample
from l3agent.standalone.entities import stable_id
from l3agent.testing import wait_until
from tests.support.processes import SCRIPTS, Agent, Dataplane, Options, a_machine, write_conf
from tests.support.rabbit import Rabbit
from tests.support.sandbox import Sandbox

R1, R2, R3 = (stable_id("router", name) for name in ("r1", "r2", "r3"))
_PATIENCE_S = 90


def ctl(*arguments: str, status: int = 0) -> str:
    """Run l3-agentctl to its end and return what it wrote."""
    argv = [str(SCRIPTS / "l3-agentctl"), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    assert done.returncode == status, done
    return done.stdout


class Node:
    """An agent, its data plane and the machine they work on."""

    def __init__(self, name: str, machine: Dataplane, rabbit: Rabbit) -> None:
        folder = machine.socket_path.parent
        options: Options = {
            "DEFAULT": {"host": name, "state_path": folder, "transport_url": rabbit.url, "rpc_response_timeout": 20},
            "AGENT": {"report_interval": 1},
            "dataplane": {"spawn_dataplane": False, "socket": machine.socket_path},
            "l3agent": {"retry_min": 0.2},
        }
        self.machine = machine
        self.agent = Agent(folder, options)
        self.conf = f"--config-file={folder / 'l3-agent.conf'}"

    def namespaces(self) -> set[str]:
        """Return the ids of the routers that the kernel of this node has."""
        found = self.machine.sandbox.namespaces()
        return {name.removeprefix("qrouter-") for name in found if name.startswith("qrouter-")}


Serve = Callable[..., None]


@pytest.fixture
def topology(folder: Path) -> Path:
    path = folder / "topology.yaml"
    path.write_text(sample("topology.yaml").read_text().replace("  r2:\n", "  r2:\n    agent: node2\n"))
    return path


@pytest.fixture
def serve(rabbit: Rabbit, folder: Path, topology: Path) -> Iterator[Serve]:
    """Start the server by its command line, in the place of one that runs."""
    processes: list[subprocess.Popen[bytes]] = []
    conf = write_conf(folder / "serve.conf", {"DEFAULT": {"state_path": folder}, "standalone": {"watch_interval": 0.1}})

    def end() -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(_PATIENCE_S)

    def start(*more: str) -> None:
        end()
        argv = [str(SCRIPTS / "l3-agentctl"), "serve", str(topology), "--transport-url", rabbit.url]
        with (folder / "serve.log").open("ab") as log:
            argv += ["--config-file", str(conf), *more]
            processes.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    yield start
    end()
    print((folder / "serve.log").read_text())


@pytest.fixture
def nodes(rabbit: Rabbit) -> Iterator[tuple[Node, Node]]:
    with a_machine() as first, a_machine() as second:
        nodes = Node("node1", first, rabbit), Node("node2", second, rabbit)
        yield nodes
        for node in nodes:
            if node.agent.log.exists():
                node.agent.kill()
                print(node.agent.log.read_text(errors="replace"))


def in_sync_with(*routers: str) -> Callable[[dict[str, Any]], bool]:
    def reached(status: dict[str, Any]) -> bool:
        states = {router: entry["state"] for router, entry in status["routers"].items()}
        return bool(status["in_sync"]) and states == dict.fromkeys(routers, "active")

    return reached


@pytest.mark.feature("operation.check")
def test_two_agents_on_one_broker_as_a_new_user_sets_them_up(
    serve: Serve, nodes: tuple[Node, Node], topology: Path
) -> None:
    first, second = nodes
    serve()
    # Whoever comes first gets what is for nobody in particular.
    first.agent.start()
    first.agent.wait_for(in_sync_with(R1, R3), _PATIENCE_S)
    second.agent.start()
    second.agent.wait_for(in_sync_with(R2), _PATIENCE_S)
    assert (first.namespaces(), second.namespaces()) == ({R1, R3}, {R2})

    checked = {one["what"]: one for one in json.loads(ctl("check", "--json", first.conf))}
    assert checked["broker"]["state"] == checked["server"]["state"] == "ok"
    assert "2 routers: 2 active" in ctl("status", first.conf)
    assert ctl("plan", "--all", "--exit-code", second.conf) == f"# router {R2}: 0 operations\n"
    assert "10.0.0.5 becomes 203.0.113.101" in ctl("trace", "r2", "10.0.0.5", "203.0.113.1", second.conf)
    assert "router r2" in ctl("graph", second.conf) and "router r1" not in ctl("graph", second.conf)

    topology.write_text(topology.read_text().replace("agent: node2", "agent: node1"))
    first.agent.wait_for(in_sync_with(R1, R2, R3), _PATIENCE_S)
    second.agent.wait_for(in_sync_with(), _PATIENCE_S)
    wait_until(lambda: (first.namespaces(), second.namespaces()) == ({R1, R2, R3}, set()), timeout=_PATIENCE_S)


@pytest.mark.feature("operation.fault-injection")
def test_a_slow_server_that_loses_messages_is_made_good_by_a_resync(
    serve: Serve, nodes: tuple[Node, Node], topology: Path, folder: Path
) -> None:
    node, _ = nodes
    topology.write_text(topology.read_text().replace("agent: node2", "agent: node1"))
    serve("--answer-delay", "0.5", "--lose-casts", "1")
    node.agent.start()
    node.agent.wait_for(in_sync_with(R1, R2, R3), _PATIENCE_S)
    topology.write_text(topology.read_text().replace("203.0.113.100: vm1", "203.0.113.102: vm1"))
    wait_until(lambda: "drops cast routers_updated" in (folder / "serve.log").read_text(), timeout=_PATIENCE_S)
    assert "203.0.113.102" not in ctl("show", "r1", node.conf)
    ctl("resync", node.conf)
    wait_until(lambda: "203.0.113.102" in ctl("show", "r1", node.conf), timeout=_PATIENCE_S)


@pytest.mark.feature("operation.fault-injection")
def test_a_server_half_of_whose_calls_fail_is_asked_until_all_is_as_it_should_be(
    serve: Serve, nodes: tuple[Node, Node], topology: Path
) -> None:
    node, _ = nodes
    topology.write_text(topology.read_text().replace("agent: node2", "agent: node1"))
    serve("--fail-calls", "0.5")
    node.agent.start()
    node.agent.wait_for(in_sync_with(R1, R2, R3), _PATIENCE_S)
    for number in (102, 103, 104):
        topology.write_text(re.sub(r"203\.0\.113\.\d+: vm1", f"203.0.113.{number}: vm1", topology.read_text()))
        wait_until(lambda number=number: f"203.0.113.{number}" in ctl("show", "r1", node.conf), timeout=_PATIENCE_S)  # type: ignore[misc]
    assert "injected fault" in node.agent.log.read_text()


@pytest.mark.feature("operation.fault-injection")
def test_a_full_disk_stops_no_router_and_is_said_where_something_must_be_kept(sandbox: Sandbox, folder: Path) -> None:
    small, topology = "/run/small", folder / "topology.yaml"
    topology.write_text(sample("topology.yaml").read_text())
    conf = write_conf(
        folder / "agent.conf",
        {"DEFAULT": {"host": "n", "state_path": small}, "standalone": {"topology": topology, "watch_interval": 0.1}},
    )
    sandbox.run(["mkdir", small])
    sandbox.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small])
    with (folder / "agent.log").open("wb") as log:
        agent = sandbox.popen(
            [str(SCRIPTS / "l3-agent"), "--config-file", str(conf)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = sandbox.argv([str(SCRIPTS / "l3-agentctl"), *arguments, "--config-file", str(conf)])
        return subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)

    try:
        wait_until(lambda: "in sync" in (said := ask("status").stdout) and "3 active" in said, timeout=_PATIENCE_S)
        sandbox.run(["sh", "-c", f"head -c 1M /dev/zero > {small}/waste || true"])
        topology.write_text(topology.read_text().replace("203.0.113.100: vm1", "203.0.113.102: vm1"))
        wait_until(lambda: "203.0.113.102" in ask("show", "r1").stdout, timeout=_PATIENCE_S)
        said = ask("pause", "r1")
        assert said.returncode == 1 and "No space left" in said.stderr and len(said.stderr.splitlines()) == 1
        assert json.loads(ask("status", "--json").stdout)["paused"] == []
        sandbox.run(["rm", f"{small}/waste"])
        assert ask("pause", "r1").returncode == 0
    finally:
        agent.kill()
        print((folder / "agent.log").read_text(errors="replace"))
