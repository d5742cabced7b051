# SPDX-License-Identifier: Apache-2.0
"""The units of etc/systemd under a real systemd: ready, without privilege, restarted, not restarted, reloaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from l3agent.demo.samples import sample
from l3agent.testing import wait_until
from tests.support.parts import SYSTEMD_BINDING
from tests.support.processes import SCRIPTS, write_conf
from tests.support.systemd import ROOT, Systemd, bind_programs

pytestmark = pytest.mark.systemd


@pytest.fixture(scope="module")
def machine() -> Iterator[Systemd]:
    """A systemd whose agent serves the sample topology to itself."""
    folder = Path(tempfile.mkdtemp(prefix="l3-systemd-"))
    shutil.copy(sample("topology.yaml"), folder)
    shutil.copytree(SYSTEMD_BINDING, folder / "python" / "systemd")
    options: dict[str, dict[str, object]] = {
        "DEFAULT": {"host": "node1", "use_journal": True},
        "dataplane": {"spawn_dataplane": True, "allow_private_netns_path": True},  # the unit says no to the first
        "http": {"port": 9796},
        "standalone": {"topology": "/run/l3agent/topology.yaml"},
    }
    write_conf(folder / "l3_agent.conf", options)
    programs = {
        name: f"ExecStart=\nExecStart={SCRIPTS / name} --config-file=/run/l3agent/l3_agent.conf\n"
        for name in ("l3-agent", "l3-dataplane")
    }
    home = "ProtectHome=no\n"  # the programs under test may be in one
    path = "Environment=PYTHONPATH=/run/l3agent/python\n"
    drop_ins = {
        "l3-agent": f"{programs['l3-agent']}{home}{bind_programs()}{path}WatchdogSec=15\n",
        "l3-dataplane": f"{programs['l3-dataplane']}{path}",
    }
    try:
        with Systemd(folder, drop_ins) as machine:
            machine.start("l3-dataplane", "l3-agent")
            wait_in_sync(machine)
            yield machine
    finally:
        shutil.rmtree(folder)


def wait_in_sync(machine: Systemd) -> dict[str, Any]:
    program = "import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1], timeout=5).read())"

    def status() -> dict[str, Any] | None:
        text = machine.run(sys.executable, "-c", program, "http://127.0.0.1:9796/status.json", check=False)
        found: dict[str, Any] = json.loads(text) if text else {}
        states = {one["state"] for one in found.get("routers", {}).values()}
        return found if found.get("in_sync") and states == {"active"} else None

    try:
        found = wait_until(status, timeout=60)
    except TimeoutError as exc:
        raise AssertionError(machine.journal()) from exc
    assert found is not None
    return found


def routers(machine: Systemd) -> set[str]:
    return {line.split()[0] for line in machine.run("ip", "netns").splitlines() if line.startswith("qrouter-")}


@pytest.mark.feature("operation.systemd")
def test_both_units_are_ready_and_the_agent_has_no_privilege(machine: Systemd) -> None:
    for unit in ("l3-dataplane", "l3-agent"):
        shown = machine.show(unit)
        assert (shown["ActiveState"], shown["SubState"], shown["Type"]) == ("active", "running", "notify")
        assert machine.status(unit)["NoNewPrivs"] == "1"
    assert machine.status("l3-agent")["Uid"].split() == ["64999"] * 4
    assert machine.show("l3-agent")["StatusText"].startswith("running")
    agent = machine.status("l3-agent")
    assert {agent[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh")} == {"0" * 16}
    dataplane = machine.status("l3-dataplane")
    assert int(dataplane["CapEff"], 16) == sum(1 << number for number in (5, 6, 7, 11, 12, 13, 21))
    assert dataplane["CapBnd"] == dataplane["CapEff"]


def test_namespaces_are_seen_outside_and_work(machine: Systemd) -> None:
    found = routers(machine)
    assert len(found) == 3
    for name in found:
        assert "qr-" in machine.run("ip", "-n", name, "-br", "link")
    assert machine.run("ip", "netns", "exec", "l3host-vm1", "ping", "-c", "1", "-W", "5", "203.0.113.1")


@pytest.mark.feature("operation.systemd")
def test_a_killed_agent_and_a_killed_data_plane_are_back_and_the_routers_never_went(machine: Systemd) -> None:
    before = routers(machine)
    for unit in ("l3-agent", "l3-dataplane"):
        shown = machine.show(unit)
        machine.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", unit)
        assert routers(machine) == before
        count = str(int(shown["NRestarts"]) + 1)
        back = machine.wait_for(unit, NRestarts=count, ActiveState="active", SubState="running")
        assert back["MainPID"] != shown["MainPID"]
        wait_in_sync(machine)
        assert routers(machine) == before


@pytest.mark.feature("operation.systemd")
def test_an_agent_that_stands_still_is_ended_by_the_watchdog_and_started_again(machine: Systemd) -> None:
    before = machine.show("l3-agent")
    machine.run("systemctl", "kill", "--signal=STOP", "--kill-who=main", "l3-agent")
    count = str(int(before["NRestarts"]) + 1)
    machine.wait_for("l3-agent", NRestarts=count, ActiveState="active", SubState="running")
    wait_until(lambda: "Watchdog timeout" in machine.journal("-u", "l3-agent"), timeout=20)
    wait_in_sync(machine)


def test_a_reload_is_a_signal_and_no_restart(machine: Systemd) -> None:
    before = machine.show("l3-agent")
    machine.run("systemctl", "reload", "l3-agent")
    wait_until(lambda: "Reloading" in machine.journal("-u", "l3-agent"), timeout=20)
    after = machine.wait_for("l3-agent", ActiveState="active")
    assert (after["MainPID"], after["NRestarts"]) == (before["MainPID"], before["NRestarts"])


#: As Debian 12's neutron-common installs it.
DEBIAN_LOGROTATE = """
/var/log/neutron/*.log {
    daily
    missingok
    compress
    delaycompress
    copytruncate
}
"""


def test_logrotate_rotates_our_log_beside_the_file_of_debian(machine: Systemd) -> None:
    assert machine.run("stat", "--format=%U %a", "/var/log/l3agent").split() == ["root", "750"]
    ours, neutrons = "/var/log/l3agent/l3-dataplane.log", "/var/log/neutron/l3-agent.log"
    machine.run("sh", "-c", f"echo ours > {ours}; echo agent > {neutrons}; chown neutron:neutron {neutrons}")
    # logrotate refuses files that others may write, and a checkout may belong to any user.
    machine.run("mkdir", "/run/l3agent/rotate")
    machine.run("install", "-m", "644", str(ROOT / "etc" / "logrotate.d" / "l3agent"), "/run/l3agent/rotate/l3agent")
    program = f"cat > /run/l3agent/rotate/neutron-common <<'END'\n{DEBIAN_LOGROTATE}END"
    machine.run("sh", "-c", f"{program}\nchmod 644 /run/l3agent/rotate/*; chmod 755 /var/log/neutron")
    machine.run(
        "sh", "-c", "printf 'su root root\\nrotate 4\\ninclude /run/l3agent/rotate\\n' > /run/l3agent/logrotate.conf"
    )
    command = "logrotate --force --verbose --state /run/l3agent/rotated /run/l3agent/logrotate.conf 2>&1"
    output = machine.run("sh", "-c", command)
    assert "error:" not in output and "duplicate" not in output, output
    assert machine.run("cat", f"{ours}.1", f"{neutrons}.1").splitlines() == ["ours", "agent"]
    assert machine.run("stat", "--format=%s", ours, neutrons).split() == ["0", "0"]


def test_a_stop_ends_in_good_order_and_leaves_the_routers(machine: Systemd) -> None:
    before = routers(machine)
    machine.run("systemctl", "stop", "l3-agent", "l3-dataplane")
    for unit in ("l3-agent", "l3-dataplane"):
        shown = machine.show(unit)
        assert (shown["ActiveState"], shown["Result"], shown["ExecMainStatus"]) == ("inactive", "success", "0"), unit
    assert routers(machine) == before
    machine.start("l3-dataplane", "l3-agent")
    wait_in_sync(machine)


@pytest.mark.feature("operation.systemd")
def test_a_wrong_configuration_is_said_and_not_tried_again(machine: Systemd) -> None:
    machine.run("systemctl", "stop", "l3-agent")
    conf = "/run/l3agent/l3_agent.conf"
    machine.run("sed", "-i", "s/^port = 9796/port = many/", conf)
    machine.run("systemctl", "reset-failed", "l3-agent", check=False)
    machine.run("systemctl", "start", "l3-agent", check=False)
    shown = machine.wait_for("l3-agent", ActiveState="failed")
    assert (shown["Result"], shown["ExecMainStatus"], shown["NRestarts"]) == ("exit-code", "78", "0")
    wait_until(lambda: "[http] port" in machine.journal("-u", "l3-agent"), timeout=20)
    machine.run("sed", "-i", "s/^port = many/port = 9796/", conf)
    machine.start("l3-agent")
    wait_in_sync(machine)


@pytest.mark.feature("operation.systemd")
def test_the_journal_has_the_request_of_an_update_as_a_field(machine: Systemd) -> None:
    topology = "/run/l3agent/topology.yaml"
    machine.run("sed", "-i", "s/203.0.113.100: vm1/203.0.113.110: vm1/", topology)

    def lines() -> list[dict[str, Any]]:
        text = machine.journal("-o", "json", "LOGGER_NAME=l3agent.agent.results")
        found = [json.loads(line) for line in text.splitlines()]
        return [line for line in found if "REQUEST_ID" in line]

    line = wait_until(lines, timeout=30)[0]
    assert line["REQUEST_ID"].startswith("req-") and line["PRIORITY"] == "6"
    assert " updated: " in line["MESSAGE"]


@pytest.mark.parametrize(
    "unit", sorted((ROOT / "etc" / "systemd").glob("*.service"), key=str), ids=lambda one: one.name
)
def test_systemd_finds_no_fault_with_a_unit(unit: Path, tmp_path: Path) -> None:
    """The programs are not where the units say, in a checkout; all else must be right."""
    checked = tmp_path / unit.name
    checked.write_text(unit.read_text().replace("=/usr/bin/l3-", "=/bin/true --"))
    others = [one.name for one in unit.parent.glob("*.service") if one != unit]
    for name in others:
        (tmp_path / name).write_text((unit.parent / name).read_text().replace("=/usr/bin/l3-", "=/bin/true --"))
    done = subprocess.run(["systemd-analyze", "verify", str(checked)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(checked)]
    level = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.rsplit(": ", 1)[1].split()[0]
    assert float(level) <= {"l3-agent.service": 2.0, "l3-dataplane.service": 6.0}[unit.name]
