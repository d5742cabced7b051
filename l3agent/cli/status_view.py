# SPDX-License-Identifier: Apache-2.0
"""Text view of the status of an agent. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from l3agent.cli.terminal import Cell, Screen, table

_STYLES = {"active": "green", "pending": "yellow", "error": "red", "paused": "yellow"}
#: Order of the rows: routers that need attention come first.
_ORDER = ("error", "paused", "pending", "active")
_RATE_S = 60.0


def status_lines(status: Mapping[str, Any], screen: Screen, before: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Yield the lines of a status.

    :param before: an earlier status of the same agent, from which the rate is computed; None for the last minute.
    """
    yield screen.cut(f"l3-agent {status['version']} on {status['host']}: {_condition(status)}")
    queue, workers, dataplane = status["queue"], status["workers"], status["dataplane"]
    yield screen.cut("queue       " + ", ".join(f"{count} {what}" for what, count in queue.items()))
    yield screen.cut(f"workers     {workers['busy']} of {workers['size']} busy")
    yield screen.cut(f"data plane  {_dataplane(dataplane)}")
    yield screen.cut(f"rate        {_rate(status, before)}; {status['full_syncs']} full syncs since the start")
    if held := status["mass_delete"]["held"]:
        yield screen.cut(
            f"held        {len(held)} routers missing from the server's answer are kept until it is confirmed"
        )
    if orphans := status["orphans"]:
        yield screen.cut(f"orphans     {', '.join(sorted(orphans))}: unknown to the server")
    if unseen := [one for one in status["paused"] if one not in status["routers"]]:
        yield screen.cut(f"paused      {', '.join(unseen)}: not on this node")
    if unserved := {feature: count for feature, count in status["unserved_features"].items() if count}:
        counts = ", ".join(f"{feature} ({count} routers)" for feature, count in unserved.items())
        yield screen.cut(f"not served  {counts}")
    yield ""
    yield screen.cut(_totals(status))
    rows = sorted(status["routers"].items(), key=lambda item: (_ORDER.index(_state(item[1])), item[1]["name"], item[0]))
    header = ["ROUTER", "NAME", "STATE", "UPDATES", "LAST", "ERROR"]
    if any(entry["warnings"] for _, entry in rows):
        header.append("WARNINGS")
    unknown = [
        _failure_row(router_id, failure)
        for router_id, failure in status["failures"].items()
        if router_id not in status["routers"]
    ]
    if not rows and not unknown:
        return
    cells = unknown + [_row(status, router_id, entry) for router_id, entry in rows]
    yield from table(header, [row[: len(header)] for row in cells], screen)


def not_serving_reasons(status: Mapping[str, Any]) -> list[str]:
    """Return why updates of routers do not reach the kernel; empty if they do."""
    checks = {
        "no data plane": status["dataplane"]["connected"],
        "no full sync completed yet": status["full_syncs"] > 0,
        str(status["admin"]): status["admin"] == "serving",
    }
    return [reason for reason, passed in checks.items() if not passed]


def _condition(status: Mapping[str, Any]) -> str:
    if reasons := not_serving_reasons(status):
        return f"not serving: {', '.join(reasons)}"
    return "in sync" if status["in_sync"] else "not in sync yet"


def _dataplane(dataplane: Mapping[str, Any]) -> str:
    if dataplane["connected"]:
        return f"{dataplane['version']}, pid {dataplane['pid']}"
    return f"not connected: {dataplane['reason']}"


def _totals(status: Mapping[str, Any]) -> str:
    counts = dict.fromkeys(_ORDER, 0)
    for entry in status["routers"].values():
        counts[_state(entry)] += 1
    parts = [f"{count} {state}" for state, count in counts.items() if count]
    return f"{len(status['routers'])} routers" + (f": {', '.join(parts)}" if parts else "")


def _rate(status: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    if before is None or before["now"] >= status["now"]:
        times = [entry["updated_at"] for entry in status["routers"].values() if entry["updated_at"]]
        recent = sum(status["now"] - one < _RATE_S for one in times)
        return f"{recent} routers updated in the last minute"
    seconds = status["now"] - before["now"]
    done = sum(
        max(0, entry["updates"] - before["routers"].get(router_id, {"updates": 0})["updates"])
        for router_id, entry in status["routers"].items()
    )
    return f"{done / seconds:.1f} updates per second"


def _state(entry: Mapping[str, Any]) -> str:
    return "paused" if entry["paused"] else str(entry["state"])


def _row(status: Mapping[str, Any], router_id: str, entry: Mapping[str, Any]) -> list[Cell | str]:
    state = _state(entry)
    failure = status["failures"].get(router_id)
    error = entry["error"] or "" if failure is None else _describe_failure(failure)
    last = "-"
    if entry["updated_at"]:
        count = entry["last"]["count"]
        last = f"{_age(status['now'] - entry['updated_at'])} ago, {count} operation{'' if count == 1 else 's'}"
    return [
        router_id, Cell(entry["name"], "bold"), Cell(state, _STYLES[state]), str(entry["updates"]), last,
        Cell(error, "red"), Cell(_warnings(entry), "yellow"),
    ]  # fmt: skip


def _failure_row(router_id: str, failure: Mapping[str, Any]) -> list[Cell | str]:
    """Return the row of a failed router that is not on this node."""
    return [
        router_id,
        Cell(failure["name"], "bold"),
        Cell("error", "red"),
        "0",
        "-",
        Cell(_describe_failure(failure), "red"),
        "",
    ]


def _warnings(entry: Mapping[str, Any]) -> str:
    """Return the first warning and the number of warnings; `show` prints all."""
    if not entry["warnings"]:
        return ""
    count = f"({entry['warning_count']}) " if entry["warning_count"] > 1 else ""
    return f"{count}{entry['warnings'][0]}"


def _describe_failure(failure: Mapping[str, Any]) -> str:
    attempts = f"{failure['attempts']} attempts, " if failure["attempts"] > 1 else ""
    retry = f"({attempts}retry in {failure['retry_in']:.0f} s) " if failure["retry_in"] is not None else ""
    return f"{retry}{failure['reason']}"


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
