# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from l3agent.ops import topology_json
from l3agent.ops.status import describe_topology, topology
from tests.support.payloads import a_router
from tests.unit.ops.conftest import Site

R1, R2 = "cffffff1-0000-4000-8000-000000000000", "cffffff2-0000-4000-8000-000000000000"


def test_only_changed_routers_are_encoded_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.update(a_router(id=R1), a_router(id=R2))
    drawn: list[str] = []
    monkeypatch.setattr(
        topology_json, "describe_topology", lambda info: drawn.append(info.id) or describe_topology(info)
    )
    for expected in ([R1, R2], [], [R1]):
        if expected == [R1]:
            site.update({**a_router(id=R1), "name": "renamed"})
        drawn.clear()
        assert json.loads(site.get("/topology.json").body) == topology(site.agent.view, [], {})
        assert drawn == expected
