# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.functional.conftest import show
from tests.neutron.bed import Bed, running_bed
from tests.neutron.cloud import Cloud, Member
from tests.neutron.l3_agents import BINARY, L3Agent


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """The bed of this session."""
    with running_bed() as bed:
        yield bed


@pytest.fixture
def agent(bed: Bed) -> Iterator[L3Agent]:
    """Our agent, alive and in sync; a test may end and start it."""
    agent = L3Agent(bed.sandbox, bed.folder, bed.deployment)
    agent.log.unlink(missing_ok=True)
    agent.start()
    try:
        bed.wait_alive(BINARY, agent)
        agent.wait_in_sync()
        yield agent
    finally:
        # In good order, so that the next one finds what the server last said, and does not doubt that it is gone.
        agent.stop()
        show(agent.log)


@pytest.fixture
def cloud(bed: Bed) -> Iterator[Cloud]:
    """The API, with nothing in it."""
    cloud = Cloud(bed.rest, bed.deployment.host)
    yield cloud
    cloud.clear()


@pytest.fixture
def external(cloud: Cloud) -> Member:
    """The network that leads outside."""
    return cloud.external_network()
