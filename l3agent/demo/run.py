# SPDX-License-Identifier: Apache-2.0
"""The demo: the real daemon in a sandbox with the sample topology, and a check of each property it configures.

All checks use sockets on the hosts of the topology and the control socket of the agent.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from l3agent.demo import sandbox
from l3agent.demo.checks import check_traffic
from l3agent.demo.environment import PORT, Environment
from l3agent.demo.progress import CheckTable
from l3agent.demo.scenario import change_topology, format_kernel_time, kill_processes

_FOLDER = Path("/run/l3agent")  # on the sandbox's own tmpfs, which is gone with the sandbox
_DEADLINE_S = 20.0


def run(*, keep: bool) -> int:
    """Run the demo in a sandbox; return 0 if every check passed, else 1.

    :param keep: keep the topology running after the checks, until Ctrl-C.
    :raises PermissionMissing: the machine allows no sandbox.
    """
    return sandbox.run(lambda enter_command: _run_checks(enter_command if keep else None))


def _run_checks(enter_command: str | None) -> int:
    started = time.monotonic()
    table = CheckTable()
    environment = Environment(_FOLDER)
    try:
        _start(table, environment)
        if not table.failed:
            check_traffic(table, environment)
            change_topology(table, environment)
            kill_processes(table, environment)
        _print_summary(table, environment, time.monotonic() - started)
        if enter_command is not None:
            _keep_running(environment, enter_command)
    finally:
        environment.close()
    return 1 if table.failed else 0


def _start(table: CheckTable, environment: Environment) -> None:
    daemon, topology = environment.daemon, environment.topology
    table.print_title("START")
    with table.check("start l3-agent, wait until it is in sync") as row:
        daemon.start()
        routers = daemon.wait_in_sync(topology["routers"], _DEADLINE_S)["routers"].values()
        row.expect(routers, f"{len(routers)} routers active")
        row.details = [f"{router['name']}: {format_kernel_time(router['last'])}" for router in routers]
    if table.failed:
        return
    with table.check("the hosts are up") as row:
        count = environment.start_servers(_DEADLINE_S)
        row.expect(count, f"{len(topology['hosts'])} namespaces, each with a server on TCP port {PORT}")


def _print_summary(table: CheckTable, environment: Environment, duration: float) -> None:
    if table.failed:
        failed = "; ".join(table.failed)
        table.print_lines("", *environment.daemon.log_tail())
        table.print_lines("", f"{len(table.failed)} of {table.total} checks FAILED: {failed} ({duration:.1f} s)")
    else:
        table.print_lines("", f"All {table.total} checks passed in {duration:.1f} s.")


def _keep_running(environment: Environment, enter_command: str) -> None:
    """Print commands that inspect the topology, and wait for Ctrl-C."""
    (router_id,) = (key for key, entry in environment.daemon.status()["routers"].items() if entry["name"] == "r1")
    namespace = environment.router_namespace(router_id).name
    print("\nRunning until Ctrl-C. Commands for another terminal (the agent follows changes of the topology file):")
    for command in (
        "ip netns",
        f"ip netns exec {namespace} ip address",
        f"ip netns exec {namespace} nft list ruleset",
        f"ip netns exec l3host-vm1 ping -c 3 {environment.address('outside')}",
        f"{sys.executable} -m l3agent.cli.main status --socket {environment.daemon.socket}",
        f"vi {environment.topology_file}",
    ):
        print(f"  {enter_command} {command}", flush=True)
    sandbox.wait_for_interrupt()
    print("\nAll processes, namespaces and files of the demo are removed.")
