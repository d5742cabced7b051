# SPDX-License-Identifier: Apache-2.0
"""The real agent in operation: --once, JSON logs, the SIGUSR2 report, and secrets that stay out of the log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l3agent.demo.samples import sample
from l3agent.testing import wait_until
from tests.support.processes import SCRIPTS, Agent, Dataplane, Options, write_conf
from tests.support.sandbox import Sandbox

#: No broker listens here: the port of the discard service, which is not installed.
NO_BROKER = "127.0.0.1:9"
SECRET = "s3cr3t-of-the-broker"


def options(folder: Path, socket: Path, **more: Any) -> dict[str, dict[str, object]]:
    return {
        "DEFAULT": {"state_path": folder, "host": "node1", **more},
        "dataplane": {"spawn_dataplane": False, "socket": socket},
        "standalone": {"topology": sample("topology.yaml")},
    }


def once(folder: Path, given: Options, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [str(SCRIPTS / "l3-agent"), "--config-file", str(write_conf(folder / "once.conf", given)), "--once"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run([*argv, *arguments], **output, text=True, timeout=100, check=False)


@pytest.mark.feature("process.once")
@pytest.mark.kernel
def test_once_builds_all_routers_and_leaves_them_standing(dataplane: Dataplane, folder: Path) -> None:
    done = once(folder, options(folder, dataplane.socket_path))
    assert done.returncode == 0, done.stdout
    assert "3 routers are in sync" in done.stdout
    names = [one["name"] for one in dataplane.sandbox.json("ip -j netns")]
    assert len([name for name in names if name.startswith("qrouter-")]) == 3
    again = once(folder, options(folder, dataplane.socket_path), "--debug")
    assert again.returncode == 0
    assert re.findall(r"router \S+ updated: 0 operations", again.stdout)
    assert not re.findall(r"router \S+ updated: [1-9]", again.stdout)


@pytest.mark.feature("process.once")
@pytest.mark.kernel
def test_once_tells_that_a_router_failed(sandbox: Sandbox, folder: Path) -> None:
    machine = Dataplane(sandbox, folder, pool_size=0)
    machine.start("setpriv", "--bounding-set=-sys_resource", "--", "prlimit", "--nofile=70:70", "--")
    done = once(folder, options(folder, machine.socket_path))
    assert done.returncode == 75, done.stdout
    assert re.search(r"router \S+ failed: .*70 open descriptors", done.stdout), done.stdout
    machine.hang_up()


@pytest.mark.feature("process.once")
@pytest.mark.kernel
def test_a_second_agent_leaves_with_status_75_and_the_first_goes_on_to_answer(
    dataplane: Dataplane, folder: Path, start_agent: Callable[[Options], Agent]
) -> None:
    given = options(folder, dataplane.socket_path)
    agent = start_agent(given)
    agent.wait_in_sync()
    log = agent.log.read_text()
    second = once(folder, given)
    assert second.returncode == 75, second.stdout
    assert second.stdout.splitlines()[-1].startswith(f"l3-agent: another l3-agent listens on {folder}/l3-agent.sock")
    assert agent.status()["in_sync"]
    assert agent.log.read_text() == log  # the data plane that it has was not asked for either
    assert agent.end() == 0
    assert not (folder / "l3-agent.sock").exists()


@pytest.mark.feature("process.once")
def test_once_without_a_broker_gives_up_after_its_wait(folder: Path) -> None:
    given = options(folder, folder / "none.sock", transport_url=f"rabbit://guest:guest@{NO_BROKER}/")
    del given["standalone"]
    given["AGENT"] = {"root_helper": "true"}
    done = once(folder, given, "--wait", "1")
    assert done.returncode == 69, done.stdout
    assert "No full sync within 1 s" in done.stdout


@pytest.mark.feature("operation.update-log")
@pytest.mark.kernel
def test_json_lines_carry_the_fields_of_an_update_and_its_request(
    dataplane: Dataplane, folder: Path, start_agent: Callable[[Options], Agent]
) -> None:
    topology = folder / "topology.yaml"
    topology.write_text(sample("topology.yaml").read_text())
    given = options(folder, dataplane.socket_path, use_json=True)
    given["standalone"] = {"topology": topology, "watch_interval": 0.05}
    agent = start_agent(given)
    agent.wait_in_sync()
    topology.write_text(topology.read_text().replace("203.0.113.100: vm1", "203.0.113.110: vm1"))

    def updates() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in agent.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["name"] == "l3agent.agent.results" and line["context"]]

    [line] = wait_until(updates, timeout=20)
    assert re.fullmatch(r"req-[0-9a-f-]{36}", line["context"]["request_id"])
    assert line["extra"]["update"] == "update" and line["extra"]["operations"] > 0
    assert line["extra"]["timings"].keys() == {"wait", "fetch", "observe", "plan", "apply"}
    assert line["levelname"] == "INFO" and line["hostname"]
    # The server inside this process logs the same request id as the agent.
    assert line["extra"]["router_id"] in agent.status()["routers"]


@pytest.mark.feature("process.sighup")
@pytest.mark.kernel
def test_sighup_takes_over_what_can_change_and_names_what_needs_a_restart(
    dataplane: Dataplane, folder: Path, start_agent: Callable[[Options], Agent]
) -> None:
    given = options(folder, dataplane.socket_path)
    agent = start_agent(given)
    agent.wait_in_sync()
    before = agent.status()["routers"]
    given["DEFAULT"]["debug"] = True
    given["l3agent"] = {"router_workers": 3}
    conf = write_conf(folder / "l3-agent.conf", given)
    os.kill(agent.pid, signal.SIGHUP)
    text = agent.log.read_text
    wait_until(lambda: "Options changed that need a restart: l3agent.router_workers" in text(), timeout=30)
    assert "Options changed: DEFAULT.debug" in text()
    wait_until(lambda: " DEBUG " in text(), timeout=30)
    conf.write_text("this is no configuration")
    os.kill(agent.pid, signal.SIGHUP)
    wait_until(lambda: "Cannot reload the configuration, the old one stays in effect" in text(), timeout=30)
    assert agent.status()["routers"] == before  # nothing was restarted, nothing was done to a router
    assert agent.end() == 0


@pytest.mark.feature("operation.drift")
@pytest.mark.kernel
def test_what_a_hand_does_to_hosts_and_cards_is_undone_by_the_next_data_plane_too(
    dataplane: Dataplane, folder: Path, start_agent: Callable[[Options], Agent]
) -> None:
    sandbox, topology = dataplane.sandbox, folder / "topology.yaml"
    sandbox.run(["ip", "link", "add", "card0", "type", "veth", "peer", "name", "wire0"])
    topology.write_text(
        "networks: {public: {external: {interface: card0}, subnets: {pub: {cidr: 203.0.113.0/24}}}}\n"
        "hosts: {vm1: {network: public, addresses: [203.0.113.5]}}\n"
    )
    given = options(folder, dataplane.socket_path)
    given["standalone"] = {"topology": topology}
    agent = start_agent(given)

    def joined() -> bool:
        return "master" in sandbox.json("ip -j link show dev card0")[0]

    def addressed() -> bool:
        found = [one for one in sandbox.namespaces() if one.endswith("vm1")]
        return bool(found) and "203.0.113.5" in sandbox.run(["ip", "-4", "address", "show"], netns=found[0])

    wait_until(lambda: joined() and addressed(), timeout=30)
    dataplane.kill()
    dataplane.start()
    wait_until(lambda: agent.log.read_text().count("Connected to l3-dataplane") == 2, timeout=30)
    (namespace,) = [one for one in sandbox.namespaces() if one.endswith("vm1")]
    sandbox.run(["ip", "address", "flush", "dev", "eth0"], netns=namespace)
    sandbox.run(["ip", "link", "set", "card0", "nomaster"])
    wait_until(lambda: joined() and addressed(), timeout=10)


@pytest.mark.feature("operation.guru-report")
@pytest.mark.kernel
def test_sigusr2_reports_queue_workers_routers_and_errors(
    dataplane: Dataplane, folder: Path, start_agent: Callable[[Options], Agent]
) -> None:
    reports = folder / "reports"
    reports.mkdir()
    given = options(folder, dataplane.socket_path)
    given["oslo_reports"] = {"log_dir": reports}
    agent = start_agent(given)
    agent.wait_in_sync()
    os.kill(agent.pid, signal.SIGUSR2)
    [path] = wait_until(lambda: [one for one in reports.iterdir() if "Configuration" in one.read_text()], timeout=30)
    text = path.read_text()
    section = text[text.index("L3 agent") :]
    assert re.search(r"active = 3", section)
    for name in ("queue", "waiting = 0", "oldest = 0.000 s", "workers", "size = 8", "stuck", "data plane", "errors"):
        assert name in section, name
    assert "Green Threads" in text and "Services" in text and "Hub" in text


@pytest.mark.feature("operation.guru-report")
def test_no_secret_reaches_a_log_the_options_or_a_report(folder: Path, start_agent: Callable[[Options], Agent]) -> None:
    given = options(folder, folder / "none.sock", debug=True)
    given["DEFAULT"]["transport_url"] = f"rabbit://openstack:{SECRET}@{NO_BROKER}/"
    given["AGENT"] = {"root_helper": "true"}
    del given["standalone"]
    agent = start_agent(given)
    text = agent.log.read_text
    wait_until(lambda: "transport_url" in text(), timeout=30)  # options are dumped at level DEBUG
    wait_until(lambda: "Connection failed" in text(), timeout=30)
    os.kill(agent.pid, signal.SIGHUP)
    os.kill(agent.pid, signal.SIGUSR2)
    wait_until(lambda: "Green Threads" in text() and "L3 agent" in text(), timeout=30)
    agent.end(timeout=90)
    assert SECRET not in text()
    assert re.search(r"transport_url\s+= \*\*\*\*", text())  # the dump of the options
    assert re.search(r"transport_url = \*\*\*", text())  # the report
