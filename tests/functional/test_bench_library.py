# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the library runs to its end and says what it should; how long things take is no matter of tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.library.__main__ import over_rabbit
from tests.support.rabbit import Rabbit

ROOT = Path(__file__).parents[2]


def test_services_and_messages_in_process_have_their_figures(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "tests.bench.library",
        "services",
        "inprocess",
        "--quick",
        "--json",
        tmp_path / "json",
    ]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "json").read_text())
    assert report["services"]["ours"]["added"] == 50
    assert report["services"]["oslo"]["added"] == 10  # the next one is never taken
    assert list(report["inprocess"]) == [
        "local:///bench ours",
        "local:///bench bare",
        "fake:// bare",
        "kombu+memory:// bare",
    ]
    for figures in report["inprocess"].values():
        assert figures["wall"] > 0 and figures["cpu"] > 0 and figures["idle"] >= 0
    for told in (*report["inprocess"], "50 started", "10 started", "serial calls/s", "load"):
        assert told in done.stdout


def test_messages_over_a_broker_have_theirs_beside_those_of_a_bare_loop(rabbit: Rabbit) -> None:
    figures = over_rabbit(rabbit.url, rounds=1, messages=10)
    assert list(figures) == ["call", "cast"]
    for ways in figures.values():
        assert ways["ours"]["cpu"] > 0 and ways["bare"]["cpu"] > 0 and ways["cpu_ratio"] > 0
