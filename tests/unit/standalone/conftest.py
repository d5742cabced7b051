# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from l3agent.demo.samples import sample
from l3agent.rpc import get_transport
from l3agent.standalone.l3_plugin import AGENT_TYPE, Plugin


@pytest.fixture
def topology_file(tmp_path: Path) -> Path:
    """Return a copy of the sample that a test may change."""
    path = tmp_path / "topology.yaml"
    path.write_text(sample("topology.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return path


@pytest.fixture
def transport(request: pytest.FixtureRequest) -> Any:
    """Return a transport for this test only."""
    return get_transport(cfg.ConfigOpts(), f"local:///{id(request.node)}")


def agent_state(host: str, **changes: Any) -> dict[str, Any]:
    identity = {"host": host, "agent_type": AGENT_TYPE, "binary": "neutron-l3-agent", "topic": "l3_agent"}
    return {**identity, "configurations": {"agent_mode": "legacy"}, **changes}


def utc(seconds: float = 0.0) -> datetime.datetime:
    """Return the time of day in ``seconds`` from now, in the format of state reports."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=seconds)


def report(plugin: Plugin, host: str, **changes: Any) -> str | None:
    return plugin.report_state(agent_state(host, **changes), utc())
