# SPDX-License-Identifier: Apache-2.0
"""Many routers that are right, asked for again: by an agent that was restarted, and of a data plane that was.

The agent fetches 256 routers at a time; its workers hand them over one by one, eight at a time. The kernel must not be
written to: its counter of rule changes stands still, and no event is sent.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from l3agent.model.states import NamespaceState
from tests.bench.canonical import router
from tests.bench.ours import DataplaneProcess

_AT_A_TIME = 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--routers", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often the agent starts again (default: %(default)s)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run; return seconds for all routers."""
    ours = DataplaneProcess()
    routers = [router(0, number, 10) for number in range(options.routers)]
    ours.start(routers)
    ours.bring(routers, at_a_time=_AT_A_TIME)
    time.sleep(3)
    report = {"routers": options.routers, "agent": [_asked(ours, routers) for _ in range(options.rounds)]}
    ours.restart()
    report["data plane, first look"] = _asked(ours, routers)
    report["data plane, then"] = _asked(ours, routers)
    for name, figures in report.items():
        for one in figures if isinstance(figures, list) else [figures] if isinstance(figures, dict) else []:
            print(f"{name:24}" + "".join(f"{what:>22} {value:7.3f}" for what, value in one.items()))
    return report


def _asked(ours: DataplaneProcess, routers: Sequence[NamespaceState]) -> dict[str, float]:
    ours.reconnect()
    cpu, started = ours.cpu(), time.perf_counter()
    phases = ours.bring(routers, at_a_time=_AT_A_TIME, operations=0)
    return {
        "wall s": round(time.perf_counter() - started, 3),
        "CPU s": round(ours.cpu() - cpu, 3),
        "of it in the kernel thread s": round(sum(sum(one.values()) for one in phases), 3),
    }
