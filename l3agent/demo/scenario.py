# SPDX-License-Identifier: Apache-2.0
"""What the demo does to a running system: changes of the topology, and the sudden death of each process."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from l3agent.demo import probe
from l3agent.demo.daemon import in_sync, named
from l3agent.demo.environment import PORT, Stage
from l3agent.demo.progress import CheckFailed, Row, Table
from l3agent.ops.control_client import ask_agent

_DEADLINE_S = 20.0
#: How much of a plan is shown: operations, and characters of each.
_SHOWN, _SHOWN_CHARACTERS = 6, 112
_UUID = re.compile(r"([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: Seconds of traffic before a process is killed, and after all is well again.
_CALM_S = 0.3


def show_changes(table: Table, stage: Stage) -> None:
    """Change the topology file, thrice."""
    table.title("CHANGES (time from the file to the kernel)")
    floating = stage.floating_ip("r1")
    with table.check("move a floating IP to another host") as row:
        _update(row, stage, "r1", move_floating_ip)
        server = stage.ask("outside", floating)["server"]
        row.expect(server == "vm2", f"{floating} reaches {server} now")
    with table.check("add a subnet, and a host on it") as row:
        _update(row, stage, "r1", add_subnet)
        stage.open_hosts(_DEADLINE_S)
        peer = stage.ask("vm5", stage.address("outside"))["peer"]
        row.expect(peer == stage.gateway("r1"), f"vm5 -> {stage.address('outside')}: outside sees {peer}")
    with table.check("delete a router") as row:
        _delete(row, stage, "r2")


def show_deaths(table: Table, stage: Stage) -> None:
    """Kill the agent, and the data plane, under running traffic; both come back."""
    table.title("SIGKILL UNDER TRAFFIC (time until in sync)")
    with table.check("kill l3-agent, start it again") as row, _traffic(row, stage):
        start = time.monotonic()
        stage.daemon.kill()
        stage.daemon.start()
        status = stage.daemon.wait_in_sync(stage.topology["routers"], _DEADLINE_S)
        row.took = time.monotonic() - start
        row.details = _rebuilt(status)
    with table.check("kill l3-dataplane, it comes again") as row, _traffic(row, stage):
        start = time.monotonic()
        pid = stage.daemon.kill_dataplane()
        stage.daemon.wait(
            "connected to a new data plane",
            lambda status: status["dataplane"]["pid"] not in (pid, None) and in_sync(status, stage.topology["routers"]),
            _DEADLINE_S,
        )
        row.took = time.monotonic() - start
    with table.check("change the file once more") as row:
        _update(row, stage, "r1", move_floating_ip)
        floating = stage.floating_ip("r1")
        server = stage.ask("outside", floating)["server"]
        row.expect(server == "vm1", f"{floating} reaches {server} again")
    with table.check("nothing is left to do") as row:
        plans = ask_agent(stage.daemon.socket, {"op": "plan", "router": None})["plans"]
        left = sum(map(len, plans.values()))
        row.expect(not left, f"a dry run over {len(plans)} routers plans {left} operations")


def move_floating_ip(topology: dict[str, Any]) -> None:
    """Give the floating IP of r1 to vm2, or back to vm1."""
    floating_ips = topology["routers"]["r1"]["floating_ips"]
    floating = next(iter(floating_ips))
    floating_ips[floating] = "vm1" if floating_ips[floating] == "vm2" else "vm2"


def add_subnet(topology: dict[str, Any]) -> None:
    """Give the blue tenant a second network with one host."""
    topology["networks"]["violet"] = {"subnets": {"violet-v4": {"cidr": "10.0.9.0/24"}}}
    topology["routers"]["r1"]["interfaces"].append("violet-v4")
    topology["hosts"]["vm5"] = {"network": "violet", "addresses": ["10.0.9.5"]}


def delete_router(topology: dict[str, Any], name: str) -> None:
    """Take a router out."""
    del topology["routers"][name]


def kernel_time(last: dict[str, Any]) -> str:
    """Say how many operations an update took, and the data-plane time."""
    spent = sum(last["timings"].get(phase, 0.0) for phase in ("observe", "plan", "apply"))
    return f"{_count(last)} operations, {spent * 1000:.1f} ms in the data plane"


def _update(row: Row, stage: Stage, router: str, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the file, wait for the router, put the plan and the time from file to kernel into the row."""
    since = stage.change(edit)
    entry = stage.daemon.wait_updated(router, since, _DEADLINE_S)
    row.took = entry["updated_at"] - since
    row.details = _plan(entry["last"])


def _delete(row: Row, stage: Stage, router: str) -> None:
    status = stage.daemon.status()
    router_id = next(key for key, entry in status["routers"].items() if entry["name"] == router)
    pin = stage.router_namespace(router_id)
    if not pin.exists():
        raise CheckFailed(f"{pin} was not there before")
    since = stage.change(lambda topology: delete_router(topology, router))
    status = stage.daemon.wait("removed", lambda status: not named(status, router), _DEADLINE_S)
    row.took = time.monotonic() - since
    removed = next(entry for entry in status["removed"] if entry["id"] == router_id)
    row.details = _plan(removed)
    row.expect(not pin.exists(), f"the namespace of {router} is gone")


def _count(last: dict[str, Any]) -> int:
    """Return how many operations there were; the status lists the first of them."""
    return int(last.get("count", len(last["operations"])))


def _plan(last: dict[str, Any]) -> list[str]:
    """Return the beginning of what was done, short enough for a line each."""
    lines = [_UUID.sub(r"\1…", line) for line in last["operations"][:_SHOWN]]
    cut = [line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 1] + "…" for line in lines]
    return [kernel_time(last) + ":", *cut, *(["…"] if len(last["operations"]) > len(cut) else [])]


def _rebuilt(status: dict[str, Any]) -> list[str]:
    return [f"{entry['name']}: {kernel_time(entry['last'])}" for entry in status["routers"].values()]


@contextmanager
def _traffic(row: Row, stage: Stage) -> Iterator[None]:
    """Keep pings and a TCP connection running through the block; fail if a single packet is lost."""
    outside, floating = stage.address("outside"), stage.floating_ip("r1")
    pings = [
        stage.act("vm1", probe.ping, outside),
        stage.act("outside", probe.ping, floating),
        stage.act("vm1", probe.ping, stage.address("outside", 6)),
    ]
    connection = stage.act("outside", probe.talk, floating, PORT)
    time.sleep(_CALM_S)
    yield
    time.sleep(_CALM_S)
    results = [ping.finish() for ping in pings]
    lines = connection.finish()["lines"]
    lost, sent = sum(len(result["lost"]) for result in results), sum(result["sent"] for result in results)
    gap, slowest = (max(result[key] or 0.0 for result in results) * 1000 for key in ("gap", "slowest"))
    row.details.append(f"longest time between two answers {gap:.0f} ms, slowest answer {slowest:.1f} ms")
    row.expect(not lost and lines, f"{lost} of {sent} pings lost on 3 paths, a TCP connection lives on")
