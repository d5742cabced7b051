# SPDX-License-Identifier: Apache-2.0
"""Every command of l3-agentctl with wrong input, without a daemon and without permission: one helpful line and the exit
status of the table in the README. A new command without a row here fails the first test."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import eventlet
import pytest

from l3agent.cli import main
from l3agent.exceptions import DataplaneUnavailable
from l3agent.ops.control import ControlSocket
from l3agent.testing import running

EX_USAGE, EX_UNAVAILABLE, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 64, 69, 75, 77, 78

#: Valid arguments of each command.
RIGHT: dict[str, list[str]] = {
    "status": [],
    "show": ["r1"],
    "plan": ["r1"],
    "trace": ["r1", "10.0.0.5", "192.0.2.1", "80"],
    "traffic": ["r1"],
    "graph": [],
    "resync": [],
    "replay": ["r1"],
    "pause": ["r1"],
    "resume": ["r1"],
    "drain": [],
    "check": ["--host"],
    "demo": [],
    "serve": ["topology.yaml"],
    "cleanup": [],
    "release": [],
    "completion": ["routers"],
}
ASKS_THE_AGENT = [name for name in RIGHT if name not in ("check", "demo", "serve", "cleanup", "release")]
FOR_ROOT = ["cleanup", "release"]
READS_FILES = [*ASKS_THE_AGENT, "serve", "cleanup", "release"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a directory with a short path, for sockets."""
    path = Path(tempfile.mkdtemp(prefix="l3-"))
    yield path
    shutil.rmtree(path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return exit status and stderr; assert that stdout is empty."""
    if arguments[:1] == ("serve",):  # it becomes another process
        argv = [sys.executable, "-m", "l3agent.cli.main", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert not done.stdout
        return done.returncode, done.stderr
    try:
        status = main.main(arguments)
    except SystemExit as exc:
        status = int(exc.code or 0)
    stderr = capsys.readouterr()
    assert not stderr.out
    return status, stderr.err


def one_line(found: tuple[int, str], status: int, *words: str) -> None:
    assert found[0] == status, found
    assert len(found[1].splitlines()) == 1, found[1]
    assert found[1].startswith("l3-agentctl")
    for word in words:
        assert word in found[1]


def commands() -> list[str]:
    (subparsers,) = (one for one in main.build_parser()._actions if isinstance(one, argparse._SubParsersAction))
    return list(subparsers.choices)


def test_every_command_is_tried_here() -> None:
    assert set(commands()) == set(RIGHT)


@pytest.mark.parametrize("name", RIGHT)
def test_an_unknown_option(capsys: pytest.CaptureFixture[str], name: str) -> None:
    one_line(run(capsys, name, *RIGHT[name], "--nonsense"), EX_USAGE, "--nonsense")


@pytest.mark.parametrize("name", [name for name in RIGHT if RIGHT[name] and name not in ("plan", "traffic", "check")])
def test_an_argument_that_is_missing(capsys: pytest.CaptureFixture[str], name: str) -> None:
    one_line(run(capsys, name), EX_USAGE, "required")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("", "COMMAND"),
        ("destroy", "'destroy'"),
        ("status --watch soon", "soon"),
        ("status --watch 0", "0.1 and 86400"),
        ("plan r1 --all", "--all"),
        ("trace r1 10.0.0.500 10.0.0.1", "10.0.0.500"),
        ("trace r1 10.0.0.5 10.0.0.1 70000", "70000"),
        ("trace r1 10.0.0.5 10.0.0.1 http", "http"),
        ("trace r1 10.0.0.5 2001:db8::1", "different IP versions"),
        ("trace r1 10.0.0.5 10.0.0.1 80 --proto icmp", "no ports"),
        ("trace r1 10.0.0.5 10.0.0.1 --proto sctp", "sctp"),
        ("graph --format gif", "gif"),
        ("drain --wait -1", "-1"),
        ("completion fish", "fish"),
        ("resync r1 r2", "r2"),
    ],
)
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: str, word: str) -> None:
    one_line(run(capsys, *arguments.split()), EX_USAGE, word)


@pytest.mark.parametrize("name", ASKS_THE_AGENT)
def test_no_daemon(capsys: pytest.CaptureFixture[str], name: str, tmp_path: Path) -> None:
    found = run(capsys, name, *RIGHT[name], "--socket", str(tmp_path / "s"))
    one_line(found, EX_UNAVAILABLE, f"no l3-agent listens on {tmp_path / 's'}")


@pytest.mark.parametrize("name", ASKS_THE_AGENT)
def test_a_daemon_that_hangs_up(capsys: pytest.CaptureFixture[str], name: str, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()
        rude = eventlet.spawn(lambda: [client.close() for client, _ in iter(listener.accept, None)])
        one_line(run(capsys, name, *RIGHT[name], "--socket", str(folder / "s")), EX_UNAVAILABLE, "ended before")
        rude.kill()


@pytest.mark.parametrize("name", ["plan", "show", "traffic", "trace", "graph", "pause"])
def test_an_agent_that_cannot_do_it_now_is_not_one_that_is_away(
    capsys: pytest.CaptureFixture[str], name: str, folder: Path
) -> None:
    def refuse(request: object) -> dict[str, object]:
        raise DataplaneUnavailable("no connection to l3-dataplane")

    known: dict[str, Any] = {"status": lambda request: {"routers": {"r1": {"name": "r1"}}}}
    operations = {**known, **dict.fromkeys(("plan", "show", "traffic", "topology", "pause"), refuse)}
    with running(ControlSocket(str(folder / "s"), operations)):
        found = run(capsys, name, *RIGHT[name], "--socket", str(folder / "s"))
    one_line(found, EX_TEMPFAIL, "no connection to l3-dataplane")


@pytest.mark.parametrize("name", READS_FILES)
def test_a_configuration_file_that_is_missing(capsys: pytest.CaptureFixture[str], name: str) -> None:
    one_line(run(capsys, name, *RIGHT[name], "--config-file", "/nonexistent.conf"), EX_CONFIG, "/nonexistent.conf")


@pytest.mark.feature("operation.fault-injection")
def test_without_permission_each_command_names_the_missing_privilege(folder: Path) -> None:
    """Run every command in one process, which drops root after the imports, instead of one process per command."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give it up")
    folder.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()
        (folder / "s").chmod(0o600)
        code = f"""
import contextlib, io, json, os
from l3agent.cli import main
os.setgroups([]); os.setgid(65534); os.setuid(65534)
found = {{}}
for name, arguments in {[(name, RIGHT[name]) for name in [*ASKS_THE_AGENT, *FOR_ROOT]]!r}:
    said = io.StringIO()
    where = [] if name in {FOR_ROOT!r} else ["--socket", {str(folder / "s")!r}]
    with contextlib.redirect_stderr(said):
        found[name] = [main.main([name, *arguments, *where]), said.getvalue()]
print(json.dumps(found))
"""
        argv = [sys.executable, "-c", code]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {*ASKS_THE_AGENT, *FOR_ROOT}
    for name, (status, stderr) in found.items():
        one_line((status, stderr), EX_NOPERM, "root" if name in FOR_ROOT else "run this as the user of l3-agent")


@pytest.mark.parametrize("name", RIGHT)
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main([name, "--help"])
    stderr = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"examples:\n  l3-agentctl {name}" in stderr
    assert all(len(line) <= 120 for line in stderr.splitlines())


def test_the_help_of_serve_names_all_that_the_server_takes_besides_options_of_logging() -> None:
    code = "from l3agent.cmd import serve; print(*(one.name for one in serve._CLI_OPTS if not one.positional))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    (subparsers,) = (one for one in main.build_parser()._actions if isinstance(one, argparse._SubParsersAction))
    offered = subparsers.choices["serve"]._option_string_actions
    assert [name for name in done.stdout.split() if f"--{name}" not in offered] == []
