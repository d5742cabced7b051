# SPDX-License-Identifier: Apache-2.0
"""One router, beside the kernel's own time and the step-by-step ways, in the same run."""

from __future__ import annotations

import argparse
import time
from typing import Any

from tests.bench.canonical import router
from tests.bench.floor import Floor
from tests.bench.measure import Way, measure
from tests.bench.ours import DataplaneProcess
from tests.bench.peers import ProcessPerStep, Pyroute2PerCall
from tests.bench.report import as_json, as_text, machine

_WARM_UP = 2
#: Seconds after which a data plane looks no more for what its predecessor left over (see its GarbageCollector).
_TIDY_S = 6


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--routers", type=int, default=100, help="routers of the data plane (default: %(default)s)")
    parser.add_argument(
        "--peers", type=int, default=10, help="routers of each other way; 0: none (default: %(default)s)"
    )
    parser.add_argument("--fips", type=int, default=10, help="floating IPs of each router (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often all is done (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="the shortest run that shows all")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run; return the figures."""
    if options.quick:
        options.routers, options.peers, options.rounds = 6, 2, 1
    peers = [ProcessPerStep, Pyroute2PerCall] if options.peers else []
    left_out = {peer.name: reason for peer in (Floor, *peers) if (reason := peer.missing())}
    floor = [Floor()] if Floor.missing() is None else []
    ours = DataplaneProcess()
    ways: list[tuple[Way, int]] = [(ours, options.routers)]
    ways += [(DataplaneProcess("no pool", 4, ["pool_size = 0"]), options.routers)]
    ways += [(one, options.routers) for one in floor]
    ways += [(peer(), options.peers) for peer in peers if peer.name not in left_out]
    crowds = [(way, [router(way.tribe, number, options.fips) for number in range(count)]) for way, count in ways]
    for way, routers in crowds:
        way.start(routers)
        if way is ours:
            # Two data planes share a switch here, which none expects: bridges that nobody uses yet are the first one's
            # to remove for some seconds after its start.
            time.sleep(_TIDY_S)
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
    return report
