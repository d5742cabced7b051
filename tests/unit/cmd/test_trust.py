# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from l3agent.cmd import trust
from l3agent.cmd.trust import is_trusted

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to another user")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory whose parents all belong to root; skip in a user namespace with one user."""
    monkeypatch.setattr(trust, "_has_one_user", lambda: False)
    path = tmp_path / "etc"
    path.mkdir(mode=0o755)
    (path / "l3.conf").touch(mode=0o644)
    return path


def test_files_of_root_are_trusted_below_a_sticky_directory_too(place: Path) -> None:
    assert is_trusted(place / "l3.conf")
    place.chmod(0o1777)
    assert is_trusted(place / "l3.conf")


@pytest.mark.parametrize("mode", [0o666, 0o646])
def test_a_file_that_others_write(place: Path, mode: int) -> None:
    (place / "l3.conf").chmod(mode)
    assert not is_trusted(place / "l3.conf")


def test_a_file_that_a_group_writes(place: Path) -> None:
    (place / "l3.conf").chmod(0o664)
    assert is_trusted(place / "l3.conf")  # the group of root
    os.chown(place / "l3.conf", 0, 65534)
    assert not is_trusted(place / "l3.conf")


@pytest.mark.parametrize("what", ["file", "directory", "open directory"])
def test_a_file_or_directory_of_another_user(place: Path, what: str) -> None:
    if what == "open directory":
        place.chmod(0o777)
    else:
        os.chown(place / "l3.conf" if what == "file" else place, 65534, 65534)
    assert not is_trusted(place / "l3.conf")


def test_symlinks_are_judged_by_their_place_and_their_target(place: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (place / "link").symlink_to(theirs / "conf")
    (theirs / "link").symlink_to(place / "l3.conf")
    (theirs / "conf").touch()
    assert is_trusted(place / "link") and is_trusted(theirs / "link")
    os.chown(theirs, 65534, 65534)
    assert not is_trusted(place / "link") and not is_trusted(theirs / "link")


def test_a_missing_file_is_not_trusted(place: Path) -> None:
    assert not is_trusted(place / "none")
