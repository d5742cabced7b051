# SPDX-License-Identifier: Apache-2.0
"""Data planes in mount namespaces of their own, as containers have them: the lock, the socket, and the mount."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.processes import SCRIPTS, Dataplane
from tests.support.sandbox import Sandbox

#: Makes a mount namespace of its own and runs a command there; the first argument is shell code run before it.
_ENTER = ("unshare", "--mount", "--propagation", "unchanged", "sh", "-ec", 'eval "$0"; exec "$@"')


def run(sandbox: Sandbox, setup: str, conf: Path, *, program: str = "l3-dataplane") -> tuple[int, str]:
    """Run a program in a mount namespace of its own; return its exit status and standard error."""
    argv = [*_ENTER, setup, str(SCRIPTS / program), "--config-file", str(conf)]
    process = sandbox.popen(argv, stderr=subprocess.PIPE, text=True)
    status = process.wait(30)
    assert process.entrance.stderr is not None
    with process.entrance.stderr as stderr:
        return status, stderr.read()


def written(folder: Path, name: str, netns_path: str, socket: Path, more: str = "") -> Path:
    path = folder / name
    path.write_text(
        f"[DEFAULT]\ninterface_driver = bridge\n[dataplane]\nnetns_path = {netns_path}\nsocket = {socket}\n{more}"
    )
    return path


def test_one_data_plane_per_directory_through_a_bind_mount(dataplane: Dataplane, folder: Path) -> None:
    """Each container has its own view of the directory above, and so of a lock file beside it."""
    (folder / "netns").mkdir()
    setup = f"mount --bind /run/netns {folder}/netns; mount -t tmpfs tmpfs /run"
    conf = written(folder, "second.conf", f"{folder}/netns", folder / "second.sock")
    status, error = run(dataplane.sandbox, setup, conf)
    assert (status, error) == (75, f"l3-dataplane: another data plane serves {folder}/netns\n")
    assert dataplane.request("hello", {})["pid"]


def test_the_guard_leaves_the_directory_to_ip_netns_and_is_not_blocked_by_other_users(
    sandbox: Sandbox, folder: Path
) -> None:
    """`ip netns add` locks the directory itself; any user may bind the name of an abstract socket."""
    device, inode = sandbox.run(["stat", "--format=%d %i", "/run/netns"]).split()
    name = f"l3agent-dataplane-{int(device):x}-{int(inode):x}"
    program = (
        f"import socket, time; s = socket.socket(socket.AF_UNIX); s.bind(chr(0) + {name!r}); s.listen(); "
        "print('bound', flush=True); time.sleep(600)"
    )
    argv = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-I", "-c", program]
    rival = sandbox.popen(argv, stdout=subprocess.PIPE, text=True)
    assert rival.entrance.stdout is not None and rival.entrance.stdout.readline() == "bound\n"
    machine = Dataplane(sandbox, folder)
    machine.start()
    sandbox.run(["ip", "netns", "add", "other"])
    sandbox.run(["ip", "netns", "delete", "other"])
    machine.hang_up()
    rival.kill()
    rival.entrance.stdout.close()


def test_a_live_socket_in_a_shared_state_directory_is_left_alone(dataplane: Dataplane, folder: Path) -> None:
    before = dataplane.socket_path.stat()
    conf = written(
        folder, "second.conf", f"{folder}/others", dataplane.socket_path, "allow_private_netns_path = true\n"
    )
    status, error = run(dataplane.sandbox, "true", conf)
    assert (status, error) == (75, f"l3-dataplane: another data plane listens on {dataplane.socket_path}\n")
    assert dataplane.socket_path.stat() == before
    assert dataplane.request("hello", {})["pid"]


def test_a_container_without_the_hosts_directory_touches_nothing(sandbox: Sandbox, folder: Path) -> None:
    """Neither a mount nor a device appears; `check` names the same fault."""
    container = "mount -t tmpfs tmpfs /run; : > /run/.containerenv"
    private = f"{container}; mkdir /run/netns; mount --bind /run/netns /run/netns; mount --make-private /run/netns"
    conf = written(folder, "l3.conf", "/run/netns", folder / "dp.sock")
    links = sandbox.run(["ip", "-br", "link"])
    for setup, state in ((container, "is no mount of its own"), (private, "is a private mount")):
        status, error = run(sandbox, setup, conf)
        assert status == 78
        assert f"[dataplane] netns_path: /run/netns {state} in this container: run it with" in error
        assert "--volume /run/netns:/run/netns:shared" in error
        assert not (folder / "dp.sock").exists() and sandbox.run(["ip", "-br", "link"]) == links
        argv = [*_ENTER, setup, sys.executable, "-m", "l3agent.cli.main", "check", "--json"]
        found = sandbox.popen([*argv, "--config-file", str(conf)], stdout=subprocess.PIPE, text=True)
        assert found.entrance.stdout is not None
        with found.entrance.stdout as stdout:
            rows = {one["what"]: one for one in json.load(stdout)}
        found.wait(60)
        assert (rows["netns_path"]["state"], rows["netns_path"]["exit_status"]) == ("fail", 78)
