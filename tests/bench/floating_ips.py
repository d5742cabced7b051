# SPDX-License-Identifier: Apache-2.0
"""One floating IP more and one less, on routers that have few or many, alone or among many routers.

From the decision (a desired state) to the answer, through the socket. The sizes take turns, so that a change of load
meets all of them.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

from l3agent.model.states import FloatingIP, NamespaceState
from tests.bench.canonical import router, with_one_more
from tests.bench.floor import Floor
from tests.bench.measure import Way
from tests.bench.ours import DataplaneProcess


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000], help="floating IPs of a router")
    parser.add_argument("--among", type=int, default=200, help="routers besides, in the second half of the run")
    parser.add_argument("--rounds", type=int, default=100, help="how often (default: %(default)s)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run; return milliseconds by way, number of routers and of floating IPs."""
    ways: list[Way] = [DataplaneProcess()]
    if reason := Floor.missing():
        print(f"Left out: {Floor.name} ({reason}).")
    else:
        ways.append(Floor())
    others = [router(0, 100 + number, 10) for number in range(options.among)]
    report: dict[str, Any] = {}
    for way in ways:
        mine = [router(way.tribe, number, size) for number, size in enumerate(options.sizes)]
        way.start([*mine, *(others if way.tribe == 0 else [])])
        for one in mine:
            way.build(one)
    for crowd in (0, options.among):
        for other in others[:crowd]:
            ways[0].build(other)
        time.sleep(1)
        report[f"{len(options.sizes) + crowd} routers"] = _measure(ways, options)
    _print(report)
    return report


def _measure(ways: list[Way], options: argparse.Namespace) -> dict[str, Any]:
    times: dict[tuple[str, str, int], list[float]] = {}
    cpus: dict[tuple[str, str, int], list[float]] = {}
    for _ in range(options.rounds):
        for number, size in enumerate(options.sizes):
            for way in ways:
                less = router(way.tribe, number, size)
                more, fip = with_one_more(less)
                for operation, state in (("add", more), ("remove", less)):
                    place = way.name, operation, size
                    cpu = way.cpu()
                    times.setdefault(place, []).append(_do(way, operation, state, fip))
                    cpus.setdefault(place, []).append(way.cpu() - cpu)
                    time.sleep(0.004)
    return {
        f"{name}, {operation}, {size} floating IPs": {
            "median": _ms(median(walls)),
            "min": _ms(min(walls)),
            "cpu": _ms(median(cpus[name, operation, size])),
        }
        for (name, operation, size), walls in times.items()
    }


def _do(way: Way, operation: str, state: NamespaceState, fip: FloatingIP) -> float:
    started = time.perf_counter()
    phases = way.add(state, fip) if operation == "add" else way.remove(state, fip)
    return (phases or {}).get("wall", time.perf_counter() - started)


def _print(report: dict[str, Any]) -> None:
    print(f"{'':48}{'wall ms: median':>16}{'min':>9}{'CPU ms':>9}")
    for crowd, figures in report.items():
        print(f"among {crowd}:")
        for name, one in figures.items():
            print(f"  {name:46}{one['median']:16.3f}{one['min']:9.3f}{one['cpu']:9.3f}")


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
