# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from l3agent.standalone.bindings import BindingsFile


def test_what_was_saved_is_read_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "state" / "agents.json"
    BindingsFile(path).save({"r1": "a"})
    assert BindingsFile(path).read() == {"r1": "a"}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "[]", "{", "\xff"])
def test_a_file_that_makes_no_sense_is_taken_for_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "agents.json"
    path.write_text(content, encoding="latin-1")
    assert BindingsFile(path).read() == {}


def test_a_folder_that_cannot_be_written_is_said_and_no_reason_to_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    file = BindingsFile(tmp_path / "file" / "agents.json")
    file.save({"r1": "a"})
    file.save({"r1": "a"})
    (record,) = caplog.records
    assert "file/agents.json: not written" in record.getMessage()
