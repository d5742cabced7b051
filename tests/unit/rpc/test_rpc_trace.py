# SPDX-License-Identifier: Apache-2.0
"""The trace of messages: contents, permissions and end. With an agent: functional/test_rpc_trace.py."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from l3agent.rpc.observers import Message
from l3agent.rpc.rpc_trace import RpcTrace

PRIVATE = {"ship": "ship", "captain": "person"}


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_private_values_are_replaced_by_the_same_ones_and_secrets_by_none(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    trace = RpcTrace(str(path), "node1", limit=10_000, redacted=PRIVATE)
    arguments = {"ship": "Pequod", "crew": [{"captain": "Ahab", "password": "w", "auth_token": ""}], "depth": 7}
    trace.write(Message("call", "sea", "sail", "1.2", arguments, {"ship": "Pequod", "captain": "Pequod"}))
    header, written = entries(path)
    assert header == {"l3agent_rpc_trace": 1, "host": "host-1"}
    assert (written["call"], written["topic"], written["version"]) == ("sail", "sea", "1.2")
    assert written["args"] == {
        "ship": "ship-2",
        "crew": [{"captain": "person-3", "password": "***", "auth_token": "***"}],
        "depth": 7,
    }
    assert written["result"] == {"ship": "ship-2", "captain": "person-4"}


def test_the_three_kinds_of_messages_differ(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    trace = RpcTrace(str(path), "node1", limit=10_000, redacted={})
    for kind in ("call", "cast", "in"):
        trace.write(Message(kind, "topic", kind, "1.0", {}))
    call, cast, came = entries(path)[1:]
    assert "result" in call and call["call"] == "call"
    assert cast["cast"] == "cast" and cast["out"] is True
    assert came["cast"] == "in" and "out" not in came and "result" not in came


def test_what_failed_has_its_error_and_no_result(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    trace = RpcTrace(str(path), "node1", limit=10_000, redacted={})
    trace.write(Message("call", "topic", "lost", "1.0", {}, error="unavailable"))
    trace.write(Message("cast", "topic", "unsent", "1.0", {}, error="unavailable"))
    lost, unsent = entries(path)[1:]
    assert (lost["call"], lost["error"], "result" in lost) == ("lost", "unavailable", False)
    assert (unsent["cast"], unsent["error"], unsent["out"]) == ("unsent", "unavailable", True)


def test_a_file_that_others_could_read_is_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("of last week\n")
    path.chmod(0o644)
    RpcTrace(str(path), "node1", limit=10_000, redacted={})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(entries(path)) == 1


def test_a_full_file_ends_the_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    trace = RpcTrace(str(path), "node1", limit=1000, redacted={})
    for _ in range(50):
        trace.write(Message("call", "topic", "method", "1.0", {"text": "x" * 50}))
    assert path.stat().st_size <= 1000
    assert all(entry for entry in entries(path))
