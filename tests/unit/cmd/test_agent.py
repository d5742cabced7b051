# SPDX-License-Identifier: Apache-2.0
"""Invalid invocations of ``l3-agent``: one line on stderr and an exit status, at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EX_UNAVAILABLE, EX_NOPERM, EX_CONFIG = 69, 77, 78


def run(*argv: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=30, check=False)


def start(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "l3agent", *arguments)


def refused(result: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert result.returncode == status, result
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("l3-agent: ")
    for word in words:
        assert word in result.stderr


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str, group: str = "DEFAULT") -> Path:
        path = tmp_path / "agent.conf"
        path.write_text(f"[DEFAULT]\nstate_path = {tmp_path}/state\n[{group}]\n{text}\n")
        return path

    return write


def test_a_file_that_is_missing() -> None:
    refused(start("--config-file", "/nonexistent.conf"), EX_CONFIG, "/nonexistent.conf")


def test_a_folder_that_is_missing() -> None:
    refused(start("--config-dir", "/nonexistent"), EX_CONFIG, "/nonexistent")


def test_a_value_that_is_wrong(options: Callable[..., Path]) -> None:
    refused(start("--config-file", options("router_workers = many", "l3agent")), EX_CONFIG, "router_workers", "many")


def test_an_interface_driver_that_does_not_exist(options: Callable[..., Path]) -> None:
    refused(start("--config-file", options("interface_driver = tape")), EX_CONFIG, "interface_driver", "tape")


@pytest.mark.parametrize("url", ["rabbit//nonsense", "carrier-pigeon://host"])
def test_a_transport_url_that_leads_nowhere(options: Callable[..., Path], url: str) -> None:
    refused(start("--config-file", options(f"transport_url = {url}")), EX_CONFIG, "transport_url")


def test_a_state_path_that_cannot_be(options: Callable[..., Path]) -> None:
    refused(start("--config-file", options("state_path = /proc/nonexistent")), EX_CONFIG, "state_path")


def test_a_topology_that_is_missing(options: Callable[..., Path]) -> None:
    refused(
        start("--config-file", options("topology = /nonexistent.yaml", "standalone")), EX_CONFIG, "nonexistent.yaml"
    )


def test_an_option_that_does_not_exist() -> None:
    refused(start("--nonsense"), EX_CONFIG, "--nonsense")


def test_a_user_without_privilege_and_without_a_helper(options: Callable[..., Path]) -> None:
    path = options("root_helper = /nonexistent/sudo", "AGENT")
    program = (
        "import os, sys; os.geteuid = lambda: 1000; from l3agent.cmd.agent import main; sys.exit(main(sys.argv[1:]))"
    )
    result = run(sys.executable, "-c", program, "--config-file", path)
    refused(result, EX_NOPERM, "/nonexistent/sudo", "l3-agentctl demo")


@pytest.mark.feature("process.hubs")
@pytest.mark.parametrize("hub", ["epolls", "asyncio"])
def test_it_starts_and_logs_on_each_hub(tmp_path: Path, hub: str) -> None:
    """On Python 3.13 the first record raised on the asyncio hub. Without broker and data plane ``--once`` gives up."""
    path = tmp_path / "agent.conf"
    path.write_text(
        f"[DEFAULT]\nstate_path = {tmp_path}\nhost = node1\ntransport_url = rabbit://guest:guest@127.0.0.1:1/\n"
        f"[dataplane]\nspawn_dataplane = false\nsocket = {tmp_path}/nothing.sock\n"
    )
    argv = [sys.executable, "-m", "l3agent", "--config-file", str(path), "--once", "--wait=1"]
    environment = os.environ | {"EVENTLET_HUB": hub}
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert result.returncode == EX_UNAVAILABLE, result
    assert "is neutron-l3-agent on host node1" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_the_mutex_of_the_asyncio_hub_is_a_context_manager() -> None:
    """``logging`` uses it as one since Python 3.13."""
    program = (
        "import eventlet; eventlet.monkey_patch(); from l3agent.service import complete_log_mutex; "
        "complete_log_mutex(); from oslo_log.pipe_mutex import PipeMutex; mutex = PipeMutex()\n"
        "with mutex: print(PipeMutex.__name__, mutex.owner is not None)\n"
        "print(mutex.owner)"
    )
    environment = os.environ | {"EVENTLET_HUB": "asyncio", "PYTHONWARNINGS": "ignore"}
    argv = [sys.executable, "-c", program]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, env=environment)
    assert result.stdout.splitlines() == ["_AsyncioMutex True", "None"], result


def test_the_version() -> None:
    assert "0." in start("--version").stdout


def test_a_journal_without_the_bindings_of_systemd(options: Callable[..., Path]) -> None:
    program = (
        "import sys; sys.modules['systemd'] = None; from l3agent.cmd.agent import main; sys.exit(main(sys.argv[1:]))"
    )
    result = run(sys.executable, "-c", program, "--config-file", options("use_journal = true"))
    refused(result, EX_CONFIG, "use_journal", "python3-systemd")
