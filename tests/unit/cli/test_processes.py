# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from l3agent.cli import processes
from l3agent.cli.processes import find_processes
from l3agent.cli.router_view import _processes
from l3agent.cli.terminal import Screen

PIN, INITIAL = "/proc/self/ns/net", 0xEFFFFFFC


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Simulate the host's pid namespace; the entries of /proc in the returned set cannot be read."""
    unreadable: set[str] = set()
    real = os.stat

    def stat(path: Any, **options: Any) -> Any:
        if str(path) in unreadable:
            raise PermissionError(13, "Permission denied", path)
        if str(path).endswith("/ns/pid"):
            return SimpleNamespace(st_ino=INITIAL, st_dev=0)
        return real(path, **options)

    monkeypatch.setattr("l3agent.cli.processes.os.stat", stat)
    return unreadable


def text(found: dict[str, object]) -> str:
    return "\n".join(_processes(found, Screen()))


def test_processes_of_a_namespace_are_listed_with_their_command(host: set[str]) -> None:
    found: Any = find_processes(PIN)
    assert os.getpid() in [one["pid"] for one in found["found"]]
    assert str(os.getpid()) in text(found)


def test_one_unreadable_entry_hides_no_other_process(host: set[str]) -> None:
    host.add("/proc/1/ns/net")
    found: Any = find_processes(PIN)
    assert os.getpid() in [one["pid"] for one in found["found"]] and not found["complete"]
    assert "processes: others may exist" in text(found)


def test_none_is_not_claimed_where_processes_are_hidden(tmp_path: Path, host: set[str]) -> None:
    assert find_processes(str(tmp_path / "none")) == {"found": [], "complete": False}
    assert text({"found": [], "complete": False}).strip().startswith("processes: not visible")
    assert text({"found": [], "complete": True}).strip() == "processes: none"


def test_a_namespace_that_a_router_lacks_is_left_out(tmp_path: Path, host: set[str]) -> None:
    found: Any = find_processes(str(tmp_path / "none"), PIN)
    assert os.getpid() in [one["pid"] for one in found["found"]]


def test_a_private_pid_namespace_is_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_INITIAL_PID_NAMESPACE", 1)
    assert not find_processes(PIN)["complete"]
