# SPDX-License-Identifier: Apache-2.0
"""The socket of the data plane, in a folder whose owner is another user and means ill."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from l3agent.testing import wait_until
from tests.support.processes import SCRIPTS, Dataplane, last_lines
from tests.support.sandbox import NOBODY, Inside, Sandbox

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user id")

_STARTS = 8

# As soon as the socket has its name, a link to another user's file takes its place.
# It is loaded as root: the folder of the interpreter may be closed to others.
_RIVAL = f"""
import os, sys
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
path, link, target = sys.argv[1:]
os.symlink(target, link)
print("ready", flush=True)
while True:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        continue
    os.rename(link, path)
    print(found.st_uid, found.st_mode)
    break
"""


def started(sandbox: Sandbox, folder: Path, path: Path) -> Inside:
    conf = folder / "l3.conf"
    conf.write_text(f"[DEFAULT]\ninterface_driver = bridge\n[dataplane]\nsocket = {path}\n")
    with (folder / "log").open("ab") as log:
        return sandbox.popen([str(SCRIPTS / "l3-dataplane"), "--config-file", str(conf)], stderr=log)


def listens(folder: Path, process: Inside, times: int = 1) -> None:
    """Wait until a data plane has logged it."""
    log = folder / "log"
    wait_until(lambda: log.read_text().count("listens on") == times or process.entrance.poll() is not None, timeout=60)
    assert process.entrance.poll() is None, last_lines(log)


@pytest.mark.feature("dataplane.privilege")
def test_a_symlink_in_the_place_of_the_socket_changes_no_file_and_the_socket_is_created_with_its_final_mode(
    sandbox: Sandbox, folder: Path, agent_folder: Path
) -> None:
    path, target = agent_folder / "dp.sock", folder / "shadow"
    target.write_text("root's")
    births = set()
    for number in range(1, _STARTS + 1):
        path.unlink(missing_ok=True)
        argv = [sys.executable, "-I", "-c", _RIVAL, str(path), str(agent_folder / "link"), str(target)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as rival:
            assert rival.stdout is not None and rival.stdout.readline() == b"ready\n"
            process = started(sandbox, folder, path)
            listens(folder, process, number)
            births.add(tuple(map(int, rival.stdout.readline().split())))
        process.kill()
    assert (target.stat().st_uid, target.read_text()) == (0, "root's")
    assert births == {(NOBODY, stat.S_IFSOCK | 0o600)}


@pytest.mark.parametrize("left", ["socket", "link", "dangling link"])
def test_what_a_killed_predecessor_or_the_owner_left_makes_room(
    sandbox: Sandbox, folder: Path, agent_folder: Path, left: str
) -> None:
    path, target = agent_folder / "dp.sock", folder / "file"
    if left == "socket":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    else:
        path.symlink_to(target)
    if left == "link":
        target.write_text("stays")
    process = started(sandbox, folder, path)
    listens(folder, process)
    found = path.lstat()
    assert (found.st_mode, found.st_uid) == (stat.S_IFSOCK | 0o600, NOBODY)
    assert os.listdir(agent_folder) == ["dp.sock"]
    assert target.exists() == (left == "link")
    process.kill()


def test_it_has_its_own_rights_again_once_the_socket_is_there(
    sandbox: Sandbox, folder: Path, agent_folder: Path
) -> None:
    dataplane = Dataplane(sandbox, folder, socket=agent_folder / "dp.sock")
    dataplane.socket_path = agent_folder / "dp.sock"
    dataplane.start()
    # It listens before it drops capabilities, and answers after that.
    assert dataplane.request("hello", {})["version"]
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{dataplane.pid}/status").read_text().splitlines())
    assert (status["Uid"].split(), status["Gid"].split()) == (["0"] * 4, ["0"] * 4)
    assert int(status["CapEff"], 16) == sum(1 << number for number in (5, 6, 7, 11, 12, 13, 21))
    assert status["Groups"].split() == [str(one) for one in sorted(os.getgroups())]
    dataplane.hang_up()


@pytest.mark.parametrize("others", ["root", "all"])
def test_it_listens_again_where_its_socket_was_removed_but_never_in_the_place_of_another(
    sandbox: Sandbox, folder: Path, agent_folder: Path, others: str
) -> None:
    dataplane = Dataplane(sandbox, folder, socket=agent_folder / "dp.sock", pool_size=2)
    path = dataplane.socket_path = agent_folder / "dp.sock"
    dataplane.start()
    first = dataplane.request("hello", {})["process"]
    path.unlink()
    wait_until(path.exists, timeout=30)
    assert (path.lstat().st_mode, path.lstat().st_uid) == (stat.S_IFSOCK | 0o600, NOBODY)
    assert dataplane.request("hello", {})["process"] == first, "the client that is connected stays"
    dataplane.hang_up()
    assert dataplane.request("hello", {})["process"] == first, "a new one is accepted"
    # With its directory, as a service's RuntimeDirectory goes; the next one is that of the same user.
    shutil.rmtree(agent_folder)
    agent_folder.mkdir()
    os.chown(agent_folder, NOBODY, NOBODY)
    wait_until(path.exists, timeout=30)
    # Moved into place once it listens: before that it would be taken for the socket of a dead process.
    fresh = agent_folder / "fresh"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(fresh))
        other.listen()
        fresh.chmod(0o600 if others == "root" else 0o666)
        fresh.rename(path)
        found = path.lstat().st_ino
        wait_until(lambda: "another data plane listens on" in dataplane.log.read_text(), timeout=30)
        assert path.lstat().st_ino == found
        if others == "root":
            path.unlink()  # whether it is served cannot be seen from here, so it is not replaced
    wait_until(lambda: dataplane.log.read_text().count("listening there again") == 3, timeout=30)
    dataplane.hang_up()
    assert dataplane.request("hello", {})["process"] == first
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{dataplane.pid}/status").read_text().splitlines())
    assert (status["Uid"].split(), status["Gid"].split()) == (["0"] * 4, ["0"] * 4)
    dataplane.hang_up()
