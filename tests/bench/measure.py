# SPDX-License-Identifier: Apache-2.0
"""Every way does every operation on its routers, in turns so small that a change of load meets all of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from l3agent.model.states import FloatingIP, NamespaceState
from tests.bench.canonical import with_one_more

BUILD, FIRST, NO_OP = "build", "first look", "no-op"
ADD, REMOVE = "floating IP add", "floating IP remove"
DELETE, GONE = "delete", "delete until gone"
OPERATIONS = (BUILD, FIRST, NO_OP, ADD, REMOVE, DELETE, GONE)
#: Seconds; bridges go one at a time, about sixteen a second.
_GONE_S = 600
#: Routers of each way in the warm-up.
_WARM_UP = 2
#: Seconds between two requests.
_PAUSE_S = 0.003

#: Seconds by phase, of a way that tells; "wall" is its own measure of the whole.
Phases = Mapping[str, float] | None


class Way(Protocol):
    """A way to make routers."""

    name: str
    tribe: int
    #: How names of links begin that go with the routers, and those that go at leisure afterwards.
    traces: tuple[str, ...]
    leftovers: tuple[str, ...]

    def start(self, routers: Iterable[NamespaceState]) -> None: ...
    def cpu(self) -> float: ...
    def build(self, router: NamespaceState) -> Phases: ...
    def look(self, router: NamespaceState) -> Phases: ...
    def add(self, router: NamespaceState, fip: FloatingIP) -> Phases: ...
    def remove(self, router: NamespaceState, fip: FloatingIP) -> Phases: ...
    def delete(self, router: NamespaceState) -> Phases: ...


#: A way and its routers.
Crowd = tuple[Way, Sequence[NamespaceState]]


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

#: What an operation asks of a way; the last two are the router with one more floating IP, and that one.
_CALLS: dict[str, Callable[[Way, NamespaceState, NamespaceState, FloatingIP], Phases]] = {
    BUILD: lambda way, router, _, __: way.build(router),
    FIRST: lambda way, router, _, __: way.look(router),
    NO_OP: lambda way, router, _, __: way.look(router),
    ADD: lambda way, _, more, fip: way.add(more, fip),
    REMOVE: lambda way, router, _, fip: way.remove(router, fip),
    DELETE: lambda way, router, _, __: way.delete(router),
}


def measure(crowds: Sequence[Crowd], rounds: int) -> Measured:
    """Have every way take its routers through all operations, ``rounds`` times."""
    measured: Measured = {way.name: {operation: Series() for operation in OPERATIONS} for way, _ in crowds}
    for _ in range(rounds):
        for operation in (BUILD, FIRST, NO_OP, ADD, REMOVE):
            totals = dict.fromkeys(measured, 0.0)
            for way, routers in _turns(crowds):
                totals[way.name] += _take(way, operation, routers, measured[way.name][operation])
            for name, total in totals.items():
                measured[name][operation].totals.append(total)
        for way, routers in crowds:
            _delete(way, routers, measured[way.name])
    return measured


def measure_alternately(crowds: Sequence[Crowd], rounds: int) -> Measured:
    """Measure two ways after a warm-up; the order alternates from round to round."""
    measure([(way, routers[:_WARM_UP]) for way, routers in crowds], rounds=1)
    measured: Measured = {way.name: {operation: Series() for operation in OPERATIONS} for way, _ in crowds}
    for number in range(rounds):
        for name, operations in measure(crowds[:: 1 if number % 2 else -1], rounds=1).items():
            for operation, found in operations.items():
                series = measured[name][operation]
                series.walls += found.walls
                series.cpus += found.cpus
                series.phases += found.phases
    return measured


def _turns(crowds: Sequence[Crowd]) -> Iterator[Crowd]:
    """Split every crowd into as many turns as the smallest has routers."""
    turns = min(len(routers) for _, routers in crowds)
    for turn in range(turns):
        for way, routers in crowds:
            yield way, routers[turn * len(routers) // turns : (turn + 1) * len(routers) // turns]


def _take(way: Way, operation: str, routers: Sequence[NamespaceState], series: Series) -> float:
    """Do an operation on some routers and return the seconds it took."""
    call, cpu, total = _CALLS[operation], way.cpu(), 0.0
    for router in routers:
        more, fip = with_one_more(router)
        started = time.perf_counter()
        phases = call(way, router, more, fip)
        taken = time.perf_counter() - started
        wall = (phases or {}).get("wall", taken)
        series.walls.append(wall)
        series.phases.append(phases or {})
        total += wall
        # They come one at a time; many at once are another benchmark.
        time.sleep(_PAUSE_S)
    series.cpus.append((way.cpu() - cpu) / len(routers))
    return total


def _delete(way: Way, routers: Sequence[NamespaceState], series: Mapping[str, Series]) -> None:
    cpu, started = way.cpu(), time.perf_counter()
    series[DELETE].totals.append(_take(way, DELETE, routers, series[DELETE]))
    wait_until_gone(way.traces)
    total = time.perf_counter() - started
    series[GONE].totals.append(total)
    series[GONE].walls.append(total / len(routers))
    series[GONE].cpus.append((way.cpu() - cpu) / len(routers))
    wait_until_gone(way.leftovers)


def wait_until_gone(traces: tuple[str, ...]) -> None:
    """Wait until no link is left whose name begins with one of these."""
    deadline = time.monotonic() + _GONE_S
    while any(name.startswith(traces) for _, name in socket.if_nameindex()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"links named {', '.join(traces)}... are still there after {_GONE_S} s")
        time.sleep(0.005)
