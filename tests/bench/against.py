# SPDX-License-Identifier: Apache-2.0
"""Compare the data plane of this checkout with that of another one, alternately in one run.

Both build, read, change and delete equal routers, one router each in turn, and the order alternates from round to
round. ``ratio`` is this checkout divided by the other. On a machine that others use too, the ratio of CPU times is the
reliable one; two runs of one checkout against itself show what remains of noise.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

from tests.bench.canonical import router
from tests.bench.checkout import Checkout
from tests.bench.measure import OPERATIONS, Series, measure_alternately
from tests.bench.report import machine

_HERE, _THERE = "this checkout", "the other"
#: Seconds after which a data plane has removed the unused bridges that it found at its start (GarbageCollector).
_TIDY_S = 6


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("other", type=Path, metavar="PATH", help="the other checkout (git worktree add PATH COMMIT)")
    parser.add_argument("--routers", type=int, default=30, help="routers of each (default: %(default)s)")
    parser.add_argument("--fips", type=int, default=10, help="floating IPs of each router (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=6, help="how often all is done (default: %(default)s)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run; return the figures and the ratios."""
    ways = [
        Checkout(_HERE, Path.cwd(), 0, options.fips),
        Checkout(_THERE, options.other, 1, options.fips),
    ]
    crowds = [(way, [router(way.tribe, number, options.fips) for number in range(options.routers)]) for way in ways]
    for way, routers in crowds:
        way.start(routers)
        time.sleep(_TIDY_S)
    before = machine()
    series = measure_alternately(crowds, options.rounds)
    for way in ways:
        way.stop()
    report = {
        "machine": {"before": before, "after": machine()},
        "other": str(options.other),
        "routers": options.routers,
        "floating_ips": options.fips,
        "rounds": options.rounds,
        "operations": {name: _compared(series[_HERE][name], series[_THERE][name]) for name in OPERATIONS},
    }
    _print(report)
    return report


def _compared(here: Series, there: Series) -> dict[str, float]:
    walls, cpus = (median(here.walls), median(there.walls)), (mean(here.cpus), mean(there.cpus))
    return {
        "wall ms": _ms(walls[0]),
        "other": _ms(walls[1]),
        "ratio": round(walls[0] / walls[1], 3),
        "CPU ms": _ms(cpus[0]),
        "other CPU": _ms(cpus[1]),
        "CPU ratio": round(cpus[0] / cpus[1], 3),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _print(report: dict[str, Any]) -> None:
    load = [report["machine"][when]["load"][0] for when in ("before", "after")]
    print(
        f"against {report['other']}: {report['routers']} routers, {report['floating_ips']} floating IPs each, ", end=""
    )
    print(f"{report['rounds']} rounds, load {load[0]} before and {load[1]} after; wall: median, CPU: mean")
    print(f"{'':20}" + "".join(f"{name:>12}" for name in next(iter(report["operations"].values()))))
    for operation, figures in report["operations"].items():
        print(f"{operation:20}" + "".join(f"{value:12.3f}" for value in figures.values()))
