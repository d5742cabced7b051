# SPDX-License-Identifier: Apache-2.0
"""How long what somebody else does to a router stands before it is undone: from the kernel's own notices of both.

A foreign address is put on a device of a router, another one each time, for the same again and again would be a fight.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from datetime import datetime
from ipaddress import IPv4Address
from statistics import median
from typing import IO, Any

from l3agent.model.states import NamespaceState
from tests.bench.canonical import router
from tests.bench.ours import DataplaneProcess

_FIRST = IPv4Address("172.31.0.1")
#: Seconds between two hands.
_PAUSE_S = 0.2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--routers", type=int, default=100, help="that stand (default: %(default)s)")
    parser.add_argument("--times", type=int, default=50, help="how often (default: %(default)s)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run; return milliseconds."""
    ours = DataplaneProcess()
    routers = [router(0, number, 10) for number in range(options.routers)]
    ours.start(routers)
    ours.bring(routers, at_a_time=8)
    time.sleep(3)
    lasted = [1000 * one for one in _lasted(ours, routers[-1], options.times)]
    report = {"routers": options.routers, "median ms": round(median(lasted), 2), "most ms": round(max(lasted), 2)}
    for name, value in report.items():
        print(f"{name}: {value}")
    return report


def _lasted(ours: DataplaneProcess, victim: NamespaceState, times: int) -> list[float]:
    (port,) = victim.ports
    inside = ["nsenter", f"--net={ours.pin(victim)}", "ip"]
    watch = [*inside, "-o", "-4", "-ts", "monitor", "address"]
    with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as said:
        time.sleep(1)
        assert said.stdout is not None
        lasted = []
        for number in range(times):
            address = f"{_FIRST + number}/32"
            subprocess.run([*inside, "address", "add", address, "dev", port.device], check=True)
            came, went = (_next(said.stdout, address) for _ in range(2))
            lasted.append((went - came).total_seconds())
            time.sleep(_PAUSE_S)
        said.kill()
    return lasted


def _next(said: IO[str], address: str) -> datetime:
    """Return the time of the next notice of an address, as the monitor writes it before each line."""
    line = next(line for line in said if f"inet {address}" in line)
    return datetime.fromisoformat(line[1 : line.index("]")])
