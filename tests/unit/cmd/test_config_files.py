# SPDX-License-Identifier: Apache-2.0
"""The default configuration files, and the output that names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from l3agent.cli import main
from l3agent.cmd import config_files
from l3agent.cmd.startup import load_config


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Move /etc to an empty directory."""
    moved = tuple(tuple(str(tmp_path) + path for path in candidates) for candidates in config_files.DEFAULT_FILES)
    monkeypatch.setattr(config_files, "DEFAULT_FILES", moved)
    return tmp_path


def write(etc: Path, name: str, text: str) -> str:
    path = etc / "etc" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_the_paths_are_those_of_the_samples_and_of_neutron() -> None:
    assert config_files.DEFAULT_FILES == (
        ("/etc/l3agent/l3_agent.conf",),
        ("/etc/neutron/neutron.conf", "/etc/neutron/l3_agent.ini"),
    )


def test_no_file_exists(etc: Path) -> None:
    conf = load_config([], prog="l3-agent")
    assert config_files.sources(conf) == []
    assert config_files.describe_sources(conf) == "no file (defaults)"


def test_files_of_neutron_are_read_together(etc: Path) -> None:
    first = write(etc, "neutron/neutron.conf", "[DEFAULT]\nhost = a\nperiodic_interval = 7\n")
    second = write(etc, "neutron/l3_agent.ini", "[DEFAULT]\nhost = b\n")
    conf = load_config([], prog="l3-agent")
    assert config_files.sources(conf) == [first, second]
    assert (conf.host, conf.periodic_interval) == ("b", 7)


def test_our_own_file_takes_precedence(etc: Path) -> None:
    write(etc, "neutron/neutron.conf", "[DEFAULT]\nhost = neutron\n")
    own = write(etc, "l3agent/l3_agent.conf", "[DEFAULT]\nhost = ours\n")
    conf = load_config([], prog="l3-agent")
    assert (config_files.sources(conf), conf.host) == ([own], "ours")


def test_a_named_file_replaces_the_default_files(etc: Path, tmp_path: Path) -> None:
    write(etc, "l3agent/l3_agent.conf", "[DEFAULT]\nhost = default\n")
    (tmp_path / "named.conf").write_text("[DEFAULT]\nhost = named\n")
    conf = load_config([f"--config-file={tmp_path}/named.conf"], prog="l3-agent")
    assert conf.host == "named"


def test_the_command_names_the_files_it_took_the_socket_from(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(etc, "l3agent/l3_agent.conf", f"[DEFAULT]\nstate_path = {etc}/state\n")
    assert main.main(["status"]) == 69
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{etc}/state/l3-agent.sock" in line and line.endswith(f"(configuration: {path})")
    assert main.main(["status", "--socket", f"{etc}/none"]) == 69
    assert "configuration" not in capsys.readouterr().err


def test_check_names_the_files(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(etc, "l3agent/l3_agent.conf", f"[DEFAULT]\nstate_path = {etc}\ntransport_url = local:///here\n")
    main.main(["check"])
    assert any("configuration" in line and path in line for line in capsys.readouterr().out.splitlines())
