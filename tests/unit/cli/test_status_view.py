# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from l3agent.cli.status_view import not_serving_reasons, status_lines
from l3agent.cli.terminal import Screen


def entry(name: str, state: str = "active", **more: Any) -> dict[str, Any]:
    return {
        "name": name, "state": state, "error": None, "paused": False, "retry_in": None, "updates": 1,
        "last": {"count": 1, "operations": ["one"], "timings": {}}, "updated_at": 990.0,
        "warnings": [], "warning_count": 0, "unserved_features": [], **more,
    }  # fmt: skip


def status(**more: Any) -> dict[str, Any]:
    return {
        "version": "1", "host": "node1", "now": 1000.0, "in_sync": True, "full_syncs": 2, "admin": "serving",
        "queue": {"waiting": 3, "processing": 1}, "workers": {"busy": 1, "size": 8}, "mass_delete": {"held": []},
        "dataplane": {"connected": True, "pid": 7, "version": "1", "reason": None},
        "routers": {}, "failures": {}, "orphans": {}, "paused": [], "unserved_features": {}, **more,
    }  # fmt: skip


def text(found: dict[str, Any], before: dict[str, Any] | None = None, width: int | None = None) -> str:
    return "\n".join(status_lines(found, Screen(width=width), before))


def test_routers_in_error_come_first() -> None:
    routers = {
        "a": entry("fine"), "b": entry("kept", paused=True), "c": entry("bad", "error", error="no", retry_in=4.0),
    }  # fmt: skip
    failures = {"c": {"name": "bad", "reason": "no", "attempts": 3, "retry_in": 4.0}}
    failures["d"] = {"name": "", "reason": "not fetched", "attempts": 1, "retry_in": 9.0}
    lines = text(status(routers=routers, failures=failures)).splitlines()
    assert [line.split()[0] for line in lines[-4:]] == ["d", "c", "b", "a"]
    assert "(retry in 9 s) not fetched" in lines[-4]
    assert "(3 attempts, retry in 4 s) no" in lines[-3] and " paused " in lines[-2]
    assert "3 routers: 1 error, 1 paused, 1 active" in lines
    assert sum("not fetched" in line for line in lines) == 1


def test_queue_workers_and_data_plane_are_printed() -> None:
    text_shown = text(status())
    for words in ("node1: in sync", "3 waiting, 1 processing", "1 of 8 busy", "data plane  1, pid 7", "2 full syncs"):
        assert words in text_shown


def test_the_reason_for_not_serving_is_in_the_first_lines() -> None:
    away = {"connected": False, "pid": None, "version": None, "reason": "no socket\x1b[2J"}
    found = status(dataplane=away, admin="draining", full_syncs=0)
    assert not_serving_reasons(found) == ["no data plane", "no full sync completed yet", "draining"]
    text_shown = text(found)
    assert "node1: not serving: no data plane, no full sync completed yet, draining" in text_shown
    assert "data plane  not connected: no socket?[2J" in text_shown
    assert not_serving_reasons(status()) == []


def test_routers_held_for_a_second_answer_are_printed() -> None:
    assert "2 routers missing from the server's answer" in text(status(mass_delete={"held": ["a", "b"]}))


def test_a_paused_router_that_is_not_on_this_node_is_printed() -> None:
    assert "paused      4d2a: not on this node" in text(status(paused=["4d2a"]))


def test_orphans_are_printed() -> None:
    lines = [line for line in text(status(orphans={"b": 3.0, "a": 0.5})).splitlines() if line.startswith("orphans")]
    assert lines == ["orphans     a, b: unknown to the server"]


def test_the_rate_is_that_since_the_last_look() -> None:
    before = status(routers={"a": entry("r1", updates=5)}, now=998.0)
    now = status(routers={"a": entry("r1", updates=9), "b": entry("r2", updates=2)})
    assert "rate        3.0 updates per second" in text(now, before)
    assert "rate        2 routers updated in the last minute" in text(now)


def test_a_status_fits_the_terminal() -> None:
    routers = {"4d2a5d31-cd90-5daa-be26-9a97a9654bed": entry("r1", "error", error="a long story " * 20)}
    assert all(len(line) <= 60 for line in text(status(routers=routers), width=60).splitlines())
