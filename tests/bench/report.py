# SPDX-License-Identifier: Apache-2.0
"""What was measured as one JSON object, and that object as text."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from statistics import median
from typing import Any

from tests.bench.measure import OPERATIONS, Measured, Series

_NOTES = """\
wall: from the decision to the answer, one router at a time. total: all routers of a round, median of the rounds.
CPU: user and system, kernel work in its name included, child processes too. The kernel takes namespaces apart in a
worker of its own, which is in nobody's CPU time; "until gone" has its wall time, to the last device of a router.
A first look reads what the next one, the no-op, finds unchanged. "times": this way / {ours}.
The other ways do less: their bridges are made before and stay, and rootwrap or privsep, arping and the rules of IPv6
are left out."""


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides us."""
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def as_json(measured: Measured, ours: str, **facts: Any) -> dict[str, Any]:
    """Return the figures of every way, and the ratios of the others to ``ours``."""
    ways = {
        name: {operation: _figures(series) for operation, series in operations.items()}
        for name, operations in measured.items()
    }
    return {
        **facts,
        "ours": ours,
        "ways": ways,
        "phases_ms": {operation: _phases(measured[ours][operation].phases) for operation in OPERATIONS},
        "ratios": {name: _ratios(ways[ours], figures) for name, figures in ways.items() if name != ours},
    }


def as_text(report: Mapping[str, Any]) -> str:
    """Return the figures as a person reads them."""
    return "\n".join((*_head(report), "", *_table(report), "", *_inside(report), "", *_foot(report)))


# ---- figures ---------------------------------------------------------------------------------------------------


def _figures(series: Series) -> dict[str, Any]:
    return {
        "wall_ms": {name: _ms(of(series.walls)) for name, of in (("median", median), ("min", min), ("max", max))},
        "cpu_ms": _ms(median(series.cpus)),
        "total_s": round(median(series.totals), 4),
    }


def _ratios(ours: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {
        operation: {
            "wall": round(figures["wall_ms"]["median"] / ours[operation]["wall_ms"]["median"], 1),
            "cpu": round(figures["cpu_ms"] / ours[operation]["cpu_ms"], 1),
        }
        for operation, figures in others.items()
    }


def _phases(timings: list[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in timings for name in one)
    return {name: _ms(median(one.get(name, 0.0) for one in timings)) for name in names}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


# ---- text ------------------------------------------------------------------------------------------------------


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    before, after = report["machine"]["before"], report["machine"]["after"]
    yield (
        f"{before['cores']} cores, Linux {before['kernel']}, Python {before['python']}, "
        f"load {before['load'][0]} before and {after['load'][0]} after"
    )
    counts = ", ".join(f"{count} by {name}" for name, count in report["routers"].items())
    yield f"{report['floating_ips']} floating IPs a router, {report['rounds']} rounds, routers: {counts}"


def _table(report: Mapping[str, Any]) -> Iterator[str]:
    width = max(map(len, report["ways"]))
    columns = ("min", "max", "CPU ms", "total s", "times", "CPU")
    yield f"{'':{20 + width}}  {'wall ms: median':>15}" + "".join(f"{column:>9}" for column in columns)
    for operation in OPERATIONS:
        for place, (name, ways) in enumerate(report["ways"].items()):
            figures = ways[operation]
            wall = figures["wall_ms"]
            ratio = report["ratios"].get(name, {}).get(operation)
            yield (
                f"{operation if place == 0 else '':20}{name:{width}}  "
                f"{wall['median']:15.2f}{wall['min']:9.2f}{wall['max']:9.2f}{figures['cpu_ms']:9.2f}"
                f"{figures['total_s']:9.2f}" + (f"{ratio['wall']:9.1f}{ratio['cpu']:9.1f}" if ratio else "")
            )


def _inside(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"Inside {report['ours']}, ms (median):"
    for operation, phases in report["phases_ms"].items():
        if phases:
            parts = "".join(f"{name:>9} {value:6.2f}" for name, value in phases.items())
            yield f"  {operation:20}{parts}{'together':>11} {sum(phases.values()):6.2f}"


def _foot(report: Mapping[str, Any]) -> Iterable[str]:
    resident = report["resident_mb"]
    yield f"Resident memory of the data plane: {resident['empty']:.1f} MB empty, {resident['peak']:.1f} MB at its peak."
    for name, reason in report["left_out"].items():
        yield f"Left out: {name} ({reason})."
    yield _NOTES.format(ours=report["ours"])
