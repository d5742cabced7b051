# SPDX-License-Identifier: Apache-2.0
"""Supervision of real processes: adoption, reload, stop and back-off; haproxy, radvd and keepalived."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from l3agent.dataplane.programs.program import Program, ReadinessCheck, StopSequence
from tests.support.program_driver import Driver
from tests.support.sandbox import Sandbox, SandboxError
from tests.support.waiting import poll

pytestmark = pytest.mark.kernel

ROOT = "/run/l3agent/programs"
_LIMIT_S = 30.0

#: A program that appends a line to its journal for each event. Its configuration has its behaviour.
_SCRIPT = """
import json, os, signal, sys, time
directory = sys.argv[1]
conf = json.load(open(directory + "/conf"))
def note(what):
    with open(conf["journal"], "a") as file:
        file.write(what + chr(10))
def reload(*_):
    note("reload " + json.load(open(directory + "/conf"))["text"])
def stop(*_):
    note("stop")
    if not conf.get("is_deaf"):
        os._exit(0)
note("start " + str(os.getpid()) + " " + conf["text"])
if conf.get("exits"):
    sys.exit(0)
if conf.get("forks") and os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pause()
    time.sleep(1000)
for line in conf.get("says", []):
    print(line, flush=True)
time.sleep(conf.get("slow", 0))
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGHUP, reload)
def write(*_):
    for number in range(3000):
        try:
            os.write(1, b"line %d of the time without a reader\\n" % number)
        except BlockingIOError:
            pass
    note("written")
signal.signal(signal.SIGUSR1, write)
if conf.get("pid_file"):
    with open(directory + "/pid", "w") as file:
        file.write(str(os.getpid()))
while True:
    signal.pause()
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        sandbox.run(["ip", "netns", "add", "qrouter-1"])
        sandbox.run(["ip", "-n", "qrouter-1", "link", "set", "lo", "up"])
        yield sandbox


class Site:
    """A supervisor with a directory of its own, and the programs that a test makes."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox, self.folder = sandbox, folder
        self.journal = folder / "journal"
        self.script = folder / "program.py"
        self.script.write_text(_SCRIPT)
        self.root = f"{ROOT}-{folder.name}"
        self.driver = Driver(sandbox, folder, self.root)

    def program(self, text: str = "a", **conf: object) -> Program:
        content = json.dumps({"text": text, "journal": str(self.journal), **conf})
        return Program(
            "example",
            ("router", "1"),
            ("python3", "-I", "-S", str(self.script), "{directory}"),
            namespace="qrouter-1",
            files={"conf": content},
            reload=signal.SIGHUP,
            stop=StopSequence(seconds=0.5),
        )

    def lines(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def processes(self) -> list[int]:
        """Return the ids of the processes that have the directory of the programs in an argument."""
        try:
            return [int(pid) for pid in self.sandbox.run(["pgrep", "-f", f"{self.root}/"]).split()]
        except SandboxError:
            return []

    def restart(self, *options: str) -> None:
        self.driver.kill()
        self.driver = Driver(self.sandbox, self.folder, self.root, *options)

    def send(self, number: int, *pids: int) -> None:
        self.sandbox.run(["kill", f"-{int(number)}", *map(str, pids)])

    def log(self) -> str:
        return self.driver.log.read_text()

    def close(self) -> None:
        self.driver.kill()
        if left := self.processes():
            self.send(signal.SIGKILL, *left)


@pytest.fixture
def site(shared: Sandbox) -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="l3-"))
    site = Site(shared, folder)
    yield site
    print(site.log()[-3000:])
    site.close()
    shutil.rmtree(folder)


def test_a_program_runs_in_its_namespace_and_stops(site: Site) -> None:
    program = site.program(says=["hello", "x" * 3000, "esc\x1b[2J"])
    assert site.driver.run(program) is None
    pid = site.driver.pid(program)
    inside = site.sandbox.run(["readlink", f"/proc/{pid}/ns/net"])
    assert inside == site.sandbox.run(["readlink", "/proc/self/ns/net"], netns="qrouter-1")
    assert site.sandbox.run(["ps", "-o", "sid=", "-p", str(pid)]).split() == [str(pid)]
    environment = site.sandbox.run(["cat", f"/proc/{pid}/environ"])
    assert "L3AGENT_SECRET" not in environment
    descriptors = site.sandbox.run(["sh", "-c", f"readlink /proc/{pid}/fd/*"]).split()
    assert sorted(descriptors) == ["/dev/null", *[f"{site.root}/example@router-1/.output"] * 2]
    log = poll(lambda: "esc" in site.log() and site.log(), _LIMIT_S)
    assert "example@router-1: hello\n" in log and f"{'x' * 1000} ...\n" in log and "\x1b" not in log
    assert site.driver.stop(program) is None
    assert site.lines() == [f"start {pid} a", "stop"]
    assert site.sandbox.run(["ls", "-A", site.root]) == "" and site.driver.status(program) is None
    assert site.driver.stop(program) is None, "a program that is not there"


def test_changes_reload_or_restart(site: Site) -> None:
    program = site.program()
    assert site.driver.run(program) is None and site.driver.run(program) is None
    first = site.driver.pid(program)
    assert site.driver.run(site.program("b")) is None
    poll(lambda: site.lines() == [f"start {first} a", "reload b"], _LIMIT_S)
    other = site.program("b")
    other = replace(other, argv=(*other.argv, "more"))
    assert site.driver.run(other) is None
    second = site.driver.pid(other)
    assert second != first and site.lines()[2:] == ["stop", f"start {second} b"]
    unable = replace(
        other,
        files=site.program("c", pid_file=True).files,
        reload=None,
        pid_files=("pid",),
        ready=ReadinessCheck(pid_file=True),
    )
    assert site.driver.run(unable) is None
    third = site.driver.pid(unable)
    assert site.lines()[4:] == ["stop", f"start {third} c"]
    assert site.driver.run(replace(unable, files=site.program("d", pid_file=True).files)) is None
    assert site.lines()[6:] == ["stop", f"start {site.driver.pid(unable)} d"]


def test_a_change_before_readiness_is_kept_and_applied_once(site: Site) -> None:
    assert site.driver.run(site.program(slow=0.7), waits=False) is None
    poll(lambda: site.lines(), _LIMIT_S)
    assert site.driver.run(site.program("b", slow=0.7), waits=False) is None
    assert site.driver.run(site.program("c", slow=0.7)) is None
    assert poll(lambda: site.lines()[1:], _LIMIT_S) == ["reload c"]
    assert len(site.processes()) == 1


def test_a_killed_data_plane_leaves_programs_that_the_next_one_adopts(site: Site) -> None:
    program = site.program()
    assert site.driver.run(program) is None
    pid = site.driver.pid(program)
    site.restart()
    assert site.driver.pid(program) == pid, "without a submission"
    assert site.driver.run(site.program("b")) is None
    assert site.driver.pid(program) == pid
    poll(lambda: site.lines()[1:] == ["reload b"], _LIMIT_S)
    # The end of an adopted process is reported as that of a child.
    site.send(signal.SIGKILL, pid)
    poll(lambda: site.driver.request(op="events"), _LIMIT_S)
    assert site.driver.pid(program) != pid and site.lines()[2].endswith(" b")
    assert site.driver.stop(program) is None and not site.processes()


def test_a_crash_between_start_and_record_starts_nothing_twice(site: Site) -> None:
    program = site.program()
    assert site.driver.run(program) is None
    pid = site.driver.pid(program)
    record = f"{site.root}/example@router-1/.record"
    value = json.loads(site.sandbox.run(["cat", record]))
    site.driver.kill()
    site.sandbox.run(["tee", record], input=json.dumps({**value, "pid": None, "start": None}))
    site.restart()
    assert site.driver.run(program) is None and site.driver.pid(program) == pid and site.processes() == [pid]
    # A lost record: the process is stopped before another one starts.
    site.driver.kill()
    site.sandbox.run(["rm", record])
    site.restart()
    assert site.driver.run(program) is None
    assert site.processes() == [site.driver.pid(program)] != [pid]


def test_a_change_that_a_crash_left_without_a_signal_is_applied(site: Site) -> None:
    assert site.driver.run(site.program()) is None
    site.driver.kill()
    site.sandbox.run(["tee", f"{site.root}/example@router-1/conf"], input=site.program("b").files["conf"])
    site.restart()
    assert site.driver.run(site.program("b")) is None
    poll(lambda: site.lines()[1:] == ["reload b"], _LIMIT_S)


def test_a_stop_that_a_crash_interrupts_stays_a_stop(site: Site) -> None:
    program = replace(site.program(is_deaf=True), stop=StopSequence(seconds=2.0))
    assert site.driver.run(program) is None
    site.driver.stop(program, waits=False)
    poll(lambda: site.lines()[1:] == ["stop"], _LIMIT_S)
    site.restart()
    poll(lambda: not site.processes() and site.driver.status(program) is None, _LIMIT_S)
    assert [line for line in site.lines() if line.startswith("start")] == site.lines()[:1]


def test_a_foreign_process_with_a_recorded_id_is_left_alone(site: Site) -> None:
    program = site.program()
    assert site.driver.run(program) is None
    record = f"{site.root}/example@router-1/.record"
    value = json.loads(site.sandbox.run(["cat", record]))
    site.driver.kill()
    site.send(signal.SIGKILL, value["pid"])
    editor = site.sandbox.popen(["tail", "-f", f"{site.root}/example@router-1/conf"])
    (pid,) = poll(lambda: [one for one in site.processes() if one != value["pid"]], _LIMIT_S)
    site.sandbox.run(["tee", record], input=json.dumps({**value, "pid": pid}))
    site.restart()
    site.driver.pid(program)
    assert site.driver.stop(program) is None
    assert editor.entrance.poll() is None
    editor.kill()


def test_output_without_a_data_plane_neither_ends_nor_blocks_a_program(site: Site) -> None:
    program = site.program()
    assert site.driver.run(program) is None
    pid = site.driver.pid(program)
    site.driver.kill()
    site.send(signal.SIGUSR1, pid)
    poll(lambda: site.lines()[1:] == ["written"], _LIMIT_S)
    site.restart()
    poll(lambda: "example@router-1: line 0 of the time without a reader" in site.log(), _LIMIT_S)
    assert site.driver.pid(program) == pid


@pytest.mark.skipif(os.geteuid() != 0, reason="a user namespace of one user has no other")
def test_a_program_of_another_user(site: Site) -> None:
    site.folder.chmod(0o777)
    program = replace(site.program(), user="nobody")
    assert site.driver.run(program) is None
    pid = site.driver.pid(program)
    status = site.sandbox.run(["cat", f"/proc/{pid}/status"])
    assert "Uid:\t65534\t65534\t65534\t65534" in status and "CapEff:\t0000000000000000" in status
    assert "Groups:\t\n" in status.replace(" ", "")
    # The namespace of a process of another user is shown to that user only.
    record = f"{site.root}/example@router-1/.record"
    value = json.loads(site.sandbox.run(["cat", record]))
    site.driver.kill()
    site.sandbox.run(["tee", record], input=json.dumps({**value, "pid": None, "start": None}))
    site.restart()
    assert site.driver.run(replace(site.program("b"), user="nobody")) is None
    poll(lambda: site.lines()[1:] == ["reload b"], _LIMIT_S)
    assert site.driver.pid(program) == pid and site.driver.stop(program) is None and not site.processes()
    error = site.driver.run(replace(program, user="l3agent-none"))
    assert error is not None and "there is no user l3agent-none" in error


def test_the_rest_of_an_ended_program_ends_before_a_restart(site: Site) -> None:
    program = site.program(forks=True)
    assert site.driver.run(program) is None
    parent = site.driver.pid(program)
    child = next(pid for pid in site.processes() if pid != parent)
    site.send(signal.SIGKILL, parent)
    started = poll(lambda: (lines := site.lines())[1:] and lines[1].startswith("start") and lines, _LIMIT_S)
    assert len(started) == 2 and child not in site.processes()
    # Parent and child at once.
    site.driver.pid(program)
    site.send(signal.SIGKILL, *site.processes())
    poll(lambda: len(site.lines()) == 3, _LIMIT_S)
    site.driver.pid(program)
    assert site.driver.stop(program) is None and not site.processes()


def test_exits_with_status_0_are_failures_with_back_off(site: Site) -> None:
    program = site.program(exits=True)
    error = site.driver.run(program)
    assert error is not None and "exited with status 0" in error
    assert site.driver.wait_for(program, "waiting")["restarts"] == 1
    (event,) = site.driver.request(op="events")
    assert event["reason"] == "exited with status 0" and event["is_restarted"]
    # A stop during the back-off; another program does not wait for its end.
    assert site.driver.run(site.program()) is None
    assert site.driver.stop(program) is None
    assert site.driver.run(program) is not None
    assert site.driver.stop(program) is None and site.driver.status(program) is None
    count = len(site.lines())
    time.sleep(1.2)
    assert len(site.lines()) == count


def test_a_program_that_is_never_ready_is_stopped(site: Site) -> None:
    program = replace(site.program(slow=100), ready=ReadinessCheck(seconds=0.3))
    error = site.driver.run(program)
    assert error is not None and "not ready in time" in error


def test_without_respawn_an_end_is_reported_only(site: Site) -> None:
    site.restart("--exit")
    program = site.program()
    assert site.driver.run(program) is None
    site.send(signal.SIGKILL, site.driver.pid(program))
    site.driver.wait_for(program, "failed")
    (event,) = site.driver.request(op="events")
    assert not event["is_restarted"] and event["reason"] == "was ended by SIGKILL"


def test_a_missing_program_and_a_missing_namespace_are_named(site: Site) -> None:
    program = site.program()
    error = site.driver.run(replace(program, name="conntrackd", argv=("l3agent-missing", "{directory}/conf")))
    assert error is not None and "l3agent-missing is not installed (Debian package: l3agent-missing)" in error
    error = site.driver.run(replace(program, namespace="qrouter-none"))
    assert error is not None and "no network namespace qrouter-none" in error
    assert site.driver.run(program) is None, "others are not affected"


def test_another_namespace_of_the_name_restarts(site: Site) -> None:
    site.sandbox.run(["ip", "netns", "add", "qrouter-2"])
    program = replace(site.program(), namespace="qrouter-2")
    assert site.driver.run(program) is None
    first = site.driver.pid(program)
    site.sandbox.run(["ip", "netns", "del", "qrouter-2"])
    site.sandbox.run(["ip", "netns", "add", "qrouter-2"])
    assert site.driver.run(program) is None
    pid = site.driver.pid(program)
    assert pid != first
    inside = site.sandbox.run(["readlink", f"/proc/{pid}/ns/net"])
    assert inside == site.sandbox.run(["readlink", "/proc/self/ns/net"], netns="qrouter-2")


def test_a_full_disk_leaves_the_running_configuration(shared: Sandbox) -> None:
    folder = Path(tempfile.mkdtemp(prefix="l3-"))
    root = f"{ROOT}-{folder.name}"
    shared.run(["mkdir", "-p", root])
    shared.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", root])
    site = Site(shared, folder)
    try:
        program = site.program()
        assert site.driver.run(program) is None
        shared.run(["sh", "-c", f"dd if=/dev/zero of={root}/fill bs=4k 2>/dev/null; true"])
        error = site.driver.run(site.program("b" * 20_000))
        assert error is not None and "No space left on device" in error
        conf = shared.run(["cat", f"{root}/example@router-1/conf"])
        assert conf == program.files["conf"] and len(site.lines()) == 1
        site.send(signal.SIGKILL, pid := site.driver.pid(program))
        shared.run(["rm", f"{root}/fill"])
        poll(lambda: len(site.lines()) == 2, _LIMIT_S)
        assert site.driver.pid(program) != pid and site.lines()[1].endswith(" a")
        shared.run(["sh", "-c", f"dd if=/dev/zero of={root}/fill bs=4k 2>/dev/null; true"])
        assert site.driver.stop(program) is None and not site.processes()
    finally:
        print(site.log()[-3000:])
        site.close()
        shared.run(["umount", "-l", root])
        shutil.rmtree(folder)


def test_an_invalid_record_is_named(site: Site) -> None:
    site.driver.kill()
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"program": {"files": []}}')):
        site.sandbox.run(["mkdir", "-m", "755", f"{site.root}/{name}"])
        site.sandbox.run(["tee", f"{site.root}/{name}/.record"], input=text)
    site.restart()
    assert site.log().count("the record is invalid") == 3
    assert site.driver.run(site.program()) is None


_HAPROXY = """
global
  maxconn 10
defaults
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
frontend x
  bind unix@{root}/haproxy@router-1/sock mode 600
  http-request return status 200
"""
_KEEPALIVED = """
vrrp_instance VR_1 {
  state BACKUP
  interface lo0
  virtual_router_id 1
  priority 50
  virtual_ipaddress {
    169.254.0.1/24 dev lo0
  }
}
"""


def _haproxy(root: str) -> Program:
    argv = ("haproxy", "-W", "-db", "-f", "{directory}/conf")
    files = {"conf": _HAPROXY.replace("{root}", root)}
    return Program("haproxy", ("router", "1"), argv, "qrouter-1", files, ready=ReadinessCheck(socket="sock"))


def _radvd(root: str) -> Program:
    argv = ("radvd", "-n", "-C", "{directory}/conf", "-p", "{directory}/pid", "-m", "stderr", "-u", "root")
    files = {"conf": "interface lo { AdvSendAdvert on; IgnoreIfMissing on; };\n"}
    check = ReadinessCheck(pid_file=True)
    return Program(
        "radvd", ("router", "1"), argv, "qrouter-1", files, reload=signal.SIGHUP, pid_files=("pid",), ready=check
    )


def _keepalived(root: str) -> Program:
    argv = ("keepalived", "-n", "-l", "-P", "-f", "{directory}/conf", "-p", "{directory}/pid", "-r", "{directory}/vrrp")
    files: Mapping[str, str] = {"conf": _KEEPALIVED}
    return Program(
        "keepalived",
        ("router", "1"),
        argv,
        "qrouter-1",
        files,
        reload=signal.SIGHUP,
        pid_files=("pid", "vrrp"),
        ready=ReadinessCheck(pid_file=True),
    )


@pytest.mark.parametrize("make", [_haproxy, _radvd, _keepalived])
def test_programs_of_debian(site: Site, make: Callable[[str], Program]) -> None:
    program = make(site.root)
    if site.sandbox.run(["sh", "-c", f"command -v {program.name} || true"]) == "":
        pytest.skip(f"not installed: {program.name} (tests/install-debian-packages.sh neutron installs it)")
    if program.name == "keepalived":
        site.sandbox.run(["sh", "-c", "ip -n qrouter-1 link add lo0 type veth peer name lo1"])
        site.sandbox.run(["sh", "-c", "ip -n qrouter-1 link set lo0 up; ip -n qrouter-1 link set lo1 up"])
    # A stale pid file that names a live process keeps keepalived from running.
    directory = f"{site.root}/{program.label}"
    site.sandbox.run(["mkdir", "-p", directory])
    for name in program.pid_files:
        site.sandbox.run(["tee", f"{directory}/{name}"], input="1\n")
    assert site.driver.run(program) is None
    first = site.driver.pid(program)
    assert len(site.processes()) >= 2, "parent and child"
    site.restart()
    changed = replace(program, files={"conf": program.files["conf"] + "# changed\n"})
    assert site.driver.run(changed) is None
    pid = site.driver.pid(program)
    assert (pid == first) is (program.reload is not None)
    before = site.processes()
    site.send(signal.SIGKILL, pid)
    poll(lambda: (found := site.driver.status(program)) and found["restarts"] == 1, _LIMIT_S)
    assert site.driver.pid(program) != pid
    assert not set(before) & set(site.processes())
    assert site.driver.stop(program) is None and not site.processes()
