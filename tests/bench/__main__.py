# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench``: how long routers take, beside the step-by-step ways, in the same run."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from tests.bench.canonical import router
from tests.bench.measure import Way, measure
from tests.bench.ours import DataplaneProcess
from tests.bench.peers import ProcessPerStep, Pyroute2PerCall
from tests.bench.report import as_json, as_text, machine
from tests.functional.support.sandbox import Sandbox

_WARM_UP = 2


def main() -> int:
    """Run; the part in the sandbox is this program again."""
    options = _options()
    return _inside(options) if options.inside else _in_sandbox()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--routers", type=int, default=100, help="routers of the data plane (default: %(default)s)")
    parser.add_argument(
        "--peers", type=int, default=10, help="routers of each other way; 0: none (default: %(default)s)"
    )
    parser.add_argument("--fips", type=int, default=10, help="floating IPs of each router (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often all is done (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="the shortest run that shows all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.routers, options.peers, options.rounds = 6, 2, 1
    return options


def _in_sandbox() -> int:
    """Run this program in namespaces of its own, which take everything along when they end."""
    with Sandbox() as sandbox:
        # Entering a mount namespace leads to its root folder.
        stay = ["env", f"--chdir={os.getcwd()}"]
        return sandbox.popen([*stay, sys.executable, "-m", "tests.bench", "--inside", *sys.argv[1:]]).wait(None)


def _inside(options: argparse.Namespace) -> int:
    peers = [ProcessPerStep, Pyroute2PerCall] if options.peers else []
    left_out = {peer.name: reason for peer in peers if (reason := peer.missing())}
    ours = DataplaneProcess()
    ways: list[tuple[Way, int]] = [(ours, options.routers)]
    ways += [(peer(), options.peers) for peer in peers if peer.name not in left_out]
    crowds = [(way, [router(way.tribe, number, options.fips) for number in range(count)]) for way, count in ways]
    for way, routers in crowds:
        way.start(routers)
    before, empty = machine(), ours.resident_mb()
    measure([(way, routers[:_WARM_UP]) for way, routers in crowds], rounds=1)
    measured = measure(crowds, options.rounds)
    report = as_json(
        measured,
        ours.name,
        machine={"before": before, "after": machine()},
        routers={way.name: len(routers) for way, routers in crowds},
        floating_ips=options.fips,
        rounds=options.rounds,
        resident_mb={"empty": empty, "peak": ours.resident_mb(peak=True)},
        left_out=left_out,
    )
    print(as_text(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
