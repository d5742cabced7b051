# SPDX-License-Identifier: Apache-2.0
"""Every way does every operation on its routers, in turns so small that a change of load meets all of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from l3agent.model.states import FloatingIP, RouterState
from tests.bench.canonical import with_one_more

BUILD, NO_OP, ADD, REMOVE, DELETE, GONE = (
    "build",
    "no-op",
    "floating IP add",
    "floating IP remove",
    "delete",
    "delete until gone",
)
OPERATIONS = (BUILD, NO_OP, ADD, REMOVE, DELETE, GONE)
_GONE_S = 120

#: Seconds by phase, of a way that tells.
Phases = Mapping[str, float] | None


class Way(Protocol):
    """A way to make routers."""

    name: str
    tribe: int
    traces: tuple[str, ...]

    def start(self, routers: Iterable[RouterState]) -> None: ...
    def cpu(self) -> float: ...
    def build(self, router: RouterState) -> Phases: ...
    def look(self, router: RouterState) -> Phases: ...
    def add(self, router: RouterState, fip: FloatingIP) -> Phases: ...
    def remove(self, router: RouterState, fip: FloatingIP) -> Phases: ...
    def delete(self, router: RouterState) -> Phases: ...


@dataclass
class Series:
    """What was measured of one operation, in seconds.

    :param walls: one value a router.
    :param cpus: mean a router, one value a turn.
    :param totals: wall of all routers together, one value a round.
    :param phases: one mapping a router.
    """

    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)
    phases: list[Mapping[str, float]] = field(default_factory=list)


#: Name of the way -> operation -> what was measured.
Measured = dict[str, dict[str, Series]]


def measure(crowds: Sequence[tuple[Way, Sequence[RouterState]]], rounds: int) -> Measured:
    """Have every way take its routers through all operations, ``rounds`` times."""
    measured: Measured = {way.name: {operation: Series() for operation in OPERATIONS} for way, _ in crowds}
    for _ in range(rounds):
        for operation in (BUILD, NO_OP, ADD, REMOVE):
            before = {way.name: len(measured[way.name][operation].walls) for way, _ in crowds}
            for way, routers in _turns(crowds):
                _take(way, operation, routers, measured[way.name][operation])
            for way, _ in crowds:
                series = measured[way.name][operation]
                series.totals.append(sum(series.walls[before[way.name] :]))
        for way, routers in crowds:
            _delete(way, routers, measured[way.name])
    return measured


def _turns(crowds: Sequence[tuple[Way, Sequence[RouterState]]]) -> Iterator[tuple[Way, Sequence[RouterState]]]:
    """Split every crowd into as many turns as the smallest has routers."""
    turns = min(len(routers) for _, routers in crowds)
    for turn in range(turns):
        for way, routers in crowds:
            yield way, routers[turn * len(routers) // turns : (turn + 1) * len(routers) // turns]


def _take(way: Way, operation: str, routers: Sequence[RouterState], series: Series) -> None:
    cpu = way.cpu()
    for router in routers:
        more, fip = with_one_more(router)
        started = time.perf_counter()
        match operation:
            case "build":
                phases = way.build(router)
            case "no-op":
                phases = way.look(router)
            case "floating IP add":
                phases = way.add(more, fip)
            case "floating IP remove":
                phases = way.remove(router, fip)
            case _:
                phases = way.delete(router)
        series.walls.append(time.perf_counter() - started)
        series.phases.append(phases or {})
    series.cpus.append((way.cpu() - cpu) / len(routers))


def _delete(way: Way, routers: Sequence[RouterState], series: Mapping[str, Series]) -> None:
    cpu, started = way.cpu(), time.perf_counter()
    _take(way, DELETE, routers, series[DELETE])
    series[DELETE].totals.append(time.perf_counter() - started)
    _wait_until_gone(way.traces)
    total = time.perf_counter() - started
    series[GONE].walls.append(total / len(routers))
    series[GONE].totals.append(total)
    series[GONE].cpus.append((way.cpu() - cpu) / len(routers))


def _wait_until_gone(traces: tuple[str, ...]) -> None:
    deadline = time.monotonic() + _GONE_S
    while any(name.startswith(traces) for _, name in socket.if_nameindex()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"links {', '.join(traces)}* are still there after {_GONE_S} s")
        time.sleep(0.005)
