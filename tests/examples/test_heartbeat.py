# SPDX-License-Identifier: Apache-2.0
"""The example of the README, as a reader would run it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import eventlet
import pytest

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Path]:
    """What stands in the README, in a file."""
    section = README.read_text().partition("## Use the library")[2]
    (example,) = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], flags=re.DOTALL)
    path = tmp_path / "heartbeat.py"
    path.write_text(example)
    yield path


def test_it_is_the_file_in_the_examples_and_has_twenty_lines_at_most(program: Path) -> None:
    without_license = (HERE / "heartbeat.py").read_text().partition("\n")[2]
    assert program.read_text() == without_license
    assert len([line for line in without_license.splitlines() if line.strip()]) <= 20


def test_it_beats_and_stops_cleanly(program: Path, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("[DEFAULT]\ntransport_url = local://\n")
    with subprocess.Popen(
        [sys.executable, str(program), "--config-file", str(tmp_path / "conf")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        with eventlet.Timeout(30):
            assert process.stdout.readline() == "beat\n"
            process.send_signal(signal.SIGINT)
            assert process.wait() == 0
