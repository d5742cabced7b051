# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench.operating``: what looking at an agent costs it, with the real programs and many routers.

CPU of the agent and of its data plane, as the kernel counts it, while nobody looks, while Prometheus scrapes, while
a script asks for the status, and while the page is open in a browser; all in one run, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.support.processes import Agent, Dataplane
from tests.support.sandbox import Sandbox

_TICKS_S = os.sysconf("SC_CLK_TCK")
#: Seconds between two requests: as Prometheus is told to scrape, and as the page asks.
_SCRAPE_S, _PAGE_S = 5.0, 2.0
#: What is asked for, and how often, by what looks.
LOOKS: dict[str, tuple[tuple[str, ...], float]] = {
    "nobody": ((), _SCRAPE_S),
    "/metrics every 5 s": (("/metrics",), _SCRAPE_S),
    "/metrics and /status.json every 5 s": (("/metrics", "/status.json"), _SCRAPE_S),
    "the page, open": (("/status.json", "/history.json"), _PAGE_S),
}


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.operating", description=__doc__)
    parser.add_argument("--routers", type=int, default=1000, help="default: %(default)s; a bridge takes 1023")
    parser.add_argument("--seconds", type=float, default=30, help="of each look in a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--port", type=int, default=19796, help="of the agent (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="l3-"))
    try:
        with Sandbox() as sandbox:
            dataplane = Dataplane(sandbox, folder)
            dataplane.start()
            agent = Agent(folder, _options(folder, dataplane, options))
            try:
                agent.start()
                agent.wait_in_sync(timeout=600)
                figures = _measure(agent, dataplane, options)
            finally:
                agent.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print(figures, options.routers)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


def _options(folder: Path, dataplane: Dataplane, options: argparse.Namespace) -> dict[str, dict[str, object]]:
    topology = folder / "topology.yaml"
    topology.write_text(yaml.safe_dump(_topology(options.routers)))
    return {
        "DEFAULT": {"state_path": folder, "host": "node1"},
        "dataplane": {"spawn_dataplane": False, "socket": dataplane.socket_path},
        "http": {"port": options.port},
        "standalone": {"topology": topology, "watch_interval": 3600},
    }


def _topology(count: int) -> dict[str, object]:
    """Return routers with a gateway on one external network and a network each."""
    networks: dict[str, object] = {
        "public": {"external": True, "subnets": {"public": {"cidr": "10.128.0.0/16", "gateway": "10.128.0.1"}}}
    }
    routers: dict[str, object] = {}
    for number in range(count):
        networks[f"n{number}"] = {"subnets": {f"n{number}": {"cidr": "10.0.0.0/24"}}}
        gateway = {"network": "public", "addresses": [f"10.128.{1 + number // 250}.{1 + number % 250}"]}
        routers[f"r{number}"] = {"gateway": gateway, "interfaces": [f"n{number}"]}
    return {"networks": networks, "routers": routers}


def _measure(agent: Agent, dataplane: Dataplane, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return percent of one CPU by process, and milliseconds of a request, by what looks; medians over the rounds."""
    found: dict[str, dict[str, list[float]]] = {look: {} for look in LOOKS}
    for _ in range(options.rounds):
        for look, (paths, interval) in LOOKS.items():
            before = _cpu(agent.pid), _cpu(dataplane.pid)
            started = time.monotonic()
            took = _look(lambda path: f"http://127.0.0.1:{options.port}{path}", paths, interval, options.seconds)
            seconds = time.monotonic() - started
            after = _cpu(agent.pid), _cpu(dataplane.pid)
            for name, begin, end in zip(("agent", "data plane"), before, after, strict=True):
                found[look].setdefault(f"{name}, % of a CPU", []).append(100 * (end - begin) / seconds)
            if took:
                found[look].setdefault("a request, ms", []).append(1000 * statistics.median(took))
    return {look: {name: statistics.median(values) for name, values in named.items()} for look, named in found.items()}


def _look(url: Callable[[str], str], paths: tuple[str, ...], interval: float, seconds: float) -> list[float]:
    """Ask for pages at an interval for some time; return how long each request took."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        due = time.monotonic() + interval
        for path in paths:
            started = time.monotonic()
            with urllib.request.urlopen(url(path), timeout=30) as answer:
                answer.read()
            took.append(time.monotonic() - started)
        time.sleep(max(0.0, min(due, end) - time.monotonic()))
    return took


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process: utime and stime of proc(5), after the name in parentheses."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


def _print(figures: dict[str, dict[str, float]], routers: int) -> None:
    print(f"{routers} routers, medians; who looks:")
    for look, values in figures.items():
        print(f"  {look:38}" + "   ".join(f"{name} {value:6.2f}" for name, value in values.items()))


if __name__ == "__main__":
    sys.exit(main())
