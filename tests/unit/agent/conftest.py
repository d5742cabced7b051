# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from l3agent.conf import register_opts
from l3agent.rpc import FailureLog, get_transport
from l3agent.service import Service
from l3agent.testing import FakeDataplane, FakePlugin, running
from tests.support.agents import MakeAgent, OpenAgent, ServiceOf


@pytest.fixture
def conf(request: pytest.FixtureRequest, tmp_path: Path) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    register_opts(conf)
    conf([])
    conf.set_override("host", "node1")
    conf.set_override("state_path", str(tmp_path))
    conf.set_override("state_cache_interval", 0.05, group="l3agent")
    conf.set_override("rpc_response_max_timeout", 2)
    conf.set_override("retry_min", 0.02, group="l3agent")
    conf.set_override("retry_max", 0.1, group="l3agent")
    conf.set_override("resync_jitter", 0, group="l3agent")
    return conf


@pytest.fixture
def transport(conf: cfg.ConfigOpts, request: pytest.FixtureRequest) -> Any:
    transport = get_transport(conf, f"local:///{request.node.name[:40]}")
    conf.set_override("rpc_response_timeout", 1) if "rpc_response_timeout" in conf else None
    return transport


@pytest.fixture
def dataplane() -> FakeDataplane:
    return FakeDataplane()


@pytest.fixture
def plugin(transport: Any) -> FakePlugin:
    return FakePlugin(transport)


@pytest.fixture
def make_agent(conf: cfg.ConfigOpts, transport: Any, dataplane: FakeDataplane) -> MakeAgent:
    def make() -> OpenAgent:
        return OpenAgent(conf, "node1", dataplane=dataplane, transport=transport)

    return make


@pytest.fixture
def service_of(conf: cfg.ConfigOpts, transport: Any) -> ServiceOf:
    def make(agent: OpenAgent) -> Service:
        return Service.create(
            binary="neutron-l3-agent",
            topic="l3_agent",
            report_interval=30,
            manager=agent,
            conf=conf,
            host="node1",
            transport=transport,
            periodic_interval=0,
        )

    return make


@pytest.fixture
def agent(make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin) -> Iterator[OpenAgent]:
    """Return a running agent, with its server."""
    agent = make_agent()
    with running(plugin, service_of(agent)):
        yield agent


@pytest.fixture(autouse=True)
def failure_logs_end_with_their_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Discard failure counts, which are logged up to two minutes later, in the next test."""
    logs = []
    summarise = FailureLog._summarise

    def recorded(self: FailureLog, cause: str) -> None:
        logs.append(self)
        summarise(self, cause)

    monkeypatch.setattr(FailureLog, "_summarise", recorded)
    yield
    for log in logs:
        log._counts = dict.fromkeys(log._counts, 0)
