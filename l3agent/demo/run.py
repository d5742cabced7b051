# SPDX-License-Identifier: Apache-2.0
"""The demo: the real daemon in a sandbox, the sample topology, and a proof of each thing it promises.

Every check uses sockets of our own on the hosts of the topology; the daemon is watched from outside only.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from l3agent.demo import sandbox
from l3agent.demo.checks import prove_traffic
from l3agent.demo.environment import PORT, Stage
from l3agent.demo.progress import Table
from l3agent.demo.scenario import kernel_time, show_changes, show_deaths

_FOLDER = Path("/run/l3agent")  # on the sandbox's own tmpfs: it vanishes with the sandbox
_DEADLINE_S = 20.0


def run(*, keep: bool) -> int:
    """Play the demo in a sandbox; return 0 when every check passed, else 1.

    :param keep: stay up after the checks, until Ctrl-C.
    :raises PermissionMissing: the machine allows no sandbox.
    """
    return sandbox.run(lambda entrance: _play(entrance if keep else None))


def _play(entrance: str | None) -> int:
    started = time.monotonic()
    table = Table()
    stage = Stage(_FOLDER)
    try:
        _start(table, stage)
        if not table.failed:
            prove_traffic(table, stage)
            show_changes(table, stage)
            show_deaths(table, stage)
        _conclude(table, stage, time.monotonic() - started)
        if entrance is not None:
            _stay(stage, entrance)
    finally:
        stage.close()
    return 1 if table.failed else 0


def _start(table: Table, stage: Stage) -> None:
    table.title("START")
    with table.check("start l3-agent, wait until it is in sync") as row:
        stage.daemon.start()
        routers = stage.daemon.wait_in_sync(stage.topology["routers"], _DEADLINE_S)["routers"].values()
        row.expect(routers, f"{len(routers)} routers active")
        row.details = [f"{router['name']}: {kernel_time(router['last'])}" for router in routers]
    if table.failed:
        return
    with table.check("hosts are up") as row:
        row.expect(stage.open_hosts(_DEADLINE_S), f"{len(stage.topology['hosts'])} namespaces, each listens on {PORT}")


def _conclude(table: Table, stage: Stage, took: float) -> None:
    if table.failed:
        table.say("", *stage.daemon.last_lines())
        table.say("", f"{len(table.failed)} of {table.total} checks FAILED: {'; '.join(table.failed)} ({took:.1f} s)")
    else:
        table.say("", f"All {table.total} checks passed in {took:.1f} s.")


def _stay(stage: Stage, entrance: str) -> None:
    """Print how to look around, and wait for Ctrl-C."""
    (router_id,) = (key for key, entry in stage.daemon.status()["routers"].items() if entry["name"] == "r1")
    namespace = stage.router_namespace(router_id).name
    print("\nStill up until Ctrl-C. Look around from another terminal, for example (the agent follows the file):")
    for command in (
        "ip netns",
        f"ip netns exec {namespace} ip address",
        f"ip netns exec {namespace} nft list ruleset",
        f"ip netns exec l3host-vm1 ping -c 3 {stage.address('outside')}",
        f"{sys.executable} -m l3agent.cli.main status --socket {stage.daemon.socket}",
        f"vi {stage.topology_file}",
    ):
        print(f"  {entrance} {command}", flush=True)
    sandbox.wait_for_interrupt()
    print("\nEverything is taken down.")
