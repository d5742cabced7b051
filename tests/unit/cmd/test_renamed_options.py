# SPDX-License-Identifier: Apache-2.0
"""An option of a former release is one error that names the new one, in both programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from l3agent.cmd import dataplane, renamed_options
from l3agent.cmd.startup import load_config
from l3agent.conf import RENAMED_OPTS, list_opts
from l3agent.exceptions import ConfigError

OLD, NEW = ("dataplane", "old_name"), ("dataplane", "pool_size")
MOVED, PLACE = ("DEFAULT", "moved_name"), ("l3agent", "fetch_batch")


@pytest.fixture(autouse=True)
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed_options, "RENAMED_OPTS", {OLD: NEW, MOVED: PLACE})


def test_the_table_leads_from_names_without_effect_to_options() -> None:
    known = {(group or "DEFAULT", opt.dest) for group, opts in list_opts() for opt in opts}
    assert known.isdisjoint(RENAMED_OPTS) and known.issuperset(RENAMED_OPTS.values())


def test_every_old_name_is_named_with_its_file_and_the_new_one(tmp_path: Path) -> None:
    first, directory = tmp_path / "a.conf", tmp_path / "more"
    directory.mkdir()
    first.write_text("[dataplane]\nold_name = s3cr3t\npool_size = 3\n")
    (directory / "b.conf").write_text("[DEFAULT]\nmoved_name = 1\n")
    with pytest.raises(ConfigError) as raised:
        load_config([f"--config-file={first}", f"--config-dir={directory}"], prog="l3-agent")
    assert str(raised.value) == (
        f"{first}: [dataplane] old_name: renamed, use pool_size; "
        f"{directory}/b.conf: [DEFAULT] moved_name: renamed, use [l3agent] fetch_batch"
    )


def test_an_old_name_in_the_environment_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_DATAPLANE__OLD_NAME", "1")
    with pytest.raises(ConfigError, match=r"OS_DATAPLANE__OLD_NAME: renamed, use OS_DATAPLANE__POOL_SIZE$"):
        load_config([], prog="l3-agent", default_files=())


def test_the_data_plane_ends_with_78_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.conf"
    path.write_text("[dataplane]\nold_name = 1\n")
    assert dataplane.main([f"--config-file={path}"]) == 78
    assert capsys.readouterr().err == f"l3-dataplane: {path}: [dataplane] old_name: renamed, use pool_size\n"


def test_a_name_of_another_group_is_not_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("[other]\nold_name = 1\n[DEFAULT]\nhost = n\n")
    assert load_config([f"--config-file={path}"], prog="l3-agent").host == "n"
