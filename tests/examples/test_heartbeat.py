# SPDX-License-Identifier: Apache-2.0
"""The example of the README, run as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import eventlet
import pytest
from oslo_config import cfg

from l3agent.rpc import Client, admin_context, get_transport
from tests.support.rabbit import Rabbit

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Path]:
    """Write the example of the README to a file."""
    section = README.read_text().partition("## Use the library")[2]
    (example,) = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], flags=re.DOTALL)
    path = tmp_path / "heartbeat.py"
    path.write_text(example)
    yield path


def test_it_is_the_file_in_the_examples_and_has_twenty_lines_at_most(program: Path) -> None:
    without_license = (HERE / "heartbeat.py").read_text().partition("\n")[2]
    assert program.read_text() == without_license
    assert len([line for line in without_license.splitlines() if line.strip()]) <= 20


@pytest.fixture
def start(program: Path, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start it with a transport URL, in a folder from which it finds the installed library only."""
    processes: list[subprocess.Popen[str]] = []

    def start(url: str) -> subprocess.Popen[str]:
        (tmp_path / "conf").write_text(f"[DEFAULT]\ntransport_url = {url}\n")
        argv = [sys.executable, str(program), "--config-file", str(tmp_path / "conf")]
        env = {**os.environ, "PYTHONWARNINGS": "ignore"}
        processes.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def beat(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with eventlet.Timeout(120):
        return process.stdout.readline()


def test_it_beats_and_stops_cleanly(start: Callable[[str], subprocess.Popen[str]]) -> None:
    process = start("local://")
    assert beat(process) == "beat\n"
    process.send_signal(signal.SIGINT)
    with eventlet.Timeout(120):
        assert process.wait() == 0


@pytest.mark.feature("process.library")
def test_it_answers_over_a_broker(start: Callable[[str], subprocess.Popen[str]], rabbit: Rabbit) -> None:
    process = start(rabbit.url)
    assert beat(process) == "beat\n"
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[])
    transport = get_transport(conf, rabbit.url)
    uptime = Client(transport, "heart", timeout=60).call(admin_context(), "uptime")
    assert 0 < uptime <= time.monotonic()
    process.send_signal(signal.SIGTERM)
    with eventlet.Timeout(120):
        assert process.wait() == 0
        transport.cleanup()
