# SPDX-License-Identifier: Apache-2.0
"""Many routers one after the other, eight requests at a time, on six external networks; what each costs on the way.

The routers have a tenant bridge for ten of them, and the external ones take at most 1023 ports each.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

from tests.bench.canonical import router
from tests.bench.floor import Floor
from tests.bench.measure import wait_until_gone
from tests.bench.ours import DataplaneProcess
from tests.bench.report import machine

_AT_A_TIME, _STEPS = 8, 10


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--routers", type=int, default=500, help="how many (default: %(default)s)")
    parser.add_argument("--no-floor", action="store_true", help="leave the C floor out")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run; return seconds in all, and milliseconds a router on the way."""
    count = options.routers
    before = machine()
    report: dict[str, Any] = {"routers": count, "machine": before}
    if not options.no_floor and Floor.missing() is None:
        report["C floor"] = _floor(min(count, 500))
    ours = DataplaneProcess()
    routers = [router(0, number, 10) for number in range(count)]
    ours.start(routers)
    report["l3agent"] = _build(ours, routers)
    report["l3agent"]["no-op s"] = _seconds(lambda: ours.bring(routers, at_a_time=_AT_A_TIME, operations=0))
    report["l3agent"]["resident MB"] = round(ours.resident_mb(), 1)
    report["l3agent"]["descriptors"] = ours.descriptors()
    started = time.perf_counter()
    report["l3agent"]["delete, caller s"] = _seconds(lambda: ours.bring(routers, at_a_time=_AT_A_TIME, absent=True))
    wait_until_gone(ours.traces)
    report["l3agent"]["delete, gone s"] = round(time.perf_counter() - started, 3)
    _print(report)
    return report


def _build(ours: DataplaneProcess, routers: list[Any]) -> dict[str, Any]:
    steps, cpu, started = [], ours.cpu(), time.perf_counter()
    size = max(1, len(routers) // _STEPS)
    for first in range(0, len(routers), size):
        some = routers[first : first + size]
        began = time.perf_counter()
        ours.bring(some, at_a_time=_AT_A_TIME)
        steps.append(round((time.perf_counter() - began) / len(some) * 1000, 2))
        print(f"{first + len(some):6} routers: {steps[-1]:7.2f} ms a router", flush=True)
    total = time.perf_counter() - started
    return {
        "build s": round(total, 3),
        "ms a router on the way": steps,
        "CPU ms a router": round((ours.cpu() - cpu) / len(routers) * 1000, 2),
    }


def _floor(count: int) -> dict[str, Any]:
    floor = Floor()
    routers = [router(floor.tribe, number, 10) for number in range(count)]
    floor.start(routers)
    walls = [floor.build(one)["wall"] for one in routers]
    for one in routers:
        floor.delete(one)
    wait_until_gone(floor.traces)
    return {"routers": count, "build s": round(sum(walls), 3), "ms a router": round(median(walls) * 1000, 2)}


def _seconds(call: Any) -> float:
    started = time.perf_counter()
    call()
    return round(time.perf_counter() - started, 3)


def _print(report: dict[str, Any]) -> None:
    for name, figures in report.items():
        print(f"{name}: {figures}")
