# SPDX-License-Identifier: Apache-2.0
"""Compare the driver ``openvswitch`` with the driver ``bridge``, alternately in one run.

Two data planes build, read, change and delete equal routers; one of them plugs its ports into Open vSwitch (datapath in
user space). Building and deleting include the work of ovs-vswitchd; the other operations are the data plane's alone:
``kernel thread`` is the sum of the phases that it reports.
"""

from __future__ import annotations

import argparse
import atexit
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

from tests.bench.canonical import router
from tests.bench.measure import OPERATIONS, Series, measure_alternately
from tests.bench.ours import DataplaneProcess
from tests.bench.report import machine

_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_RUN = "/run/openvswitch"
_REMOTE = f"unix:{_RUN}/db.sock"
_SWITCH, _BRIDGE = "openvswitch", "bridge"
_START_S = 20


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--routers", type=int, default=10, help="routers of each (default: %(default)s)")
    parser.add_argument("--fips", type=int, default=10, help="floating IPs of each router (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=6, help="how often all is done (default: %(default)s)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run; return the figures and the ratios."""
    _start_switch()
    ways = [DataplaneProcess(_SWITCH, 0, switch=_REMOTE), DataplaneProcess(_BRIDGE, 1)]
    crowds = [(way, [router(way.tribe, number, options.fips) for number in range(options.routers)]) for way in ways]
    for way, routers in crowds:
        way.start(routers)
    before = machine()
    series = measure_alternately(crowds, options.rounds)
    report = {
        "machine": {"before": before, "after": machine()},
        "routers": options.routers,
        "floating_ips": options.fips,
        "rounds": options.rounds,
        "operations": {name: _compared(series[_SWITCH][name], series[_BRIDGE][name]) for name in OPERATIONS[:-1]},
    }
    _print(report)
    return report


def _start_switch() -> None:
    """Start Open vSwitch with an integration bridge, in the namespaces of the caller."""
    folder = Path(tempfile.mkdtemp(prefix="bench-ovs-", dir="/run"))
    Path(_RUN).mkdir(exist_ok=True)
    subprocess.run(["ovsdb-tool", "create", str(folder / "db"), _SCHEMA], check=True)
    _start(["ovsdb-server", str(folder / "db"), f"--remote=p{_REMOTE}", "--no-chdir", "-vconsole:warn"])
    _configure("--no-wait", "init")
    _start(["ovs-vswitchd", _REMOTE, "--no-chdir", "-vconsole:warn"])
    _configure("add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type=netdev")


def _start(argv: list[str]) -> None:
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    atexit.register(process.kill)


def _configure(*arguments: str) -> None:
    deadline = time.monotonic() + _START_S
    while subprocess.run(["ovs-vsctl", "--timeout=5", *arguments], stderr=subprocess.DEVNULL).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(f"Open vSwitch does not answer after {_START_S} s")
        time.sleep(0.1)


def _compared(switch: Series, bridge: Series) -> dict[str, float]:
    walls = median(switch.walls), median(bridge.walls)
    threads = tuple(median(sum(one.values()) for one in series.phases) for series in (switch, bridge))
    cpus = mean(switch.cpus), mean(bridge.cpus)
    return {
        "wall ms": _ms(walls[0]),
        "bridge": _ms(walls[1]),
        "ratio": round(walls[0] / walls[1], 3),
        "thread ms": _ms(threads[0]),
        "of bridge": _ms(threads[1]),
        "thread ratio": round(threads[0] / threads[1], 3) if threads[1] else 0.0,
        "CPU ms": _ms(cpus[0]),
        "CPU ratio": round(cpus[0] / cpus[1], 3),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _print(report: dict[str, Any]) -> None:
    load = [report["machine"][when]["load"][0] for when in ("before", "after")]
    print(
        f"openvswitch beside bridge: {report['routers']} routers, {report['floating_ips']} floating IPs each, ", end=""
    )
    print(f"{report['rounds']} rounds, load {load[0]} before and {load[1]} after; wall, thread: median, CPU: mean")
    print(f"{'':20}" + "".join(f"{name:>14}" for name in next(iter(report["operations"].values()))))
    for operation, figures in report["operations"].items():
        print(f"{operation:20}" + "".join(f"{value:14.3f}" for value in figures.values()))
