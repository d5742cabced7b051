# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from l3agent import __version__

MODULE = [sys.executable, "-m", "l3agent.cmd.metadata"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--control-fd"],
        ["--control-fd", "x"],
        ["--control-fd", "0"],
        ["--control-fd", "99"],
        ["--control-fd", "9" * 30],
        ["--fd", "3"],
    ],
)
def test_wrong_arguments(arguments: list[str]) -> None:
    done = subprocess.run([*MODULE, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert done.stderr.startswith("l3-metadata: usage: l3-metadata --control-fd NUMBER")


def test_a_stream_is_no_control_socket() -> None:
    first, second = socket.socketpair()
    with first, second:
        argv = [*MODULE, "--control-fd", str(first.fileno())]
        assert subprocess.run(argv, pass_fds=[first.fileno()], capture_output=True, check=False).returncode == 64


def test_it_ends_when_its_parent_does() -> None:
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with second:
        process = subprocess.Popen([*MODULE, "--control-fd", str(second.fileno())], pass_fds=[second.fileno()])
    first.close()
    assert process.wait(30) == 0


def test_version() -> None:
    done = subprocess.run([*MODULE, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == __version__


def test_it_imports_small_modules_only() -> None:
    """A process for 1,000 routers has a few megabytes."""
    code = "import sys, l3agent.cmd.metadata; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"l3agent.metadata.acceptor", "json", "dataclasses"} <= set(loaded)
    for name in ("eventlet", "oslo_config", "logging", "argparse", "ctypes", "threading", "http", "asyncio", "ssl"):
        assert name not in loaded
