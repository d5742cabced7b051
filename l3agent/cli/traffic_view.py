# SPDX-License-Identifier: Apache-2.0
"""Text view of the traffic counters of routers. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from l3agent.cli.terminal import Cell, Screen, table

_HEADER = ("WHAT", "PACKETS IN", "BYTES IN", "PACKETS OUT", "BYTES OUT")


def traffic_lines(routers: Mapping[str, Mapping[str, Any]], screen: Screen) -> Iterator[str]:
    """Yield the lines of the counters.

    :param routers: result of :func:`l3agent.ops.status.traffic`.
    """
    if not routers:
        yield "no routers on this node"
        return
    rows: list[list[Cell | str]] = []
    for router_id, router in sorted(routers.items(), key=lambda item: (item[1]["name"], item[0])):
        rows.append([Cell(f"router {router['name'] or router_id}", "bold"), "", "", "", ""])
        if "error" in router:
            rows.append([Cell(f"  {router['error']}", "red"), "", "", "", ""])
            continue
        for what, counters in (*router["devices"].items(), *(router["floating_ips"] or {}).items()):
            rows.append([f"  {what}", *(str(number) for way in ("in", "out") for number in counters[way])])
    yield from table(_HEADER, rows, screen)
    if any(router.get("floating_ips", {}) is None for router in routers.values()):
        yield ""
        yield "floating IPs are not counted: [dataplane] count_traffic is off"
