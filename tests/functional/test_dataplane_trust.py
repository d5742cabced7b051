# SPDX-License-Identifier: Apache-2.0
"""Files and arguments of the agent's user give l3-dataplane no action that only root may do."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from l3agent.testing import wait_until
from tests.support.processes import SCRIPTS
from tests.support.sandbox import NOBODY, Inside, Sandbox

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user"),
    pytest.mark.skipif(shutil.which("sudo") is None, reason="sudo is not installed"),
]

_AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
PROGRAM = str(SCRIPTS / "l3-dataplane")


def written(path: Path, text: str) -> Path:
    """Write a file as kolla installs configuration: owned by the agent's user, mode 0600."""
    path.write_text(text)
    path.chmod(0o600)
    os.chown(path, NOBODY, NOBODY)
    return path


def allowed(sandbox: Sandbox, folder: Path, *arguments: str) -> None:
    """Install the sudoers lines of the documentation for these arguments, in this sandbox only."""
    sudoers = folder / "sudoers"
    commands = f"{PROGRAM} {' '.join(arguments)}, {PROGRAM} --version"
    sudoers.write_text(f"#{NOBODY} ALL=(root) NOPASSWD: {commands.replace('=', chr(92) + '=')}\n")
    sudoers.chmod(0o440)
    sandbox.run(["mount", "--bind", str(sudoers), "/etc/sudoers"])


def by_sudo(sandbox: Sandbox, *argv: str) -> Inside:
    return sandbox.popen(
        [*_AS_NOBODY, "sudo", "-n", *argv], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def error_of(process: Inside) -> tuple[int, str]:
    status = process.wait(30)
    assert process.entrance.stderr is not None
    with process.entrance.stderr as stderr:
        return status, stderr.read()


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as trial:
        try:
            trial.connect(str(path))
        except OSError:
            return False
    return True


@pytest.mark.feature("dataplane.privilege")
def test_a_file_of_the_agents_user_sets_harmless_options_only(
    sandbox: Sandbox, folder: Path, agent_folder: Path
) -> None:
    proof, evil = folder / "proof", agent_folder / "logging.conf"
    evil.write_text(
        "[loggers]\nkeys = root\n[handlers]\nkeys = x\n[formatters]\nkeys =\n[logger_root]\nhandlers = x\n"
        f"[handler_x]\nclass = StreamHandler\nargs = (__import__('os').system('touch {proof}'),)\n"
    )
    conf = written(
        agent_folder / "l3.conf",
        f"[DEFAULT]\ninterface_driver = bridge\nlog_config_append = {evil}\nlog_file = {folder}/root.log\n"
        f"[dataplane]\nsocket = {agent_folder}/dp.sock\nlog_file = {folder}/dp.log\nnetns_path = {agent_folder}/netns\n"
        f"pool_size = 3\n[standalone]\ntopology = {agent_folder}/topology.yaml\n",
    )
    # The lines of the README: absolute program, exact arguments.
    allowed(sandbox, folder, f"--config-file={conf}", "--exit-with-client")
    process = by_sudo(sandbox, PROGRAM, f"--config-file={conf}", "--exit-with-client")
    wait_until(lambda: listens(agent_folder / "dp.sock") or process.entrance.poll() is not None, timeout=60)
    status, error = error_of(process)  # it ends with its first client
    assert status == 0, error
    ignored = "[DEFAULT] log_config_append, [dataplane] log_file, [dataplane] netns_path, [standalone] topology"
    assert f"Ignored, since another user than root can write the file: {ignored}\n" in error
    assert "namespaces in /run/netns" in error
    assert sorted(os.listdir(folder)) == ["agent", "sudoers"]
    found = (agent_folder / "dp.sock").lstat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (NOBODY, 0o600)


@pytest.mark.feature("dataplane.privilege")
def test_the_documented_sudoers_line_allows_nothing_else(sandbox: Sandbox, folder: Path, agent_folder: Path) -> None:
    conf = written(agent_folder / "l3.conf", "[DEFAULT]\n")
    allowed(sandbox, folder, f"--config-file={conf}", "--exit-with-client")
    for arguments in ([], ["--config-file=/etc/shadow"], [f"--config-file={conf}", "--log-config-append=/tmp/x"]):
        status, error = error_of(by_sudo(sandbox, PROGRAM, *arguments))
        assert status == 1 and "password is required" in error, arguments
    version = by_sudo(sandbox, PROGRAM, "--version")
    assert error_of(version)[0] == 0


@pytest.mark.parametrize(
    "argument", ["--log-config-append=x", "--log-conf=x", "--log-file=x", "--use-syslog", "--log-dir=x", "extra"]
)
def test_arguments_are_a_closed_list(argument: str) -> None:
    done = subprocess.run([PROGRAM, argument], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (78, f"l3-dataplane: unrecognized arguments: {argument}\n")


def test_no_line_of_a_file_of_root_is_printed(folder: Path) -> None:
    secret = folder / "secret"
    secret.write_text("[DEFAULT]\nsecret-of-root\n")
    done = subprocess.run(
        [PROGRAM, "--config-file", str(secret)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 78 and f"{secret}: line 2: " in done.stderr and "secret-of-root" not in done.stderr


@pytest.mark.parametrize("place", ["directory of root", "directory of root by a symlink", "missing directory"])
def test_the_socket_goes_only_where_the_author_of_the_file_may_write(
    sandbox: Sandbox, folder: Path, agent_folder: Path, place: str
) -> None:
    """The default place is used instead; a file of root in the named place stays."""
    victim = folder / "roots" / "shadow"
    victim.parent.mkdir()
    victim.write_text("root's")
    (agent_folder / "link").symlink_to(victim.parent)
    path = {"directory of root": victim, "directory of root by a symlink": agent_folder / "link" / "shadow"}.get(
        place, agent_folder / "none" / "dp.sock"
    )
    conf = written(agent_folder / "l3.conf", f"[DEFAULT]\ninterface_driver = bridge\n[dataplane]\nsocket = {path}\n")
    state = folder / "state"
    state.mkdir()
    own = folder / "own.conf"
    own.write_text(f"[DEFAULT]\nstate_path = {state}\n")
    argv = [PROGRAM, "--config-file", str(own), "--config-file", str(conf)]
    process = sandbox.popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: listens(state / "l3-dataplane.sock") or process.entrance.poll() is not None, timeout=60)
    assert process.entrance.poll() is None
    process.kill()
    assert process.entrance.stderr is not None
    with process.entrance.stderr as stderr:
        assert "[dataplane] socket" in stderr.read()
    assert victim.read_text() == "root's" and not (agent_folder / "none").exists()


def test_a_log_is_not_written_through_a_symlink(folder: Path) -> None:
    logs, target = folder / "logs", folder / "target"
    logs.mkdir()
    (logs / "dp.log").symlink_to(target)
    conf = folder / "l3.conf"
    conf.write_text(f"[DEFAULT]\ninterface_driver = bridge\n[dataplane]\nlog_file = {logs}/dp.log\n")
    done = subprocess.run(
        [PROGRAM, "--config-file", str(conf)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, target.exists()) == (78, False) and "a symlink is not followed" in done.stderr
    shutil.rmtree(logs)
