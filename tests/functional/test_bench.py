# SPDX-License-Identifier: Apache-2.0
"""The benchmark runs to its end and says what it should; how long things take is no matter of tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.floor import Floor
from tests.bench.measure import OPERATIONS
from tests.bench.peers import ProcessPerStep

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    if reason := ProcessPerStep.missing():
        pytest.skip(reason)
    figures = tmp_path_factory.mktemp("bench") / "figures.json"
    argv = [sys.executable, "-m", "tests.bench", "--quick", "--json", str(figures)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(figures.read_text())


pytestmark = pytest.mark.kernel


def test_every_operation_of_every_way_has_its_figures(ran: tuple[str, dict[str, Any]]) -> None:
    _, report = ran
    assert {"l3agent", "no pool", ProcessPerStep.name} <= set(report["ways"])
    assert (Floor.name in report["ways"]) == (Floor.missing() is None) == (Floor.name not in report["left_out"])
    for operations in report["ways"].values():
        assert tuple(operations) == OPERATIONS
        for figures in operations.values():
            assert 0 < figures["wall_ms"]["min"] <= figures["wall_ms"]["median"] <= figures["wall_ms"]["max"]
            assert figures["cpu_ms"] > 0 and figures["total_s"] > 0


def test_every_other_way_is_compared_with_ours(ran: tuple[str, dict[str, Any]]) -> None:
    _, report = ran
    others = [name for name in report["ways"] if name != report["ours"]]
    assert list(report["ratios"]) == others
    for ratios in report["ratios"].values():
        assert tuple(ratios) == OPERATIONS
        assert all(set(ratio) == {"wall", "cpu"} for ratio in ratios.values())


def test_the_text_tells_what_the_figures_depend_on(ran: tuple[str, dict[str, Any]]) -> None:
    text, report = ran
    for needed in (report["machine"]["before"]["kernel"], "load", *OPERATIONS, *report["ways"], "Resident memory"):
        assert needed in text


def test_two_checkouts_are_compared_in_one_run(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    argv = [sys.executable, "-m", "tests.bench", "against", str(ROOT), "--routers", "2", "--rounds", "1"]
    done = subprocess.run(
        [*argv, "--json", str(figures)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    compared = json.loads(figures.read_text())["operations"]
    assert tuple(compared) == OPERATIONS
    assert all(one["ratio"] > 0 and one["CPU ratio"] > 0 for one in compared.values())
    assert all(name in done.stdout for name in OPERATIONS)
