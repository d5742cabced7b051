# SPDX-License-Identifier: Apache-2.0
"""``tox -e neutron -- python -m tests.neutron.bench``: our agent beside Neutron's own, on one bed, in one run.

Both start from the same: routers of the API that are scheduled and bound already, an empty kernel, the same files.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from tests.bench.report import machine
from tests.neutron.accounting import Account, Usage
from tests.neutron.bed import Bed, running_bed
from tests.neutron.cloud import Cloud, Member
from tests.neutron.kernel import in_api, in_kernel
from tests.neutron.l3_agents import BINARY, L3Agent, peer
from tests.neutron.programs import Program
from tests.support.sandbox import Inside, Sandbox
from tests.support.waiting import poll

OURS, PEER = "l3-agent", "neutron-l3-agent 29"
_SYNC_S, _CHANGE_S = 1800, 120
#: The peer says this of each router that it has looked at.
_PEER_FINISHED = re.compile(r"Finished a router update for (\S+?),")
_NOTES = """\
wall: cold sync from the start of the program to the moment the kernel has all of what the API says; restart from the
start to the last router looked at, with nothing to change; a change from the answer of the API to the address in the
kernel (0: it was there before), a delete (the router is taken from the agent) from the answer to the namespace's end.
CPU: user and system of the agent and of everything that it starts, heartbeats of that time among it. The peer's
[privsep] thread_pool_size is 32; its default, the number of processors, makes it slower here."""


def main() -> int:
    """Run, and print the figures."""
    options = _options()
    with running_bed() as bed:
        bed.deployment = dataclasses.replace(bed.deployment, interface_driver=options.driver)
        before = machine()
        figures = _both(bed, options)
    report = {"machine": {"before": before, "after": machine()}, "options": vars(options) | {"json": None}, **figures}
    print(json.dumps(report, indent=2) if options.raw else _text(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _both(bed: Bed, options: argparse.Namespace) -> dict[str, Any]:
    cloud = Cloud(bed.rest, bed.deployment.host)
    external = cloud.external_network()
    cloud.build(options.routers, external)
    _say(f"{options.routers} routers are waiting")
    _prime(bed)
    return {name: _run(bed, name, cloud, external, options) for name in (PEER, OURS)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.neutron.bench", description=__doc__)
    parser.add_argument("--routers", type=int, default=50, help="(default: %(default)s)")
    parser.add_argument("--floating-ips", type=int, default=30, help="how many are added (default: %(default)s)")
    parser.add_argument("--others", type=int, default=10, help="interfaces and deletes (default: %(default)s)")
    parser.add_argument("--driver", default="openvswitch", help="interface driver of ours (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    parser.add_argument("--raw", action="store_true", help="print JSON")
    return parser.parse_args()


class _Run:
    """One agent on a bed with routers."""

    def __init__(self, bed: Bed, name: str, account: Account) -> None:
        self.bed = bed
        self.account = account
        deployment = dataclasses.replace(bed.deployment, interface_driver="openvswitch")
        self.agent: Program = (
            L3Agent(bed.sandbox, bed.folder, bed.deployment)
            if name == OURS
            else peer(bed.sandbox, bed.folder, deployment)
        )
        self.agent.log.unlink(missing_ok=True)
        self.agent.wrap(account.argv)

    def usage(self) -> Usage:
        return self.account.usage(self.agent.pid)

    def cold_sync(self) -> dict[str, Any]:
        wanted = in_api(self.bed.rest)
        started = time.monotonic()
        self.agent.start()
        poll(lambda: self._all_there(set(wanted)), _SYNC_S, interval=0.5)
        poll(lambda: in_kernel(self.bed.sandbox) == wanted, _SYNC_S, interval=2)
        wall = time.monotonic() - started
        used = self.usage()
        figures = _figures([wall], used, 1)
        return figures | {"memory_mb": self.account.memory(), "processes": self.account.processes()}

    def warm_restart(self) -> dict[str, Any]:
        routers = {router["id"] for router in self.bed.rest.list("routers")}
        self.agent.stop()
        before, size = self.account.usage(0), self.agent.log.stat().st_size
        started = time.monotonic()
        self.agent.start()
        poll(lambda: self._looked_at_all(routers, size), _SYNC_S, interval=0.2)
        wall = time.monotonic() - started
        used = self.usage()
        return _figures([wall], Usage(used.cpu - before.cpu, used.started), 1)

    def changes(self, count: int, change: Callable[[int], float]) -> dict[str, Any]:
        before = self.usage()
        walls = [change(number) for number in range(count)]
        return _figures(walls, self.usage().since(before), count)

    def _all_there(self, routers: set[str]) -> bool:
        self.agent.must_run()
        return routers <= _routers(self.bed.sandbox)

    def _looked_at_all(self, routers: set[str], size: int) -> bool:
        self.agent.must_run()
        if isinstance(self.agent, L3Agent):
            status = self.agent.status()
            return bool(status) and status["in_sync"] and not any(status["queue"].values())
        with self.agent.log.open() as log:
            log.seek(size)
            return routers <= set(_PEER_FINISHED.findall(log.read()))


def _run(bed: Bed, name: str, cloud: Cloud, external: Member, options: argparse.Namespace) -> dict[str, Any]:
    """Have one agent do everything, and leave the API as it was."""
    with Account() as account:
        run = _Run(bed, name, account)
        try:
            return _measure(run, cloud, external, bed.rest.list("routers"), options)
        finally:
            run.agent.stop()
            _empty_kernel(bed)


def _prime(bed: Bed) -> None:
    """Have the server schedule all routers and bind their ports, so that both agents find the same."""
    agent = L3Agent(bed.sandbox, bed.folder, bed.deployment)
    agent.start()
    try:
        agent.wait_in_sync(_SYNC_S)
    finally:
        agent.stop()
        _empty_kernel(bed)


def _measure(
    run: _Run, cloud: Cloud, external: Member, routers: list[Member], options: argparse.Namespace
) -> dict[str, Any]:
    bed, figures = run.bed, {}

    def take(step: str, count: int, change: Callable[[int], float]) -> None:
        _say(f"{run.agent.name}: {step}")
        figures[step] = run.changes(count, change)

    for step in (run.cold_sync, run.warm_restart):
        figures[step.__name__.replace("_", " ")] = step()
        _say(f"{run.agent.name}: {step.__name__} {figures[step.__name__.replace('_', ' ')]}")
    known = {one["id"] for one in bed.rest.list("floatingips")}
    targets = [_some_port(cloud, bed, routers[number % len(routers)]) for number in range(options.floating_ips)]
    take("floating IP add", len(targets), lambda number: _floating_ip(bed, cloud, external, *targets[number]))
    subnets = [cloud.subnet() for _ in range(options.others)]
    chosen = routers[: options.others]
    take("interface add", len(chosen), lambda number: _interface(bed, cloud, chosen[number], subnets[number]))
    for router, subnet in zip(chosen, subnets, strict=True):
        cloud.remove_interface(router, subnet)
    for one in bed.rest.list("floatingips"):
        if one["id"] not in known:
            bed.rest.delete("floatingips", one["id"])
    wanted = in_api(bed.rest)
    poll(lambda: in_kernel(bed.sandbox) == wanted, _CHANGE_S, interval=2)
    take("delete", len(chosen), lambda number: _delete(bed, chosen[number]))
    return figures


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


# ---- single changes: seconds from the answer of the API to the kernel -----------------------------------------------


def _floating_ip(bed: Bed, cloud: Cloud, external: Member, router: Member, port: Member) -> float:
    with _heard(bed.sandbox, router) as heard:
        made = cloud.floating_ip(external, port)
        answered = time.monotonic()
        return heard(made["floating_ip_address"]) - answered


def _interface(bed: Bed, cloud: Cloud, router: Member, subnet: Member) -> float:
    with _heard(bed.sandbox, router) as heard:
        cloud.add_interface(router, subnet)
        answered = time.monotonic()
        return heard(subnet["gateway_ip"]) - answered


def _delete(bed: Bed, router: Member) -> float:
    """Take a router away from the agent, which deletes it with all it has; the next agent finds it again."""
    row = bed.agent_row(BINARY)
    assert row is not None
    bed.rest.request("DELETE", f"agents/{row['id']}/l3-routers/{router['id']}")
    answered = time.monotonic()
    poll(lambda: router["id"] not in _routers(bed.sandbox), _CHANGE_S, interval=0.01)
    return time.monotonic() - answered


@contextlib.contextmanager
def _heard(sandbox: Sandbox, router: Member) -> Iterator[Callable[[str], float]]:
    """Listen to the addresses of a router; what is given returns when a new one was heard of."""
    monitor = sandbox.popen(["ip", "-o", "monitor", "address"], netns=f"qrouter-{router['id']}", stdout=subprocess.PIPE)
    said = monitor.entrance.stdout
    assert said is not None

    def heard(address: str) -> float:
        text = ""
        while select.select([said], [], [], _CHANGE_S)[0] and (more := os.read(said.fileno(), 65536)):
            text += more.decode()
            if any(f" {address}/" in line and "Deleted" not in line for line in text.splitlines()):
                return time.monotonic()
        raise RuntimeError(f"{address} did not come: {text}")

    try:
        poll(lambda: _listens(monitor), 10, interval=0.02)
        yield heard
    finally:
        monitor.kill()
        said.close()


def _listens(monitor: Inside) -> bool:
    """Tell whether somebody in the namespace of a process listens to IPv4 addresses (netlink, RTMGRP_IPV4_IFADDR)."""
    with contextlib.suppress(OSError, IndexError):
        sockets = Path(f"/proc/{monitor.pid}/net/netlink").read_text().splitlines()[1:]
        return any(int(one.split()[3], 16) & 0x10 for one in sockets)
    return False


# ---- the bed between two agents --------------------------------------------------------------------------------------


def _routers(sandbox: Sandbox) -> set[str]:
    """Return ids of the routers that have a namespace, without starting a process."""
    names = (path.name for path in Path(f"/proc/{sandbox.init_pid}/root/run/netns").iterdir())
    return {name.removeprefix("qrouter-") for name in names if name.startswith("qrouter-")}


def _some_port(cloud: Cloud, bed: Bed, router: Member) -> tuple[Member, Member]:
    """Make a port in the first internal subnet of a router."""
    (interface, *_) = bed.rest.list("ports", device_id=router["id"], device_owner="network:router_interface")
    return router, cloud.port({"network_id": interface["network_id"]})


def _empty_kernel(bed: Bed) -> None:
    """Leave nothing of an agent: no namespaces, no ports on the bridge."""
    for name in bed.sandbox.namespaces():
        bed.sandbox.run(["ip", "netns", "delete", name])
    ports = [one for one in bed.ovs.vsctl("list-ports", "br-int").split() if one.startswith(("qr-", "qg-"))]
    if ports:
        bed.ovs.vsctl(*" -- ".join(f"del-port br-int {port}" for port in ports).split())


# ---- figures ---------------------------------------------------------------------------------------------------------


def _figures(walls: list[float], used: Usage, count: int) -> dict[str, Any]:
    walls = [max(0.0, wall) for wall in walls]
    p95 = quantiles(walls, n=20, method="inclusive")[-1] if len(walls) > 1 else walls[0]
    return {"wall_s": {"p50": median(walls), "p95": p95}, "cpu_s": used.cpu / count, "started": used.started / count}


def _text(report: dict[str, Any]) -> str:
    before, after = report["machine"]["before"], report["machine"]["after"]
    lines = [
        f"{before['cores']} cores, Linux {before['kernel']}, Python {before['python']}, "
        f"load {before['load'][0]} before and {after['load'][0]} after; {report['options']['routers']} routers with 2 "
        f"floating IPs each",
        "",
        f"{'':18}{'':22}{'wall s: p50':>12}{'p95':>9}{'CPU s':>9}{'started':>9}{'times':>8}{'CPU':>7}",
    ]
    for step, ours in report[OURS].items():
        for name in (PEER, OURS):
            one = report[name][step]
            line = f"{step if name == PEER else '':18}{name:22}{one['wall_s']['p50']:12.3f}{one['wall_s']['p95']:9.3f}"
            line += f"{one['cpu_s']:9.3f}{one['started']:9.1f}"
            if name == PEER:
                wall = one["wall_s"]["p50"] / max(ours["wall_s"]["p50"], 1e-3)
                line += f"{wall:8.1f}{one['cpu_s'] / max(ours['cpu_s'], 1e-3):7.1f}"
            lines.append(line)
    for name in (PEER, OURS):
        sync = report[name]["cold sync"]
        lines.append(
            f"{name}: {sync['processes']} processes, {sync['memory_mb']['rss']:.0f} MB resident, "
            f"{sync['memory_mb']['pss']:.0f} MB with what they share counted once"
        )
    return "\n".join([*lines, _NOTES])


if __name__ == "__main__":
    sys.exit(main())
