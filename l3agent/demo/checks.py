# SPDX-License-Identifier: Apache-2.0
"""What the sample topology promises, proved by traffic: one check a promise."""

from __future__ import annotations

from l3agent.demo.environment import Stage
from l3agent.demo.probe import ProbeError
from l3agent.demo.progress import Row, Table


def prove_traffic(table: Table, stage: Stage) -> None:
    """Run all checks of traffic."""
    table.title("TRAFFIC")
    with table.check("tenant reaches outside through SNAT") as row:
        _snat(row, stage)
    with table.check("outside reaches a floating IP") as row:
        _floating_ip(row, stage)
    with table.check("hairpin: a tenant by its own floating IP") as row:
        _hairpin(row, stage)
    with table.check("IPv6 is routed, not translated") as row:
        _ipv6(row, stage)
    with table.check("without SNAT a tenant is routed") as row:
        _routed(row, stage)
    with table.check("the extra route leads on") as row:
        _extra_route(row, stage)
    with table.check("tenants with the same addresses stay apart") as row:
        _overlap(row, stage)
    with table.check("one tenant cannot reach the other") as row:
        _leak(row, stage)


def _snat(row: Row, stage: Stage) -> None:
    target = stage.address("outside")
    _answered(stage, "vm2", target)
    peer = stage.ask("vm2", target)["peer"]
    row.expect(peer == stage.gateway("r1"), f"vm2 -> {target}: outside sees {peer}")


def _floating_ip(row: Row, stage: Stage) -> None:
    floating = stage.floating_ip("r1")
    _answered(stage, "outside", floating)
    server, peer = stage.ask("outside", floating)["server"], stage.ask("vm1", stage.address("outside"))["peer"]
    row.expect((server, peer) == ("vm1", floating), f"{floating} reaches {server}; outside sees vm1 as {peer}")


def _hairpin(row: Row, stage: Stage) -> None:
    floating = stage.floating_ip("r1")
    server = stage.ask("vm2", floating)["server"]
    row.expect(server == "vm1", f"vm2 -> {floating}: {server} answers")


def _routed(row: Row, stage: Stage) -> None:
    inside, outside = stage.address("vm4"), stage.address("outside")
    peers = stage.ask("vm4", outside)["peer"], stage.ask("outside", inside)["peer"]
    row.expect(peers == (inside, outside), f"outside sees {peers[0]}, vm4 sees {peers[1]}")


def _ipv6(row: Row, stage: Stage) -> None:
    inside, outside = stage.address("vm1", 6), stage.address("outside", 6)
    _answered(stage, "vm1", outside)
    peers = stage.ask("vm1", outside)["peer"], stage.ask("outside", inside)["peer"]
    row.expect(peers == (inside, outside), f"outside sees {peers[0]}, vm1 sees {peers[1]}")


def _extra_route(row: Row, stage: Stage) -> None:
    target = stage.topology["hosts"]["branch"]["addresses"][1].split("/")[0]
    server = stage.ask("vm1", target)["server"]
    row.expect(server == "branch", f"vm1 -> {target}: {server} answers")


def _overlap(row: Row, stage: Stage) -> None:
    address, blue, red = stage.address("vm1"), stage.floating_ip("r1"), stage.floating_ip("r2")
    ways = ("vm2", address), ("outside", blue), ("outside", red)
    servers = [stage.ask(host, target)["server"] for host, target in ways]
    row.expect(servers == ["vm1", "vm1", "vm3"], f"{address}: {servers[1]} by {blue}, {servers[2]} by {red}")


def _leak(row: Row, stage: Stage) -> None:
    address = stage.address("vm2")
    server = stage.ask("vm3", address, timeout=0.5)["server"]
    received = stage.ping("vm3", address, patience=0.5)["received"]
    row.expect((server, received) == ("nobody", 0), f"vm3 of red -> {address} of blue: {server} answers")


def _answered(stage: Stage, host: str, target: str) -> None:
    result = stage.ping(host, target)
    if result["lost"]:
        raise ProbeError(f"{host} -> {target}: {len(result['lost'])} of {result['sent']} pings lost")
