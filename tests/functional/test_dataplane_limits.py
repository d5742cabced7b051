# SPDX-License-Identifier: Apache-2.0
"""Limits of a host are logged before they are hit, and clearly reported when they are."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from l3agent.dataplane.kernel.limits import BRIDGE_PORTS, Limit, limits
from l3agent.dataplane.kernel.sockets import KernelRefused
from l3agent.dataplane.kernel_backend.sending import with_operation
from l3agent.dataplane.plan.kinds.base import Operation
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.testing import wait_until
from tests.functional.test_dataplane_drift import a_world
from tests.support.processes import Dataplane
from tests.support.sandbox import Sandbox
from tests.support.states import bridge, key

pytestmark = pytest.mark.kernel


def test_a_limit_is_near_before_it_is_hit() -> None:
    assert [Limit("things", used, 1000, "").is_near() for used in (0, 799, 800, 1000)] == [False, False, True, True]
    assert {one.name for one in limits(5)} >= {"ports of a bridge", "descriptors"}
    assert all(0 <= one.used < one.maximum and one.advice for one in limits(5))


def test_without_descriptors_a_router_is_refused_and_the_others_stay(sandbox: Sandbox, folder: Path) -> None:
    machine = Dataplane(sandbox, folder, pool_size=0)
    machine.start("setpriv", "--bounding-set=-sys_resource", "--", "prlimit", "--nofile=128:128", "--")
    worlds = [a_world(machine) for _ in range(40)]
    reports = machine.reconcile(*((key(one.state), one.state) for one in worlds))
    built = [world for world, report in zip(worlds, reports, strict=True) if report.error is None]
    refused = [report.error for report in reports if report.error is not None]
    assert len(built) > 5 and len(refused) > 5
    assert all("128 open descriptors (RLIMIT_NOFILE)" in error and "LimitNOFILE" in error for error in refused if error)
    assert all(world.reconcile() == () for world in built)
    machine.reconcile((key(built[0].state), None))
    wait_until(lambda: machine.reconcile((key(worlds[-1].state), worlds[-1].state))[0].error is None, timeout=10)
    machine.hang_up()


def open_settings(machine: Dataplane) -> int:
    """Return for how many namespaces the data plane has a file of a setting open."""
    found = 0
    for one in Path(f"/proc/{machine.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += os.readlink(one).endswith("/arp_ignore")
    return found


def test_files_of_settings_stay_open_only_where_descriptors_are_plenty(sandbox: Sandbox, folder: Path) -> None:
    machine = Dataplane(sandbox, folder, pool_size=0)
    machine.start("setpriv", "--bounding-set=-sys_resource", "--", "prlimit", "--nofile=128:128", "--")
    worlds = [a_world(machine) for _ in range(10)]
    machine.reconcile(*((key(world.state), world.state) for world in worlds))
    wait_until(lambda: machine.request("stats", {})["rotation_reads"] >= 10, timeout=60)
    assert 0 < open_settings(machine) < 8
    for world in worlds:
        world.inside("sysctl -qw net.ipv4.conf.all.arp_ignore=0")
    setting = "sysctl -n net.ipv4.conf.all.arp_ignore"
    wait_until(lambda: all(world.inside(setting).strip() == "1" for world in worlds), timeout=60)
    machine.reconcile(*((key(world.state), None) for world in worlds))
    wait_until(lambda: open_settings(machine) == 0, timeout=30)
    machine.hang_up()


def test_the_error_of_a_full_bridge_has_advice() -> None:
    """The refusal is made up: it takes minutes to fill a bridge."""
    link = Link("qr-1", "fa:16:3e:00:00:01", 1500, True, "tap1", "brq1")
    batch = [(b"", Operation("add", link))]
    error = str(with_operation(KernelRefused(1, errno.EXFULL, ""), batch, "qrouter-1"))
    assert "master brq1 up" in error and f"a Linux bridge takes {BRIDGE_PORTS} ports" in error


def test_the_counters_tell_what_is_used(dataplane: Dataplane) -> None:
    world = a_world(dataplane)
    world.reconcile()
    there = dataplane.request("stats", {})["limits"]
    assert there["ports of a bridge"] == [1, BRIDGE_PORTS]
    assert 10 < there["descriptors"][0] < there["descriptors"][1]


@pytest.mark.feature("dataplane.batches")
def test_the_counters_have_batches_and_repairs(dataplane: Dataplane) -> None:
    world = a_world(dataplane)
    world.reconcile()
    stats = dataplane.request("stats", {})
    assert stats["operations"]["add"] > 10 and stats["operations"]["delete"] == 0
    assert stats["batches"]["ip"]["ok"] >= 2 and stats["batches"]["nft"]["ok"] == 1
    assert {results["refused"] for results in stats["batches"].values()} == {0}
    assert stats["repair_operations"] == 0
    namespace = f"qrouter-{world.state.id}"
    dataplane.sandbox.run(["ip", "-n", namespace, "link", "set", world.inner.device, "mtu", "1400"])
    wait_until(lambda: dataplane.request("stats", {})["repair_operations"] >= 1, timeout=10)
    dataplane.reconcile((key(world.state), None))
    assert dataplane.request("stats", {})["operations"]["delete"] >= 1


def test_many_bridges_go_together_and_those_in_use_stay(dataplane: Dataplane) -> None:
    staying, going = a_world(dataplane), [a_world(dataplane) for _ in range(25)]
    for world in (staying, *going):
        world.reconcile()
    before = staying.everything()
    dataplane.reconcile(*((key(one.state), None) for one in going))
    ours = {bridge(one.inner.network_id) for one in going} | {bridge(one.gateway.network_id) for one in going}
    links = lambda: {one["ifname"] for one in dataplane.sandbox.json("ip -j link")}  # noqa: E731
    wait_until(lambda: not ours & links(), timeout=10)
    assert staying.everything() == before
    assert staying.reconcile() == ()
    groups = {one["group"] for one in dataplane.sandbox.json("ip -j link")}
    assert groups == {"default"}
