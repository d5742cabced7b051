# SPDX-License-Identifier: Apache-2.0
"""Routers that come and go, thousands of times: descriptors, resident memory and kernel memory must not grow."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from tests.bench.canonical import router
from tests.bench.measure import wait_until_gone
from tests.bench.ours import DataplaneProcess

_TOGETHER = 50
#: Seconds in which the kernel frees what is left of a namespace after its devices have gone.
_FREED_S = 30


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=10_000, help="routers made and removed (default: %(default)s)")
    parser.add_argument(
        "--settle", type=float, default=_FREED_S, help="seconds before each look (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run; return what is in use at some moments."""
    ours = DataplaneProcess()
    routers = [router(0, number, 10) for number in range(_TOGETHER)]
    ours.start(routers)
    looks: list[dict[str, float]] = []
    step = max(_TOGETHER, options.rounds // 5)
    done = 0
    while done <= options.rounds:
        # The first step is a warm-up: caches and pools fill.
        goal = done + step
        while done < goal:
            ours.bring(routers, at_a_time=8)
            ours.bring(routers, at_a_time=8, absent=True)
            wait_until_gone(ours.traces)
            done += len(routers)
        time.sleep(options.settle)
        looks.append(
            {
                "rounds": done,
                "descriptors": ours.descriptors(),
                "resident MB": round(ours.resident_mb(), 1),
                "slab of the machine MB": round(_slab_mb(), 1),
                "unreclaimable MB": round(_slab_mb("SUnreclaim"), 1),
            }
        )
        print("  ".join(f"{name} {value:g}" for name, value in looks[-1].items()), flush=True)
    return {"looks": looks}


def _slab_mb(name: str = "Slab") -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/meminfo has no {name}")
