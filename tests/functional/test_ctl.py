# SPDX-License-Identifier: Apache-2.0
"""``l3-agentctl`` with a real agent and a real data plane: its output matches the kernel, its commands take effect."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from l3agent.demo.samples import sample
from l3agent.model.names import namespace_name
from l3agent.standalone.entities import stable_id
from l3agent.testing import wait_until
from tests.support.processes import SCRIPTS, Agent, Dataplane, Options

pytestmark = pytest.mark.kernel

R1, R2, R3 = (stable_id("router", name) for name in ("r1", "r2", "r3"))
_PATIENCE_S = 60


class Node:
    """An agent that serves the sample topology, and the command that controls it."""

    def __init__(self, folder: Path, machine: Dataplane) -> None:
        self.machine = machine
        self.topology = folder / "topology.yaml"
        self.topology.write_text(sample("topology.yaml").read_text())
        options: Options = {
            "DEFAULT": {"host": "node1", "state_path": folder, "periodic_interval": 1, "periodic_fuzzy_delay": 0},
            "AGENT": {"report_interval": 1},
            "dataplane": {"spawn_dataplane": False, "socket": machine.socket_path},
            "standalone": {"topology": self.topology, "watch_interval": 0.1},
        }
        self.agent = Agent(folder, options)
        self.where = ["--socket", str(folder / "l3-agent.sock")]

    def start(self) -> None:
        self.agent.start()
        self.agent.wait_for(_at_rest, _PATIENCE_S)

    def argv(self, command: str) -> list[str]:
        return [str(SCRIPTS / "l3-agentctl"), *command.split(), *self.where]

    def ctl(self, command: str, status: int = 0) -> str:
        """Run a command to its end and return its output."""
        return self._run(command, status).stdout

    def refused(self, command: str, status: int = 1) -> str:
        """Run a command that fails and return its error output."""
        return self._run(command, status).stderr

    def _run(self, command: str, status: int) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.argv(command), capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
        assert done.returncode == status, (command, done)
        return done

    def json(self, command: str, status: int = 0) -> Any:
        return json.loads(self.ctl(f"{command} --json", status))

    def inside(self, router_id: str, command: str) -> str:
        """Run a command in the namespace of a router, as an operator does."""
        return self.machine.sandbox.run(command.split(), netns=namespace_name("router", router_id))

    def replace(self, old: str, new: str) -> None:
        """Change the topology."""
        text = self.topology.read_text()
        assert old in text
        self.topology.write_text(text.replace(old, new))


def _at_rest(status: dict[str, Any]) -> bool:
    # Not "suspended": a paused router may have a pending update.
    return status["in_sync"] and not any(status["queue"][one] for one in ("waiting", "processing", "retrying"))


@pytest.fixture(scope="module")
def node(machine: Dataplane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = machine.socket_path.parent
    node = Node(folder, machine)
    node.start()
    try:
        yield node
    finally:
        node.agent.kill()
        print(node.agent.log.read_text(errors="replace"))


# Commands that inspect


@pytest.mark.feature("operation.introspection")
def test_the_status_shows_each_router(node: Node) -> None:
    lines = node.ctl("status").splitlines()
    assert lines[0].endswith("on node1: in sync")
    assert "3 routers: 3 active" in lines
    rows = {line.split()[1]: line.split() for line in lines[-3:]}
    assert {name: row[0] for name, row in rows.items()} == {"r1": R1, "r2": R2, "r3": R3}
    status = node.json("status")
    assert status["routers"][R1]["state"] == "active" and status["workers"]["size"] == 8


def test_a_terminal_gets_colour_and_lines_that_fit_unless_it_wants_none(node: Node) -> None:
    coloured = _on_terminal(node.argv("status"), 60, {})
    assert "\x1b[32mactive" in coloured
    plain = _on_terminal(node.argv("status"), 60, {"NO_COLOR": "1"})
    assert "\x1b" not in plain and "…" in plain
    assert max(map(len, plain.splitlines())) <= 60


def _on_terminal(argv: list[str], columns: int, environ: dict[str, str]) -> str:
    """Run a command on a pseudo-terminal and return its output."""
    leader, follower = pty.openpty()
    ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=follower, env={**inherited, "TERM": "xterm", **environ}
    )
    os.close(follower)
    assert process.wait(_PATIENCE_S) == 0
    shown = b""
    try:
        while data := os.read(leader, 65536):
            shown += data
    except OSError:  # EIO: nobody has the other end any more
        pass
    os.close(leader)
    return shown.decode().replace("\r\n", "\n")


def test_watch_shows_it_again_and_again_until_ctrl_c(node: Node) -> None:
    process = subprocess.Popen(node.argv("status --watch 0.1"), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        seen += "updates per second" in line
        if seen == 2:
            break
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(_PATIENCE_S) == 0


@pytest.mark.feature("operation.introspection")
def test_show_tells_what_the_kernel_has(node: Node) -> None:
    output = node.ctl("show r1")
    in_kernel = json.loads(node.inside(R1, "ip -j -4 address"))
    devices = {one["ifname"]: one for one in in_kernel if one["ifname"] != "lo"}
    for name, device in devices.items():
        assert name in output
        for address in device["addr_info"]:
            assert f"{address['local']}/{address['prefixlen']}" in output
    assert re.search(r"floating IP +203\.0\.113\.100 +10\.0\.0\.5", output)
    assert output.splitlines()[-1] == "desired against actual: no difference"
    router = node.json(f"show {R1[:8]}")
    assert router["plan"] == [] and router["desired"] == router["actual"]


def test_show_tells_which_processes_are_in_the_router(node: Node) -> None:
    assert "processes: not visible" in node.ctl("show r1")  # the sandbox has a /run of its own
    sandbox = node.machine.sandbox
    visitor = sandbox.popen(["sleep", "600"], netns=namespace_name("router", R1))
    try:
        wait_until(lambda: "sleep 600" in sandbox.run(node.argv("show r1"), timeout=_PATIENCE_S), timeout=_PATIENCE_S)
        # The sandbox has its own pid namespace: processes of the host are not visible.
        assert "processes: not visible" in sandbox.run(node.argv("show r2"), timeout=_PATIENCE_S)
    finally:
        visitor.kill()


def test_the_trace_of_the_command_tells_the_way(node: Node) -> None:
    assert "source 10.0.0.6 becomes 203.0.113.10" in node.ctl("trace r1 10.0.0.6 203.0.113.1 443")
    output = node.json("trace r1 203.0.113.1 203.0.113.100 22")
    assert (output["verdict"], output["destination"]) == ("forwarded", "10.0.0.5")
    assert node.json("trace r3 198.51.100.5 224.0.0.5", 1)["reason"].startswith("224.0.0.5 is multicast")


def test_the_traffic_of_routers_is_printed_by_device(node: Node) -> None:
    counters = node.json("traffic r1")[R1]
    assert counters["floating_ips"] is None
    assert {name[:3] for name in counters["devices"]} == {"qr-", "qg-"}
    text = node.ctl("traffic")
    assert "router r1" in text and "router r3" in text and "count_traffic is off" in text


def test_the_graph_has_routers_networks_and_hosts(node: Node) -> None:
    tree = node.ctl("graph")
    assert "│  │  ├─ host vm1  10.0.0.5/24, 2001:db8:1::5/64  <- 203.0.113.100" in tree
    assert "route 172.30.0.0/24" in tree
    ET.fromstring(node.ctl("graph --format svg"))
    assert node.ctl("graph --format mermaid").startswith("flowchart TB\n")


def test_an_unknown_router_is_an_error(node: Node) -> None:
    output = node.refused("show r9")
    assert "r9: no such router on this node" in output
    assert len(output.splitlines()) == 1


def test_completion_works_in_a_real_bash(node: Node, tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(node.ctl("completion bash"))
    socket = node.where[1]
    assert _completed(script, "l3-agentctl", "sta") == ["status"]
    assert _completed(script, "l3-agentctl", "trace", "--pro") == ["--proto"]
    assert _completed(script, "l3-agentctl", "trace", "--proto", "u") == ["udp"]
    assert _completed(script, "l3-agentctl", "show", "--socket", socket, "r") == ["r1", "r2", "r3"]
    assert _completed(script, "l3-agentctl", "show", "--socket", "/nowhere", "r") == []
    assert _completed(script, "l3-agentctl", "graph", "--format", "") == ["text", "mermaid", "svg"]


def test_a_name_that_a_tenant_chose_is_never_run_by_the_shell(node: Node, tmp_path: Path) -> None:
    script, victim = tmp_path / "completion", tmp_path / "victim"
    script.write_text(node.ctl("completion bash"))
    names = [f"$(touch {victim})", f"`touch {victim}`", f"x; touch {victim}", "a name"]
    fake = tmp_path / "l3-agentctl"
    fake.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(names) + "\nEND\n")
    fake.chmod(0o755)
    offered = _completed(script, "l3-agentctl", "show", "", path=tmp_path)
    assert len(offered) == len(names) and not victim.exists()
    quoted = subprocess.run(["bash", "-c", f"printf '%s\\n' {' '.join(offered)}"], capture_output=True, text=True)
    assert quoted.stdout.splitlines() == names and not victim.exists()


def _completed(script: Path, *words: str, path: Path = SCRIPTS) -> list[str]:
    """Return the completions of bash for the last word."""
    code = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); complete -p l3-agentctl >&2 && _l3_agentctl; '
        '((${#COMPREPLY[@]})) && printf "%s\\n" "${COMPREPLY[@]}"; true'
    )
    argv = ["bash", "--norc", "-c", code, "bash", str(script), *words]
    environ = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE_S, env=environ, check=False)
    assert done.stderr == "complete -F _l3_agentctl l3-agentctl\n"
    return done.stdout.splitlines()


# Commands that control


@pytest.mark.feature("operation.plan")
def test_the_plan_tells_by_its_exit_code_what_was_changed_by_hand(node: Node) -> None:
    assert node.ctl("plan --all --exit-code").count("0 operations") == 3
    node.ctl("pause r3")  # else it would be repaired at once
    node.inside(R3, "ip link set lo down")
    try:
        assert node.ctl("plan r3 --exit-code", 1).splitlines()[1:] == [
            f"  ip -n {namespace_name('router', R3)} link set lo up"
        ]
        assert node.ctl("plan r3").count("operations") == 1
    finally:
        node.ctl("resume r3")
    wait_until(lambda: not any(node.agent.ask("plan", router=R3)["plans"].values()), timeout=_PATIENCE_S)


@pytest.mark.feature("operation.pause")
def test_a_paused_router_is_left_alone_until_it_is_resumed(node: Node) -> None:
    node.ctl("pause r1")
    node.inside(R1, "ip address add 10.0.0.250/32 dev lo")
    gateway = next(one for one in node.json("show r1")["actual"] if one["kind"] == "link" and "qg-" in one["device"])
    node.inside(R1, f"ip address delete 203.0.113.100/32 dev {gateway['device']}")
    node.inside(R2, "ip link set lo down")  # of one that is not paused: repaired, so the repair had its time
    node.replace("203.0.113.100: vm1", "203.0.113.102: vm1")
    wait_until(lambda: node.agent.status()["queue"]["suspended"] == 1, timeout=_PATIENCE_S)
    wait_until(lambda: "LOOPBACK,UP" in node.inside(R2, "ip link show lo"), timeout=_PATIENCE_S)
    assert "203.0.113.10" not in node.inside(R1, "ip address").replace("203.0.113.10/24", "")
    output = node.ctl("show r1")
    assert "- address 203.0.113.100/32" in output and "paused" in output
    assert " paused " in node.ctl("status")

    assert node.agent.end() == 0
    node.start()  # the pause is remembered
    assert node.agent.status()["paused"] == [R1]
    assert "203.0.113.102" not in node.inside(R1, "ip address")

    node.ctl("resume r1")
    wait_until(lambda: "203.0.113.102/32" in node.inside(R1, "ip address"), timeout=_PATIENCE_S)
    assert "203.0.113.100" not in node.inside(R1, "ip address")
    node.replace("203.0.113.102: vm1", "203.0.113.100: vm1")
    wait_until(lambda: "203.0.113.100/32" in node.inside(R1, "ip address"), timeout=_PATIENCE_S)


def test_a_replay_tells_all_of_one_router_and_the_log_of_the_agent_no_more_than_usual(node: Node) -> None:
    before = node.agent.log.read_text()
    output = node.ctl("replay r1").splitlines()
    assert any(f"DEBUG router {R1} updated: 0 operations, wait " in line for line in output)
    assert not any(R2 in line for line in output)
    assert re.fullmatch(r"update: ok, 0 operations; wait .* ms, fetch .* ms, .*", output[-1])
    assert " DEBUG " not in node.agent.log.read_text().removeprefix(before)
    with node.machine.paused():
        output = node.refused("replay r1 --wait 1", 75)
        assert output == f"l3-agentctl replay: router {R1}: not processed within 1 s\n"
    node.agent.wait_for(_at_rest, _PATIENCE_S)


def test_an_agent_without_data_plane_answers_and_reports_it(node: Node) -> None:
    node.machine.kill()
    try:
        for command in ("plan", "show r1", "pause r1"):
            assert "no connection to l3-dataplane" in node.refused(command, 75)
    finally:
        node.machine.start()
    node.agent.wait_for(lambda status: status["dataplane"]["connected"] and _at_rest(status), _PATIENCE_S)
    assert node.ctl("plan --exit-code")


def test_a_paused_router_is_not_replayed(node: Node) -> None:
    node.ctl("pause r1")
    try:
        assert "paused; `l3-agentctl resume` it first" in node.refused("replay r1")
    finally:
        node.ctl("resume r1")


@pytest.mark.feature("operation.drain")
def test_a_drained_agent_can_be_stopped_by_the_same_command(node: Node) -> None:
    pid = node.agent.pid
    assert f"process {pid}, is stopping" in node.ctl("drain --stop")
    assert node.agent.wait_for_end(_PATIENCE_S) == 0
    node.start()


@pytest.mark.feature("operation.drain")
def test_a_drain_finishes_takes_no_more_and_can_be_undone(node: Node) -> None:
    assert "l3-agent can be stopped" in node.ctl("drain")
    node.replace("203.0.113.101: vm3", "203.0.113.103: vm3")
    wait_until(lambda: node.agent.status()["queue"]["suspended"] == 1, timeout=_PATIENCE_S)
    assert "1 routers have a pending update" in node.ctl("drain")
    assert "not serving: drained" in node.ctl("status")
    assert "203.0.113.103" not in node.inside(R2, "ip address")
    node.ctl("drain --undo")
    wait_until(lambda: "203.0.113.103/32" in node.inside(R2, "ip address"), timeout=_PATIENCE_S)
    node.replace("203.0.113.103: vm3", "203.0.113.101: vm3")
    wait_until(lambda: "203.0.113.101/32" in node.inside(R2, "ip address"), timeout=_PATIENCE_S)


def test_resync_asks_the_server_again_for_one_or_for_all(node: Node) -> None:
    before = node.agent.status()
    assert R2 in node.ctl("resync r2")
    wait_until(
        lambda: node.agent.status()["routers"][R2]["updates"] > before["routers"][R2]["updates"], timeout=_PATIENCE_S
    )
    node.ctl("resync")
    wait_until(lambda: node.agent.status()["full_syncs"] > before["full_syncs"], timeout=_PATIENCE_S)
