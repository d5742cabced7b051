# SPDX-License-Identifier: Apache-2.0
"""Traffic checks of the sample topology: one check per property that the topology configures."""

from __future__ import annotations

from l3agent.demo.environment import NO_ANSWER, Environment
from l3agent.demo.probe import ProbeError
from l3agent.demo.progress import CheckRow, CheckTable


def check_traffic(table: CheckTable, environment: Environment) -> None:
    """Run all traffic checks."""
    table.print_title("TRAFFIC")
    with table.check("a tenant reaches the outside through SNAT") as row:
        _check_snat(row, environment)
    with table.check("the outside reaches a floating IP") as row:
        _check_floating_ip(row, environment)
    with table.check("hairpin: a tenant reaches its floating IP") as row:
        _check_hairpin(row, environment)
    with table.check("IPv6 is routed without translation") as row:
        _check_ipv6(row, environment)
    with table.check("IPv4 without SNAT is routed") as row:
        _check_routed(row, environment)
    with table.check("an extra route forwards to its next hop") as row:
        _check_extra_route(row, environment)
    with table.check("tenants may use the same addresses") as row:
        _check_overlap(row, environment)
    with table.check("tenants are isolated from each other") as row:
        _check_isolation(row, environment)


def _check_snat(row: CheckRow, environment: Environment) -> None:
    target = environment.address("outside")
    _require_replies(environment, "vm2", target)
    peer = environment.connect("vm2", target)["peer"]
    row.expect(peer == environment.gateway("r1"), f"vm2 -> {target}: outside sees {peer}")


def _check_floating_ip(row: CheckRow, environment: Environment) -> None:
    floating = environment.floating_ip("r1")
    _require_replies(environment, "outside", floating)
    server = environment.connect("outside", floating)["server"]
    peer = environment.connect("vm1", environment.address("outside"))["peer"]
    row.expect((server, peer) == ("vm1", floating), f"{floating} reaches {server}; outside sees vm1 as {peer}")


def _check_hairpin(row: CheckRow, environment: Environment) -> None:
    floating = environment.floating_ip("r1")
    server = environment.connect("vm2", floating)["server"]
    row.expect(server == "vm1", f"vm2 -> {floating}: {server} answers")


def _check_ipv6(row: CheckRow, environment: Environment) -> None:
    inside, outside = environment.address("vm1", 6), environment.address("outside", 6)
    _require_replies(environment, "vm1", outside)
    peers = environment.connect("vm1", outside)["peer"], environment.connect("outside", inside)["peer"]
    row.expect(peers == (inside, outside), f"outside sees {peers[0]}, vm1 sees {peers[1]}")


def _check_routed(row: CheckRow, environment: Environment) -> None:
    inside, outside = environment.address("vm4"), environment.address("outside")
    peers = environment.connect("vm4", outside)["peer"], environment.connect("outside", inside)["peer"]
    row.expect(peers == (inside, outside), f"outside sees {peers[0]}, vm4 sees {peers[1]}")


def _check_extra_route(row: CheckRow, environment: Environment) -> None:
    target = environment.topology["hosts"]["branch"]["addresses"][1].split("/")[0]
    server = environment.connect("vm1", target)["server"]
    row.expect(server == "branch", f"vm1 -> {target}: {server} answers")


def _check_overlap(row: CheckRow, environment: Environment) -> None:
    address, blue, red = environment.address("vm1"), environment.floating_ip("r1"), environment.floating_ip("r2")
    paths = ("vm2", address), ("outside", blue), ("outside", red)
    servers = [environment.connect(host, target)["server"] for host, target in paths]
    row.expect(servers == ["vm1", "vm1", "vm3"], f"{address}: {servers[1]} by {blue}, {servers[2]} by {red}")


def _check_isolation(row: CheckRow, environment: Environment) -> None:
    address = environment.address("vm2")
    server = environment.connect("vm3", address, timeout=0.5)["server"]
    received = environment.ping("vm3", address, patience=0.5)["received"]
    row.expect((server, received) == (NO_ANSWER, 0), f"vm3 of red -> {address} of blue: {server}")


def _require_replies(environment: Environment, host: str, target: str) -> None:
    result = environment.ping(host, target)
    if result["lost"]:
        raise ProbeError(f"{host} -> {target}: {len(result['lost'])} of {result['sent']} pings lost")
