# SPDX-License-Identifier: Apache-2.0
"""CPU that an idle data plane takes to read in rotation what has no events, with routers of three ports.

The same routers stand twice: with rotation, and in a process that repairs nothing. The difference is its share.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from l3agent.model.names import INTERNAL_DEVICE, device_name
from l3agent.model.states import NamespaceState
from tests.bench.canonical import router
from tests.bench.ours import DataplaneProcess

#: Third ports have the addresses of the first ones in another network.
_THIRD = int(IPv4Address("172.29.0.0")) - int(IPv4Address("10.0.0.0"))
#: Seconds after the last change until a first round has read all, and all other threads are idle.
_SETTLE_S = 75


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--routers", type=int, default=1000, help="that stand (default: %(default)s)")
    parser.add_argument("--fips", type=int, default=10, help="floating IPs of each (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=60, help="of idle time to measure (default: %(default)s)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run; return percent of one core, and how long one read takes."""
    routers = [_three_ports(router(0, number, options.fips)) for number in range(options.routers)]
    with_rotation = DataplaneProcess()
    with_rotation.start(routers)
    with_rotation.bring(routers, at_a_time=8)
    time.sleep(_SETTLE_S)
    reads = with_rotation.stats()["rotation_reads"]
    busy = _cpu(with_rotation, options.seconds)
    reads = with_rotation.stats()["rotation_reads"] - reads
    idle = _cpu(with_rotation, options.seconds, rotation=False)
    report = {
        "routers": options.routers,
        "reads of a router a minute": round(60 * reads / options.routers / options.seconds, 2),
        "% of a core, with rotation": round(100 * busy / options.seconds, 3),
        "% of a core, without": round(100 * idle / options.seconds, 3),
        "% of a core, rotation": round(100 * (busy - idle) / options.seconds, 3),
        "us a read": round(1e6 * (busy - idle) / max(reads, 1)),
    }
    for name, value in report.items():
        print(f"{name}: {value}")
    return report


def _cpu(ours: DataplaneProcess, seconds: float, *, rotation: bool = True) -> float:
    """Return the CPU seconds of a process in some seconds without a request."""
    if not rotation:
        ours.restart("repair_drift = false")
        time.sleep(_SETTLE_S)
    before = ours.cpu()
    time.sleep(seconds)
    return ours.cpu() - before


def _three_ports(two: NamespaceState) -> NamespaceState:
    (first,) = two.ports
    third = replace(
        first,
        id=(port_id := f"{two.id[:8]}-0200-4000-8000-000000000000"),
        network_id=f"{first.network_id[:8]}-0100-4000-8000-000000000000",
        device=device_name(INTERNAL_DEVICE, port_id),
        mac="fa:16:40" + first.mac[8:],
        addresses=frozenset(IPv4Interface((_THIRD + int(one.ip), 24)) for one in first.addresses if one.version == 4),
    )
    return replace(two, ports=frozenset({first, third}))
