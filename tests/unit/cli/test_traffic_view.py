# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from l3agent.cli.terminal import Screen
from l3agent.cli.traffic_view import traffic_lines

DEVICES = {"qg-1": {"in": [3, 300], "out": [2, 200]}}


def test_devices_and_floating_ips_are_listed_below_their_router() -> None:
    routers = {
        "b": {"name": "r2", "devices": {}, "floating_ips": {}},
        "a": {"name": "", "devices": DEVICES, "floating_ips": {"203.0.113.9": {"in": [1, 100], "out": [0, 0]}}},
    }
    assert [line.split() for line in traffic_lines(routers, Screen())] == [
        ["WHAT", "PACKETS", "IN", "BYTES", "IN", "PACKETS", "OUT", "BYTES", "OUT"],
        ["router", "a"],
        ["qg-1", "3", "300", "2", "200"],
        ["203.0.113.9", "1", "100", "0", "0"],
        ["router", "r2"],
    ]


def test_the_reason_for_missing_floating_ips_is_printed() -> None:
    lines = list(traffic_lines({"a": {"name": "r1", "devices": DEVICES, "floating_ips": None}}, Screen()))
    assert lines[-1] == "floating IPs are not counted: [dataplane] count_traffic is off"


def test_a_router_without_counters_has_its_reason() -> None:
    lines = list(traffic_lines({"a": {"name": "r1", "error": "it is not in the kernel"}}, Screen()))
    assert [line.strip() for line in lines[1:]] == ["router r1", "it is not in the kernel"]


def test_no_routers() -> None:
    assert list(traffic_lines({}, Screen())) == ["no routers on this node"]
