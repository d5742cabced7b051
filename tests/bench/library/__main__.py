# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench.library``: services, messages in process, messages over RabbitMQ, and casts through outages.

Each way runs in a process of its own and in turns with the others, so that a change of load meets all of them.
"""

from __future__ import annotations

import warnings

warnings.simplefilter("ignore")

import eventlet  # noqa: E402

eventlet.monkey_patch()

import argparse  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator, Mapping, Sequence  # noqa: E402
from contextlib import ExitStack, contextmanager  # noqa: E402
from dataclasses import asdict  # noqa: E402
from pathlib import Path  # noqa: E402
from statistics import median  # noqa: E402
from typing import Any  # noqa: E402

from l3agent.service.signals import FINAL_SIGNALS, Signals  # noqa: E402
from tests.bench.report import machine  # noqa: E402
from tests.support.casts import AGE, RELIABLE, cast_through_outages  # noqa: E402
from tests.support.rabbit import Rabbit  # noqa: E402

#: In process: the way, its URL, and how many calls make a turn of a second or so.
IN_PROCESS = (
    ("ours", "local:///bench", 2000),
    ("bare", "local:///bench", 2000),
    ("bare", "fake://", 20),
    ("bare", "kombu+memory://", 200),
)
PARTS = ("services", "inprocess", "rabbit", "outages")


def main() -> int:
    """Run what is asked for, and print it; a signal to end leaves no process and no folder behind."""
    options = _options()
    me = eventlet.getcurrent()
    signals = Signals(dict.fromkeys(FINAL_SIGNALS, lambda signo: eventlet.kill(me, SystemExit(128 + signo))))
    try:
        return _run(options)
    finally:
        signals.close()


def _run(options: argparse.Namespace) -> int:
    logging.getLogger().setLevel(logging.CRITICAL)
    report: dict[str, Any] = {"machine": {"before": machine()}, "rounds": options.rounds}
    if "services" in options.parts:
        report["services"] = services(options.services, options.rounds)
    if "inprocess" in options.parts:
        report["inprocess"] = in_process(options.rounds, options.quick)
    if {"rabbit", "outages"} & set(options.parts):
        with _broker() as rabbit:
            if "rabbit" in options.parts:
                report["rabbit"] = over_rabbit(rabbit.url, options.rounds, options.messages)
            if "outages" in options.parts:
                report["outages"] = through_outages(rabbit, options.queues, options.casts, options.kills)
    report["machine"]["after"] = machine()
    print("\n".join(as_text(report)))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.library", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each way (default: %(default)s)")
    parser.add_argument("--services", type=int, default=1000, help="services (default: %(default)s)")
    parser.add_argument("--messages", type=int, default=300, help="over RabbitMQ, a turn (default: %(default)s)")
    parser.add_argument("--casts", type=int, default=10_000, help="through outages (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=5, help="kills of the broker meanwhile (default: %(default)s)")
    parser.add_argument(
        "--queues", choices=[*RELIABLE, "all"], default="durable", help="of the outages (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="the shortest run that shows all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    options.parts = options.parts or list(PARTS)
    if options.quick:
        options.rounds, options.services, options.messages, options.casts, options.kills = 1, 50, 20, 100, 1
    return options


# ---- measuring -------------------------------------------------------------------------------------------------


class Loop:
    """One ``loop.py``."""

    def __init__(self, way: str, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.library.loop", way, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def do(self, order: str, count: float) -> dict[str, float]:
        """Have it done; return seconds of wall and of CPU for each."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{order} {count}\n")
        self._process.stdin.flush()
        figures: dict[str, float] = json.loads(self._process.stdout.readline())
        return {name: seconds / count for name, seconds in figures.items()}

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def services(count: int, rounds: int) -> dict[str, Any]:
    """Start and stop services, ours and the original's."""
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "oslo": []}
    for _ in range(rounds):
        for way, figures in runs.items():
            argv = [sys.executable, "-m", "tests.bench.library.services", way, str(count)]
            figures.append(json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=120).stdout))
    return {way: _medians(figures) for way, figures in runs.items()}


def in_process(rounds: int, quick: bool) -> dict[str, Any]:
    """Call one after the other over the drivers that need no broker, then do nothing."""
    with ExitStack() as stack:
        loops = [
            (f"{url} {way}", _loop(stack, way, url), calls // 10 if quick else calls) for way, url, calls in IN_PROCESS
        ]
        for _, loop, calls in loops:
            loop.do("call", max(1, calls // 10))
        runs: dict[str, list[dict[str, float]]] = {name: [] for name, _, _ in loops}
        for _ in range(rounds):
            for name, loop, calls in loops:
                runs[name].append(loop.do("call", calls) | {"idle": loop.do("idle", 0.5 if quick else 2)["cpu"]})
    return {name: _medians(figures) for name, figures in runs.items()}


def over_rabbit(url: str, rounds: int, messages: int) -> dict[str, Any]:
    """Call and cast over a broker, ours and oslo.messaging's own loop, one right after the other."""
    with ExitStack() as stack:
        loops = {way: _loop(stack, way, url) for way in ("ours", "bare")}
        for loop in loops.values():
            loop.do("call", messages)
        return {order: _beside(loops, order, rounds, messages) for order in ("call", "cast")}


def _beside(loops: Mapping[str, Loop], order: str, rounds: int, messages: int) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in loops}
    for _ in range(rounds):
        for way, loop in loops.items():
            runs[way].append(loop.do(order, messages))
    ratios = [ours["cpu"] / bare["cpu"] for ours, bare in zip(runs["ours"], runs["bare"], strict=True)]
    return {way: _medians(figures) for way, figures in runs.items()} | {"cpu_ratio": median(ratios)}


def through_outages(rabbit: Rabbit, queues: str, casts: int, kills: int) -> dict[str, Any]:
    """Cast while the broker is killed, with settings that lose nothing, and account for each cast.

    :param queues: ``durable`` or ``quorum``; ``all``: one after the other, which takes twice as long.
    """
    accounts = {}
    for name in RELIABLE if queues == "all" else [queues]:
        began = time.monotonic()
        account = cast_through_outages(rabbit, RELIABLE[name], casts=casts, kills=kills, age=AGE[name])
        figures = asdict(account) | {"arrived": len(account.arrived), "lost": account.lost(), "twice": account.twice()}
        accounts[name] = figures | {"kills": kills, "seconds": time.monotonic() - began}
    return accounts


@contextmanager
def _broker() -> Iterator[Rabbit]:
    rabbit = Rabbit(Path(tempfile.mkdtemp(prefix="l3-bench-")))
    try:
        rabbit.start()
        yield rabbit
    finally:
        rabbit.close()


def _loop(stack: ExitStack, way: str, url: str) -> Loop:
    loop = Loop(way, url)
    stack.callback(loop.close)
    return loop


def _medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(run[name] for run in runs) for name in runs[0]}


# ---- text ------------------------------------------------------------------------------------------------------


def as_text(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines a person reads."""
    before, after = report["machine"]["before"], report["machine"]["after"]
    yield (
        f"{before['cores']} cores, Linux {before['kernel']}, Python {before['python']}, "
        f"load {before['load'][0]} before and {after['load'][0]} after; medians of {report['rounds']} turns"
    )
    yield from _services(report.get("services", {}))
    yield from _in_process(report.get("inprocess", {}))
    yield from _over_rabbit(report.get("rabbit", {}))
    for name, account in report.get("outages", {}).items():
        yield (
            f"{account['sent']} casts, {name} queues, broker killed {account['kills']} times: {account['arrived']} "
            f"arrived, {account['lost']} lost, {account['twice']} twice, {account['refused']} refused and sent again, "
            f"in {account['seconds']:.0f} s"
        )


def _services(ways: Mapping[str, Any]) -> Iterator[str]:
    for name, way in ways.items():
        yield (
            f"services, {name}: {way['added']:.0f} started in {way['start'] * 1e3:.1f} ms, stopped in "
            f"{way['stop'] * 1e3:.1f} ms, CPU of both {way['cpu'] * 1e3:.1f} ms"
            + ("" if name == "ours" else " (the next add never returned: its wait is in the time of the start)")
        )


def _in_process(ways: Mapping[str, Any]) -> Iterator[str]:
    fastest = next(iter(ways.values()), {})
    for name, way in ways.items():
        yield (
            f"{name:24} {1 / way['wall']:8.0f} serial calls/s {way['wall'] * 1e3:7.2f} ms "
            f"{way['cpu'] * 1e3:7.2f} ms CPU   idle {way['idle']:6.1%} CPU   "
            f"{way['wall'] / fastest['wall']:6.1f} times the time"
        )


def _over_rabbit(orders: Mapping[str, Any]) -> Iterator[str]:
    for order, ways in orders.items():
        parts = [
            f"{way} {ways[way]['cpu'] * 1e3:.2f} ms CPU, {ways[way]['wall'] * 1e3:.2f} ms" for way in ("ours", "bare")
        ]
        yield f"rabbit {order}: {'; '.join(parts)}; ours / bare CPU, median of each turn: {ways['cpu_ratio']:.2f}"


if __name__ == "__main__":
    sys.exit(main())
