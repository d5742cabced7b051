# SPDX-License-Identifier: Apache-2.0
"""The changes that the demo applies to the running topology, and the kills of both processes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from l3agent.demo import probe
from l3agent.demo.daemon import is_in_sync, routers_named
from l3agent.demo.environment import PORT, Environment
from l3agent.demo.progress import CheckFailed, CheckRow, CheckTable
from l3agent.ops.control_client import call_agent

_DEADLINE_S = 20.0
#: Limits of a printed plan: operations, and characters of each.
_MAX_OPERATIONS, _MAX_CHARACTERS = 6, 112
_UUID = re.compile(r"([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: Seconds of traffic before a process is killed, and after the agent is in sync again.
_MARGIN_S = 0.3


def change_topology(table: CheckTable, environment: Environment) -> None:
    """Apply three changes to the topology file and check each in the kernel."""
    table.print_title("CHANGES (time from the file to the kernel)")
    outside, floating = environment.address("outside"), environment.floating_ip("r1")
    with table.check("move a floating IP to another host") as row:
        _update(row, environment, "r1", move_floating_ip)
        server = environment.connect("outside", floating)["server"]
        row.expect(server == "vm2", f"{floating} reaches {server} now")
    with table.check("add a subnet and a host on it") as row:
        _update(row, environment, "r1", add_subnet)
        environment.start_servers(_DEADLINE_S)
        peer = environment.connect("vm5", outside)["peer"]
        row.expect(peer == environment.gateway("r1"), f"vm5 -> {outside}: outside sees {peer}")
    with table.check("delete a router") as row:
        _delete(row, environment, "r2")


def kill_processes(table: CheckTable, environment: Environment) -> None:
    """Kill the agent and then the data plane under running traffic, and check that both recover."""
    daemon, routers = environment.daemon, environment.topology["routers"]
    table.print_title("SIGKILL UNDER TRAFFIC (time until in sync)")
    with table.check("kill l3-agent and start it again") as row, _running_traffic(row, environment):
        start = time.monotonic()
        daemon.kill()
        daemon.start()
        status = daemon.wait_in_sync(routers, _DEADLINE_S)
        row.duration = time.monotonic() - start
        row.details = _format_rebuilds(status)
    with table.check("kill l3-dataplane, the agent restarts it") as row, _running_traffic(row, environment):
        start = time.monotonic()
        pid = daemon.kill_dataplane()
        daemon.wait(
            "connected to a new data plane",
            lambda status: status["dataplane"]["pid"] not in (pid, None) and is_in_sync(status, routers),
            _DEADLINE_S,
        )
        row.duration = time.monotonic() - start
    with table.check("move the floating IP back") as row:
        _update(row, environment, "r1", move_floating_ip)
        floating = environment.floating_ip("r1")
        server = environment.connect("outside", floating)["server"]
        row.expect(server == "vm1", f"{floating} reaches {server} again")
    with table.check("no operation is left") as row:
        plans = call_agent(daemon.socket, {"op": "plan", "router": None})["plans"]
        count = sum(map(len, plans.values()))
        row.expect(not count, f"a dry run over {len(plans)} routers plans {count} operations")


def move_floating_ip(topology: dict[str, Any]) -> None:
    """Associate the floating IP of r1 with vm2, or with vm1 if it is associated with vm2."""
    floating_ips = topology["routers"]["r1"]["floating_ips"]
    floating = next(iter(floating_ips))
    floating_ips[floating] = "vm1" if floating_ips[floating] == "vm2" else "vm2"


def add_subnet(topology: dict[str, Any]) -> None:
    """Add a second network with one host to the blue tenant."""
    topology["networks"]["violet"] = {"subnets": {"violet-v4": {"cidr": "10.0.9.0/24"}}}
    topology["routers"]["r1"]["interfaces"].append("violet-v4")
    topology["hosts"]["vm5"] = {"network": "violet", "addresses": ["10.0.9.5"]}


def delete_router(topology: dict[str, Any], name: str) -> None:
    """Delete a router."""
    del topology["routers"][name]


def format_kernel_time(last: dict[str, Any]) -> str:
    """Return the number of operations of an update and the time it spent in the data plane, as text.

    :param last: the entry of the last update in the status.
    """
    spent = sum(last["timings"].get(phase, 0.0) for phase in ("observe", "plan", "apply"))
    return f"{_count_operations(last)} operations, {spent * 1000:.1f} ms in the data plane"


def _update(row: CheckRow, environment: Environment, router: str, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the file and wait for the router; record its plan and the time from the file to the kernel."""
    since = environment.edit_topology(edit)
    entry = environment.daemon.wait_updated(router, since, _DEADLINE_S)
    row.duration = entry["updated_at"] - since
    row.details = _format_plan(entry["last"])


def _delete(row: CheckRow, environment: Environment, router: str) -> None:
    status = environment.daemon.status()
    router_id = next(key for key, entry in status["routers"].items() if entry["name"] == router)
    pin = environment.router_namespace(router_id)
    if not pin.exists():
        raise CheckFailed(f"{pin} does not exist before the deletion")
    since = environment.edit_topology(lambda topology: delete_router(topology, router))
    status = environment.daemon.wait("removed", lambda status: not routers_named(status, router), _DEADLINE_S)
    row.duration = time.monotonic() - since
    removed = next(entry for entry in status["removed"] if entry["id"] == router_id)
    row.details = _format_plan(removed)
    row.expect(not pin.exists(), f"the namespace of {router} is deleted")


def _count_operations(last: dict[str, Any]) -> int:
    """Return the number of operations of an update; the status lists only the first of them."""
    return int(last.get("count", len(last["operations"])))


def _format_plan(last: dict[str, Any]) -> list[str]:
    """Return the first operations of an update, each short enough for one line."""
    lines = [_UUID.sub(r"\1…", line) for line in last["operations"][:_MAX_OPERATIONS]]
    cut = [line if len(line) <= _MAX_CHARACTERS else line[: _MAX_CHARACTERS - 1] + "…" for line in lines]
    return [format_kernel_time(last) + ":", *cut, *(["…"] if len(last["operations"]) > len(cut) else [])]


def _format_rebuilds(status: dict[str, Any]) -> list[str]:
    return [f"{entry['name']}: {format_kernel_time(entry['last'])}" for entry in status["routers"].values()]


@contextmanager
def _running_traffic(row: CheckRow, environment: Environment) -> Iterator[None]:
    """Run pings and a TCP connection during the block; the check fails if a single packet is lost."""
    outside, floating = environment.address("outside"), environment.floating_ip("r1")
    pings = [
        environment.start_probe("vm1", probe.ping, outside),
        environment.start_probe("outside", probe.ping, floating),
        environment.start_probe("vm1", probe.ping, environment.address("outside", 6)),
    ]
    connection = environment.start_probe("outside", probe.exchange_lines, floating, PORT)
    time.sleep(_MARGIN_S)
    yield
    time.sleep(_MARGIN_S)
    results = [ping.finish() for ping in pings]
    lines = connection.finish()["lines"]
    lost, sent = sum(len(result["lost"]) for result in results), sum(result["sent"] for result in results)
    gap, slowest = (max(result[key] or 0.0 for result in results) * 1000 for key in ("gap", "slowest"))
    row.details.append(f"longest time between two replies {gap:.0f} ms, slowest reply {slowest:.1f} ms")
    row.expect(not lost and lines, f"{lost} of {sent} pings lost on 3 paths, the TCP connection survives")
