# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench.library.against PATH``: the library of this checkout and of another, in turns.

A turn of one follows a turn of the other, and each ratio is of two neighbours, so that a change of load meets both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from tests.support.rabbit import Rabbit

HERE = Path(__file__).parents[3]
SERVICES = 1000
#: Messages of a turn, by the driver.
MESSAGES = {"local": 2000, "rabbit": 300}


class Checkout:
    """One checkout, whose programs run with it as the current folder, and so before what is installed."""

    def __init__(self, path: Path) -> None:
        self._options: dict[str, Any] = {"cwd": path, "env": {**os.environ, "PYTHONPATH": str(path)}}

    def services(self) -> dict[str, float]:
        """Start and stop services; return the seconds."""
        argv = [sys.executable, "-m", "tests.bench.library.services", "ours", str(SERVICES)]
        done = subprocess.run(argv, capture_output=True, check=True, timeout=120, **self._options)
        return dict(json.loads(done.stdout))

    @contextmanager
    def loop(self, url: str) -> Iterator[Any]:
        """Yield what has a client and a server exchange messages, and returns the seconds."""
        argv = [sys.executable, "-m", "tests.bench.library.loop", "ours", url]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(argv, text=True, **pipes, **self._options)

        def run(order: str, count: int) -> dict[str, float]:
            process.stdin.write(f"{order} {count}\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return dict(json.loads(process.stdout.readline()))  # type: ignore[union-attr]

        try:
            yield run
        finally:
            process.kill()
            process.communicate()


def compare(what: str, runs: list[tuple[dict[str, float], dict[str, float]]]) -> None:
    """Print how the rates of this checkout are to those of the other: more than 1 is faster."""
    ratios = {name: median(other[name] / ours[name] for ours, other in runs) for name in runs[0][0] if name != "added"}
    print(f"{what:24} " + "  ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items()), flush=True)


def messages(ours: Checkout, other: Checkout, url: str, driver: str, rounds: int) -> None:
    """Compare calls and casts over one broker."""
    with ours.loop(url) as run, other.loop(url) as run_other:
        for order in ("call", "cast"):
            for one in (run, run_other):
                one(order, MESSAGES[driver] // 4)
            turns = []
            for number in range(rounds):
                first, second = (run, run_other) if number % 2 else (run_other, run)
                found = {first: first(order, MESSAGES[driver]), second: second(order, MESSAGES[driver])}
                turns.append((found[run], found[run_other]))
            compare(f"{driver} {order}", turns)


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="of the other checkout")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each (default: %(default)s)")
    options = parser.parse_args()
    ours, other = Checkout(HERE), Checkout(options.path.resolve())
    print("rates of this checkout / of the other, medians of the ratios of neighbouring turns")
    compare("services", [(ours.services(), other.services()) for _ in range(options.rounds)])
    messages(ours, other, "local:///bench", "local", options.rounds)
    node = Rabbit(Path(tempfile.mkdtemp(prefix="l3-bench-")))
    try:
        node.start()
        messages(ours, other, node.url, "rabbit", options.rounds)
    finally:
        node.close()


if __name__ == "__main__":
    main()
