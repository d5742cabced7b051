# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.functional.support.processes import Agent, Dataplane, Options
from tests.functional.support.rabbit import Rabbit
from tests.functional.support.sandbox import Sandbox


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: the path of a unix socket has at most 107 bytes, pytest's ``tmp_path`` is longer."""
    path = Path(tempfile.mkdtemp(prefix="l3-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


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
    """The RabbitMQ node of this session, running. Whoever stops it need not start it again."""
    node: Rabbit = request.getfixturevalue("rabbit_node")
    if not node.running:
        node.start()
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
