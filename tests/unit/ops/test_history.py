# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from l3agent.agent.results import UpdateResult
from l3agent.ops.history import SAMPLES
from tests.unit.ops.conftest import Site


def a_result(seconds: float) -> UpdateResult:
    return UpdateResult("r", "update", "ok", timings={"wait": seconds / 2, "apply": seconds / 2})


def test_a_sample_tells_what_was_done_since_the_last_one(site: Site) -> None:
    site.history.record_sample()
    for seconds in (0.1, 0.2, 0.9):
        site.agent.results.publish(a_result(seconds))
    site.agent.results.publish(UpdateResult("r", "update", "retry", error="no", name="r1"))
    site.history.record_sample()
    site.history.record_sample()
    told = json.loads(site.get("/history.json").body)
    busy, idle = told["samples"][-2:]
    assert (busy["done"], busy["failed"], busy["median"], busy["worst"]) == (3, 1, 0.2, 0.9)
    assert (idle["done"], idle["failed"], idle["median"], idle["worst"]) == (0, 0, 0.0, 0.0)
    assert (told["host"], told["liveness_failures"], told["readiness_failures"]) == ("node1", [], [])
    assert [(one["name"], one["error"]) for one in told["errors"]] == [("r1", "no")]


def test_it_is_bounded(site: Site) -> None:
    for _ in range(SAMPLES + 50):
        site.history.record_sample()
    assert len(site.history.values()["samples"]) == SAMPLES
