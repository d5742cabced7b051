# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from l3agent.dataplane.programs.files import ProgramFiles, lock_directory
from l3agent.exceptions import AlreadyRunning


@pytest.fixture
def files(tmp_path: Path) -> ProgramFiles:
    tmp_path.chmod(0o755)
    files = ProgramFiles(str(tmp_path), "example")
    files.create(is_public=False)
    return files


def names(files: ProgramFiles) -> list[str]:
    return sorted(os.listdir(files.path))


def test_files_are_written_with_the_modes_that_their_readers_need(files: ProgramFiles) -> None:
    assert os.stat(files.path).st_mode & 0o777 == 0o700
    files.write({"a": "1", "b": "ü\n"}, is_public=False)
    assert files.read("a") == "1" and files.read("b") == "ü\n" and files.read("c") is None
    assert os.stat(f"{files.path}/a").st_mode & 0o777 == 0o600
    files.create(is_public=True)
    files.write({"a": "1"}, is_public=True)
    assert [os.stat(path).st_mode & 0o777 for path in (files.path, f"{files.path}/a")] == [0o755, 0o644]
    files.unlink("a", "missing")
    assert names(files) == ["b"]
    files.remove()
    files.remove()
    assert not os.path.exists(files.path)


def test_an_equal_file_is_not_written(files: ProgramFiles) -> None:
    files.write({"a": "1"}, is_public=False)
    former = os.stat(f"{files.path}/a").st_ino
    files.write({"a": "1"}, is_public=False)
    assert os.stat(f"{files.path}/a").st_ino == former


@pytest.mark.parametrize("call", ["fsync", "write", "open"])
def test_a_failed_write_leaves_all_files(files: ProgramFiles, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    files.write({"a": "1", "b": "1"}, is_public=False)
    original, calls = getattr(os, call), []

    def fail_second(*args: object, **options: object) -> object:
        calls.append(args)
        if str(args[0]).startswith(".new.b") or (call != "open" and len(calls) == 2):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*args, **options)

    monkeypatch.setattr(os, call, fail_second)
    with pytest.raises(OSError, match=r"example: No space left on device") as caught:
        files.write({"a": "2", "b": "2"}, is_public=False)
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert files.read("a") == files.read("b") == "1" and names(files) == ["a", "b"]


def test_a_short_write_is_continued(files: ProgramFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.write
    monkeypatch.setattr(os, "write", lambda file, content: original(file, content[:3]))
    files.write({"a": "0123456789"}, is_public=False)
    assert files.read("a") == "0123456789"


def test_no_symlink_is_followed(files: ProgramFiles, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("kept")
    os.symlink(target, f"{files.path}/a")
    os.symlink(target, f"{files.path}/.new.a")
    with pytest.raises(OSError):
        files.read("a")
    files.write({"a": "new"}, is_public=False)
    assert files.read("a") == "new" and target.read_text() == "kept"
    os.symlink(target, f"{files.path}/pipe")
    with pytest.raises(OSError):
        files.open_pipe("pipe")
    files.remove()
    assert target.read_text() == "kept"
    os.symlink(tmp_path, files.path)
    with pytest.raises(OSError):
        files.create(is_public=True)


def test_a_directory_that_others_can_change_is_refused(files: ProgramFiles) -> None:
    os.chmod(files.path, 0o770)
    with pytest.raises(PermissionError, match="another user can change the directory"):
        files.write({"a": "1"}, is_public=False)


def test_a_file_in_the_place_of_the_pipe_is_refused(files: ProgramFiles) -> None:
    files.write({"pipe": ""}, is_public=False)
    with pytest.raises(OSError, match="is not a pipe"):
        files.open_pipe("pipe")


def test_two_data_planes_do_not_supervise_one_directory(tmp_path: Path) -> None:
    root = str(tmp_path / "programs")
    descriptor = lock_directory(root, 0)
    with pytest.raises(AlreadyRunning, match="another data plane supervises the programs in"):
        lock_directory(root, 0.05)
    os.close(descriptor)
    os.close(lock_directory(root, 0))
