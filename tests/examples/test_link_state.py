# SPDX-License-Identifier: Apache-2.0
"""Another type of agent as its own program, over a real broker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import eventlet
import pytest
from oslo_config import cfg

from l3agent.exceptions import ServerUnavailable
from l3agent.rpc import Client, Connection, admin_context, get_transport
from l3agent.testing import wait_until
from tests.support.rabbit import Rabbit

HERE = Path(__file__).parent / "link_state"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the agent with pip: its console script in ``bin``, its sample in ``share/link-state-agent``."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(HERE, folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(folder / "source")], check=True, timeout=120)
    return folder / "site"


class Links:
    """Fake ``/sys/class/net``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def put(self, name: str, state: str) -> None:
        (self.folder / name).mkdir(exist_ok=True)
        (self.folder / name / "operstate.new").write_text(f"{state}\n")
        (self.folder / name / "operstate.new").rename(self.folder / name / "operstate")


class Observer:
    def __init__(self) -> None:
        self.changes: list[tuple[str, str, str | None]] = []

    def link_changed(self, context: Any, host: str, name: str, state: str | None) -> None:
        self.changes.append((host, name, state))


@pytest.fixture
def links(tmp_path: Path) -> Links:
    return Links(tmp_path / "net")


@pytest.fixture
def sample(installed: Path, rabbit: Rabbit, links: Links, tmp_path: Path) -> Path:
    """Write the agent's own sample with the options of the test."""
    text = (installed / "share" / "link-state-agent" / "link-state-agent.conf").read_text()
    text = text.replace("rabbit://guest:guest@127.0.0.1:5672/", rabbit.url).replace("#host = node1", "host = node1")
    text = text.replace("control_exchange = link-state", f"control_exchange = link-state-{uuid.uuid4()}")
    path = tmp_path / "link-state-agent.conf"
    path.write_text(text.replace("interval = 1", f"interval = 0.05\nfolder = {links.folder}"))
    return path


@pytest.fixture
def start(installed: Path, sample: Path, tmp_path: Path) -> Iterator[Any]:
    processes: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        processes.append(
            subprocess.Popen(
                [str(installed / "bin" / "link-state-agent"), "--config-file", str(sample)],
                env={**os.environ, "PYTHONPATH": str(installed), "PYTHONWARNINGS": "ignore"},
                cwd=tmp_path,
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def links_or_none(client: Client) -> Any:
    try:
        return client.call(admin_context(), "get_links")
    except ServerUnavailable:
        return None


@pytest.mark.feature("process.library")
def test_it_answers_calls_tells_of_changes_and_stops_in_order(sample: Path, start: Any, links: Links) -> None:
    links.put("eth0", "up")
    links.put("eth1", "down")
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(sample)])
    transport = get_transport(conf)
    observer = Observer()
    listening = Connection(transport, host="observer")
    listening.create_consumer("link_observer", [observer])
    listening.consume_in_threads()
    process = start()

    wait_until(lambda: len(observer.changes) == 2, timeout=120)
    assert observer.changes == [("node1", "eth0", "up"), ("node1", "eth1", "down")]
    client = Client(transport, "link_state", timeout=60)
    # The agent may have cast its links before the queues exist.
    assert wait_until(lambda: links_or_none(client), timeout=60) == {"eth0": "up", "eth1": "down"}
    assert client.call(admin_context(), "get_links", server="node1") == {"eth0": "up", "eth1": "down"}
    links.put("eth1", "up")
    wait_until(lambda: len(observer.changes) == 3, timeout=60)
    assert observer.changes[2] == ("node1", "eth1", "up")

    process.send_signal(signal.SIGTERM)
    with eventlet.Timeout(60):
        assert process.wait() == 0
    listening.close()
    with eventlet.Timeout(10, False):
        transport.cleanup()


def test_a_wrong_folder_is_one_line_and_status_78(sample: Path, start: Any) -> None:
    sample.write_text(sample.read_text().replace("folder = ", "folder = /nowhere"))
    with eventlet.Timeout(120):
        assert start().wait() == 78
