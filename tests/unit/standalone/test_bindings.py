# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from l3agent.standalone.bindings import BindingsFile


def test_saved_bindings_are_read_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "state" / "agents.json"
    BindingsFile(path).save({"r1": "a"})
    assert BindingsFile(path).read() == {"r1": "a"}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "[]", "{", "\xff"])
def test_an_invalid_file_gives_no_bindings(tmp_path: Path, content: str) -> None:
    path = tmp_path / "agents.json"
    path.write_text(content, encoding="latin-1")
    assert BindingsFile(path).read() == {}


def test_a_failed_write_is_logged_once_and_is_not_fatal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    file = BindingsFile(tmp_path / "file" / "agents.json")
    file.save({"r1": "a"})
    file.save({"r1": "a"})
    (record,) = caplog.records
    assert "file/agents.json: not written" in record.getMessage()
