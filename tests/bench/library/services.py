# SPDX-License-Identifier: Apache-2.0
"""How long it takes to start and to stop many services, ours beside oslo.service's container.

``python -m tests.bench.library.services ours|oslo COUNT`` prints one line of JSON.
"""

from __future__ import annotations

import warnings

warnings.simplefilter("ignore")

import eventlet  # noqa: E402

eventlet.monkey_patch()

import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import l3agent.service as ours  # noqa: E402
from l3agent.testing import wait_until  # noqa: E402

# isort: split
from oslo_service import service as oslo  # noqa: E402

#: What the original gets to add one service. It has no end when all places of its pool are taken.
PATIENCE_S = 2.0


class Parked(oslo.Service):  # type: ignore[misc]
    """A service that does nothing."""

    started = 0

    def start(self) -> None:
        Parked.started += 1


def main() -> None:
    """Start and stop, and say how long it took."""
    container = (ours if sys.argv[1] == "ours" else oslo).Services()
    services = [Parked() for _ in range(int(sys.argv[2]))]
    begun, cpu, added = time.perf_counter(), time.process_time(), 0
    for service in services:
        with eventlet.Timeout(PATIENCE_S, False):
            container.add(service)
            added += 1
            continue
        break
    wait_until(lambda: Parked.started == added, timeout=60)
    running = time.perf_counter()
    container.stop()
    figures = {"added": added, "start": running - begun, "stop": time.perf_counter() - running}
    print(json.dumps({**figures, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
