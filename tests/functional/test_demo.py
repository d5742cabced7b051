# SPDX-License-Identifier: Apache-2.0
"""``l3-agentctl demo`` on the command line: its output, its exit status, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from l3agent.testing import wait_until

pytestmark = pytest.mark.kernel

_REPOSITORY = Path(__file__).parents[2]
_CTL = [sys.executable, "-m", "l3agent.cli.main"]
#: Maximum duration of the demo, and the deadline of the tests on a loaded machine.
_LIMIT_S, _PATIENCE_S = 60, 90
_NOBODY_UID = 65534
_NAMESPACES = ("pid", "net", "mnt")


class Demo:
    """A running demo, and the namespaces of its sandbox once it has been created."""

    def __init__(self, argv: list[str], temporary: Path) -> None:
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        self.lines: list[str] = []
        self.sandbox: set[str] = set()

    def read_until(self, wanted: str) -> str:
        """Read the output up to the first line that contains ``wanted``; return that line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if not self.sandbox:
                self.sandbox = _sandbox_of(self.process.pid)
            if wanted in line:
                return line
        raise AssertionError(f"ended without {wanted!r}:\n{self.text}")

    def end(self) -> int:
        """Read the rest and return the exit status."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout.read().splitlines()
        return self.process.wait(_PATIENCE_S)

    @property
    def text(self) -> str:
        """The output read until now."""
        return "\n".join(self.lines)

    def assert_gone(self) -> None:
        """Fail if a process stays in a namespace of the sandbox; a namespace without processes and pins is freed."""
        assert self.sandbox, "the demo ended before its sandbox was found"
        wait_until(lambda: not _members(self.sandbox), timeout=30)


Start = Callable[..., Demo]


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """Yield a temporary folder that every user can write to, and fail if it is not empty after the test."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o777)
    yield folder
    assert not list(folder.iterdir())


@pytest.fixture
def enter_mounts() -> Iterator[list[str]]:
    """Yield the command prefix that enters a mount namespace of the test, and fail if a demo changed its mounts.

    Other programs change the mounts of the machine meanwhile; a mount point below /run, /tmp or /var that they unlink
    disappears from every mount namespace. An ordinary user can change no mount.
    """
    if os.geteuid() != 0:
        yield []
        return
    with subprocess.Popen(["unshare", "--mount", "--propagation=private", "sleep", "infinity"]) as holder:
        try:
            namespace = Path(f"/proc/{holder.pid}/ns/mnt")
            # unshare makes the mounts private before it executes sleep.
            wait_until(lambda: Path(f"/proc/{holder.pid}/comm").read_text() == "sleep\n", timeout=30)
            before = _mounts(holder.pid)
            yield ["nsenter", f"--mount={namespace}"]
            after = _mounts(holder.pid)
            assert not after.items() - before.items()
            assert all(mount.startswith(("/run/", "/tmp/", "/var/")) for _, mount in before.items() - after.items())
        finally:
            holder.kill()


@pytest.fixture
def start(temporary: Path, enter_mounts: list[str]) -> Iterator[Start]:
    """Yield a function that starts a demo; demos still running are killed at the end of the test."""
    demos: list[Demo] = []

    def start(*argv: str) -> Demo:
        demos.append(Demo([*enter_mounts, *argv], temporary))
        return demos[-1]

    yield start
    for demo in demos:
        demo.process.kill()
        demo.process.wait(_PATIENCE_S)


@pytest.fixture(scope="module")
def ordinary_user() -> Iterator[list[str]]:
    """Yield the command line of l3-agentctl for a user without privilege."""
    with tempfile.TemporaryDirectory(prefix="l3-") as folder:
        os.chmod(folder, 0o755)
        yield _ordinary_user(Path(folder))


@pytest.mark.feature("operation.standalone")
def test_the_demo_passes_for_an_ordinary_user_in_time_and_leaves_nothing(
    start: Start, ordinary_user: list[str]
) -> None:
    demo = start(*ordinary_user, "demo")
    demo.read_until("START")
    assert demo.end() == 0, demo.text
    demo.assert_gone()
    for heading in ("TRAFFIC", "CHANGES", "SIGKILL UNDER TRAFFIC"):
        assert heading in demo.text
    rows = [line for line in demo.lines if re.match(r" ok   .* [0-9.]+ m?s$", line)]
    (passed, seconds) = re.search(r"All (\d+) checks passed in ([0-9.]+) s", demo.text).groups()  # type: ignore[union-attr]
    assert len(rows) == int(passed) >= 16
    assert float(seconds) < _LIMIT_S
    assert "\x1b" not in demo.text  # not a terminal: plain lines
    for proof in (
        r"vm2 -> 203.0.113.1: outside sees 203.0.113.10\b",
        r"203.0.113.100 reaches vm1; outside sees vm1 as 203.0.113.100",
        r"kill l3-agent.* 0 of \d+ pings lost",
        r"kill l3-dataplane.* 0 of \d+ pings lost",
    ):
        assert re.search(proof, demo.text), demo.text


@pytest.mark.feature("operation.check")
def test_check_tries_the_kernel_without_root_and_lists_what_it_cannot_check(ordinary_user: list[str]) -> None:
    done = subprocess.run(
        [*ordinary_user, "check", "--json"], capture_output=True, text=True, timeout=_PATIENCE_S, cwd="/", check=False
    )
    found = {one["what"]: one for one in json.loads(done.stdout)}
    assert found["kernel: nf_tables with maps and NAT"]["state"] == "ok", found
    if os.geteuid() == 0:  # the ordinary user is `nobody` then, without access to the state path
        assert found["state_path"]["state"] == "unknown"
    assert done.returncode == 1 and found["broker"]["exit_status"] == 69  # no configuration names a broker


def test_keep_runs_until_ctrl_c_and_prints_working_commands(start: Start) -> None:
    demo = start(*_CTL, "demo", "--keep")
    command = demo.read_until("nsenter").strip()
    namespaces = subprocess.run(command.split(), capture_output=True, text=True, timeout=20, check=True).stdout
    assert re.search(r"^qrouter-", namespaces, re.M) and re.search(r"^l3host-vm1\b", namespaces, re.M)
    status = demo.read_until(" status --socket ").strip()
    output = subprocess.run(status.split(), capture_output=True, text=True, timeout=20, check=True, cwd="/").stdout
    assert re.search(r"r1 +active", output), output
    plan = status.replace(" status ", " plan r1 ")
    output = subprocess.run(plan.split(), capture_output=True, text=True, timeout=20, check=True, cwd="/").stdout
    assert re.fullmatch(r"# router [0-9a-f-]{36}: 0 operations\n", output), output
    demo.read_until("/topology.yaml")
    assert demo.process.poll() is None
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 0, demo.text
    demo.assert_gone()


def test_killing_the_demo_ends_all_of_its_processes(start: Start) -> None:
    demo = start(*_CTL, "demo")
    demo.read_until("the hosts are up")
    assert len(_members(demo.sandbox)) > 3
    demo.process.kill()
    demo.end()
    demo.assert_gone()


def test_ctrl_c_ends_the_demo_at_once_with_status_130(start: Start) -> None:
    code = (  # SIGKILL after the grace period would come long after the expected end
        "import sys; from l3agent.demo import sandbox; from l3agent.cli import main;"
        "sandbox._GRACE_S = 60; sys.exit(main.main(['demo']))"
    )
    demo = start(sys.executable, "-c", code)
    demo.read_until("TRAFFIC")
    demo.process.send_signal(signal.SIGINT)
    start = time.monotonic()
    assert demo.end() == 130, demo.text
    assert time.monotonic() - start < 40 and "Traceback" not in demo.text
    demo.assert_gone()


def test_a_check_that_fails_fails_the_demo(start: Start, tmp_path: Path) -> None:
    sample = (_REPOSITORY / "etc/l3agent/topology.yaml").read_text()
    broken = tmp_path / "topology.yaml"
    broken.write_text(sample.replace('"2001:db8:ffff::10"]}', '"2001:db8:ffff::10"], snat: false}', 1))
    shutil.copy(_REPOSITORY / "etc/l3agent/standalone.conf", tmp_path)
    code = (
        "import sys, pathlib; from l3agent.demo import environment; from l3agent.cli import main;"
        f"environment.sample = lambda name: pathlib.Path({str(tmp_path)!r}, name); sys.exit(main.main(['demo']))"
    )
    demo = start(sys.executable, "-c", code)
    demo.read_until("START")
    assert demo.end() == 1
    assert re.search(r"^FAIL  a tenant reaches the outside through SNAT", demo.text, re.M), demo.text
    assert re.search(r"^FAIL  kill l3-agent and .* [1-9]\d* of \d+ pings lost", demo.text, re.M), demo.text
    assert re.search(r"of \d+ checks FAILED: a tenant reaches the outside through SNAT", demo.text), demo.text
    demo.assert_gone()


def test_forbidden_user_namespaces_are_reported_in_one_line_with_the_remedy() -> None:
    # The limit applies to the user namespace where it is set, so the machine is not changed. Without capabilities,
    # root is an ordinary user there.
    forbid = "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all "
    done = _run(["unshare", "--user", "--map-root-user", "sh", "-c", forbid + " ".join([*_CTL, "demo"])])
    assert (done.returncode, done.stdout) == (77, "")
    (line,) = done.stderr.splitlines()
    assert "sysctl -w user.max_user_namespaces=" in line and "run it as root" in line


def test_a_namespace_without_permission_to_create_devices_is_detected_by_a_veth() -> None:
    done = _run([sys.executable, "-m", "tests.support.without_netlink", *_CTL, "demo"])
    assert (done.returncode, done.stdout) == (77, "")
    (line,) = done.stderr.splitlines()
    assert "veth: Operation not permitted" in line


def test_wrong_arguments_give_one_line_and_status_64() -> None:
    for wrong in ([], ["explode"], ["demo", "--bad"], ["plan", "r1", "--all"]):
        done = _run([*_CTL, *wrong])
        assert done.returncode == 64
        assert done.stderr.splitlines()[-1].startswith("l3-agentctl") and "Traceback" not in done.stderr


def test_a_request_without_an_agent_gives_status_69(tmp_path: Path) -> None:
    done = _run([*_CTL, "status", "--socket", str(tmp_path / "none.sock")])
    assert done.returncode == 69
    assert len(done.stderr.splitlines()) == 1 and str(tmp_path / "none.sock") in done.stderr


def test_a_missing_configuration_file_gives_status_78() -> None:
    done = _run([*_CTL, "status", "--config-file", "/nonexistent.conf"])
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 1 and "/nonexistent.conf" in done.stderr


def _mounts(pid: int) -> dict[str, str]:
    """Return the mount points of a process, by their lines in mountinfo."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return {line: line.split()[4] for line in lines}


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE_S, cwd=_REPOSITORY, check=False)


def _ordinary_user(folder: Path) -> list[str]:
    """Return the command line of l3-agentctl for a user without privilege."""
    if os.geteuid() != 0:
        return _CTL
    leave_root = ["setpriv", f"--reuid={_NOBODY_UID}", f"--regid={_NOBODY_UID}", "--clear-groups"]
    # The interpreter of the tests may be below root's home; then another one of the same version is used. setpriv
    # executes its program with privilege, so the trial is whether that program can execute the interpreter again.
    again = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        trial = subprocess.run([*leave_root, python, "-c", again], capture_output=True, check=False)
        if trial.returncode == 0:
            return [*leave_root, str(_environment(python, folder)), *_CTL[1:]]
    pytest.skip("an ordinary user can run no Python of this version")


def _environment(python: str, folder: Path) -> Path:
    """Create a virtual environment with copies of the packages of this one; return its interpreter.

    Copies are needed because other users may have no access to this environment: tox creates its own with mode 0700.
    """
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=_PATIENCE_S)
    (packages,) = folder.glob("lib/python*/site-packages")
    compiled = shutil.ignore_patterns("__pycache__")
    shutil.copytree(sysconfig.get_path("purelib"), packages, ignore=compiled, dirs_exist_ok=True)
    for part in ("l3agent", "etc"):
        shutil.copytree(_REPOSITORY / part, packages / part, ignore=compiled, dirs_exist_ok=True)
    return folder / "bin" / "python"


def _sandbox_of(pid: int) -> set[str]:
    """Return the namespaces of the first child of a process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {os.readlink(f"/proc/{children[0]}/ns/{kind}") for kind in _NAMESPACES} if children else set()


def _members(namespaces: set[str]) -> list[int]:
    """Return the pids of the processes in one of the namespaces."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if {os.readlink(entry / "ns" / kind) for kind in _NAMESPACES} & namespaces:
                found.append(int(entry.name))
        except OSError:
            continue  # the process ended meanwhile, or belongs to another user
    return found
