# SPDX-License-Identifier: Apache-2.0
"""What agent and data plane have resident with many routers, asked for over RabbitMQ of a server in a third process."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from l3agent.exceptions import L3AgentError
from l3agent.ops.control_client import call_agent
from tests.bench.canonical import EXTERNAL_NETWORKS
from tests.support.rabbit import Rabbit

_READY_S = 900
_OUTSIDE = [IPv4Network((f"100.{64 + number}.0.0", 16)) for number in range(EXTERNAL_NETWORKS)]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--routers", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--fips", type=int, default=10, help="floating IPs of each (default: %(default)s)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run; return megabytes (10^6 bytes)."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir="/run"))
    rabbit = Rabbit(Path(tempfile.mkdtemp(prefix="bench-", dir="/run")))
    try:
        rabbit.start()
        return _measured(options, folder, rabbit.url)
    finally:
        rabbit.close()


def _measured(options: argparse.Namespace, folder: Path, broker: str) -> dict[str, Any]:
    (folder / "topology.yaml").write_text(json.dumps(topology(0, options.fips)))
    conf = folder / "agent.conf"
    conf.write_text(
        f"[DEFAULT]\nhost = node1\nstate_path = {folder}\nlog_file = {folder}/agent.log\nsend_arp_for_ha = 0\n"
        f"transport_url = {broker}\ninterface_driver = bridge\n[dataplane]\nlog_file = {folder}/dataplane.log\n"
    )
    serve = [sys.executable, "-m", "l3agent.cli.main", "serve", f"{folder}/topology.yaml", "--transport-url", broker]
    with (folder / "serve.log").open("wb") as log:
        server = subprocess.Popen(serve, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    agent = subprocess.Popen([sys.executable, "-m", "l3agent", "--config-file", str(conf)], stdin=subprocess.DEVNULL)
    try:
        report = {"routers": options.routers, "empty MB": _resident(agent.pid, _status(folder, 0))}
        started = time.perf_counter()
        (folder / "topology.yaml").write_text(json.dumps(topology(options.routers, options.fips)))
        status = _status(folder, options.routers)
        report["seconds from file to kernel"] = round(time.perf_counter() - started, 1)
        report["MB"] = _resident(agent.pid, status)
    finally:
        for process in (agent, server):
            process.terminate()
            process.wait(60)
    for name, value in report.items():
        print(f"{name}: {value}")
    return report


def topology(routers: int, fips: int) -> dict[str, Any]:
    """Return a topology of canonical routers, each with a tenant network of its own."""
    made: dict[str, Any] = {"networks": {}, "routers": {}}
    for number, cidr in enumerate(_OUTSIDE):
        made["networks"][f"public{number}"] = {"external": True, "subnets": {f"public{number}-v4": {"cidr": str(cidr)}}}
    for number in range(routers):
        outside = number % EXTERNAL_NETWORKS
        first = 16 + number // EXTERNAL_NETWORKS * (fips + 1)
        own, *floating = (str(_OUTSIDE[outside][first + place]) for place in range(fips + 1))
        made["networks"][f"n{number}"] = {"subnets": {f"n{number}-v4": {"cidr": "10.0.0.0/16"}}}
        made["routers"][f"r{number}"] = {
            "gateway": {"network": f"public{outside}", "addresses": [own]},
            "interfaces": [f"n{number}-v4"],
            "routes": [{"destination": f"172.30.{place}.0/24", "nexthop": f"10.0.0.{7 + place}"} for place in range(3)],
            "floating_ips": {one: f"10.0.1.{place}" for place, one in enumerate(floating, start=1)},
        }
    return made


def _status(folder: Path, routers: int) -> dict[str, Any]:
    """Wait until so many routers are active and nothing is to do; return what the agent says."""
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            status: dict[str, Any] = call_agent(str(folder / "l3-agent.sock"), {"op": "status"})
            active = sum(one["state"] == "active" for one in status["routers"].values())
            if status["in_sync"] and active == routers == len(status["routers"]):
                return status
        except (L3AgentError, OSError):
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"{routers} routers are not there after {_READY_S} s; see {folder}/agent.log")
        time.sleep(0.5)


def _resident(agent: int, status: dict[str, Any]) -> dict[str, float]:
    pids = {"agent": agent, "data plane": status["dataplane"]["pid"]}
    found = {name: _megabytes(pid, "Rss:") for name, pid in pids.items()}
    shared_once = sum(_megabytes(pid, "Pss:") for pid in pids.values())
    return found | {"together": round(sum(found.values()), 1), "what they share counted once": round(shared_once, 1)}


def _megabytes(pid: int, kind: str) -> float:
    """Return a figure of proc_pid_smaps_rollup(5)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (kibibytes,) = (line.split()[1] for line in lines if line.startswith(kind))
    return round(int(kibibytes) * 1024 / 1e6, 1)
