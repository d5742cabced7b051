# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cloud import HOST, Cloud, options
from tests.support.crashes import Mortal
from tests.support.kernel import RouterFacts, golden
from tests.support.metadata import Metadata, chain
from tests.support.neutron_server import TOPICS, NeutronServer
from tests.support.node import unchanged_node
from tests.support.payloads import legacy_payload
from tests.support.processes import Agent, Dataplane, Options, a_machine, last_lines
from tests.support.rabbit import Rabbit
from tests.support.sandbox import NOBODY, Sandbox


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: the path of a unix socket has at most 107 bytes, pytest's ``tmp_path`` is longer."""
    path = Path(tempfile.mkdtemp(prefix="l3-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def agent_folder(folder: Path) -> Path:
    """A directory of the agent's user, as state and configuration directories of kolla are."""
    path = folder / "agent"
    path.mkdir()
    folder.chmod(0o755)
    os.chown(path, NOBODY, NOBODY)
    return path


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A machine of its own; whatever runs in it ends with the test."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def dataplane(sandbox: Sandbox, folder: Path) -> Iterator[Dataplane]:
    """The real data-plane process, running."""
    dataplane = Dataplane(sandbox, folder)
    dataplane.start()
    yield dataplane
    dataplane.hang_up()
    show(dataplane.log)


@pytest.fixture(scope="module")
def machine() -> Iterator[Dataplane]:
    """A data plane in a sandbox that the tests of a file share; each uses ids of its own."""
    with a_machine() as machine:
        yield machine


@pytest.fixture
def same_node(machine: Dataplane) -> Iterator[None]:
    """Check that a test in which tenants misbehave leaves the node's own addresses, routes and settings as they were.

    A test file that misbehaves takes it by ``pytest.mark.usefixtures``.
    """
    with unchanged_node(machine.sandbox):
        yield


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    """A data plane that can be killed after any of its sends, shared by the tests of a file."""
    folder = Path(tempfile.mkdtemp(prefix="l3-"))
    try:
        with Sandbox() as sandbox:
            machine = Mortal(sandbox, folder, pool_size=0)
            machine.start()
            yield machine
            machine.hang_up()
            print(last_lines(machine.log))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def rabbit_node() -> Iterator[Rabbit]:
    node = Rabbit(Path(tempfile.mkdtemp(prefix="l3-rabbit-")))
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture
def rabbit(request: pytest.FixtureRequest) -> Rabbit:
    """The RabbitMQ node of this session, running, without calls of earlier tests. A test need not start it again."""
    node: Rabbit = request.getfixturevalue("rabbit_node")
    if not node.running:
        node.start()
    node.purge(*TOPICS)
    return node


@pytest.fixture
def start_agent(folder: Path) -> Iterator[Callable[[Options], Agent]]:
    """Start ``l3-agent`` with these options; it is killed after the test at the latest."""
    agents: list[Agent] = []

    def start(options: Options) -> Agent:
        agents.append(Agent(folder, options))
        agents[-1].start()
        return agents[-1]

    yield start
    for agent in agents:
        agent.kill()
        show(agent.log)


@pytest.fixture
def cloud(
    rabbit: Rabbit, dataplane: Dataplane, folder: Path, start_agent: Callable[[Options], Agent]
) -> Iterator[Cloud]:
    """A running cloud with the captured router, in sync."""
    server = NeutronServer(rabbit.url, HOST, [legacy_payload()])
    server.start()
    try:
        agent = start_agent(options(rabbit, dataplane, folder))
        agent.wait_in_sync()
        yield Cloud(server, agent, dataplane)
    finally:
        server.stop()


@pytest.fixture
def metadata(sandbox: Sandbox, folder: Path) -> Iterator[Metadata]:
    """Nothing is running yet."""
    with chain(sandbox, folder) as metadata:
        yield metadata


@pytest.fixture
def served(metadata: Metadata) -> Metadata:
    """Two routers, and all parts running."""
    metadata.build(range(2))
    metadata.start(0, 1)
    return metadata


@pytest.fixture
def expected() -> RouterFacts:
    """What Neutron's agent made of the captured router; a test changes its copy."""
    return golden(Path(__file__).parents[1] / "scenarios" / "legacy" / "kernel.json")


def show(log: Path) -> None:
    """Print a log; pytest shows it with a test that failed."""
    print(f"--- {log.name}\n{log.read_text(errors='replace')}")
