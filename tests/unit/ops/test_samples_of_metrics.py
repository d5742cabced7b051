# SPDX-License-Identifier: Apache-2.0
"""Every metric and label value in alerts and dashboard exists."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.payloads import a_router
from tests.unit.ops.conftest import Site

ETC = Path(__file__).parents[3] / "etc"
RULES = ETC / "prometheus" / "l3agent.rules.yml"
DASHBOARD = ETC / "grafana" / "l3agent.json"


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> Iterator[str]:
    """Yield all expressions of the dashboard."""
    dashboard = json.loads(DASHBOARD.read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    yield dashboard["templating"]["list"][1]["query"]["query"]


@pytest.fixture
def names(site: Site) -> set[str]:
    """Return the names of all series of an agent that has processed a router."""
    site.dataplane.stats = lambda timeout=1.0: {
        "batches": {"ip": {"ok": 1, "refused": 0}},
        "operations": {"add": 1},
        "limits": {"descriptors": [1, 2]},
        "overflows": {"neighbour table": 0},
    }
    site.update(a_router())
    site.metrics.observe_hub_lag(0.1)
    families = text_string_to_metric_families(site.get("/metrics").text)
    return {sample.name for family in families for sample in family.samples}


def named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:l3agent|process)_\w+", expression))


@pytest.mark.feature("operation.metrics")
def test_every_metric_that_an_alert_names_exists(names: set[str]) -> None:
    for alert in alerts():
        assert named(alert["expr"]) <= names | {"up"}, alert["alert"]
        assert alert["annotations"]["summary"] and alert["labels"]["severity"] in ("critical", "warning", "info")
    assert len(alerts()) >= 10


def test_metrics_that_an_annotation_names_exist(names: set[str]) -> None:
    for alert in alerts():
        for metric in named(" ".join(alert["annotations"].values())):
            assert metric in names or f"{metric}_count" in names, metric


@pytest.mark.feature("operation.metrics")
def test_every_metric_that_the_dashboard_names_exists(names: set[str]) -> None:
    found = set().union(*(named(query) for query in queries()))
    assert found - names == set()
    # Every metric of the agent is on the dashboard.
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names if name.startswith("l3agent_")}
    assert ours - {re.sub(r"_(bucket|sum|count)$", "", name) for name in found} == set()


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells


@pytest.mark.feature("operation.metrics")
@pytest.mark.promtool
def test_promtool_accepts_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
