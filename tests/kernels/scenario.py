# SPDX-License-Identifier: Apache-2.0
"""Run as a program on the kernel under test: the real data plane builds, changes, repairs, adopts and deletes routers.

It prints one line per step and ends with a traceback at the first failure. It imports neither pytest nor eventlet: in a
guest every module costs 20 times what it costs on the machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.support import neutron_router
from tests.support.flows import CHANGES, FIRST, FLOWS, OF_FIRST, OUTSIDE, SECOND, World, a_floating_ip_removed
from tests.support.processes import Dataplane, a_machine, last_lines
from tests.support.states import floating_ips, host, key, namespace
from tests.support.traffic import Traffic
from tests.support.waiting import poll

THIRD = "203.0.113.102"
HAS_IPV6 = Path("/proc/sys/net/ipv6").exists()


@contextmanager
def step(name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{time.monotonic() - started:6.1f} s  {name}", flush=True)


def main() -> None:
    with a_machine() as machine:
        try:
            with step("build a router and its neighbours"):
                world = World(machine)
            # First, for packets that a closed connection repeats make entries too.
            conntrack_entries_of_removed_parts(world)
            world.reconcile(world.router)
            with Traffic(machine.sandbox) as traffic:
                floating_ip_changes(world, traffic)
            with step("delete"):
                (report,) = machine.reconcile((key(world.router), None))
                assert report.error is None
                assert namespace(world.router) not in machine.sandbox.namespaces()
            if HAS_IPV6:
                takeover(machine)
            else:
                ipv4_of_a_router_with_ipv6(machine)
        except BaseException:
            print(last_lines(machine.log, 50), flush=True)
            raise


def floating_ip_changes(world: World, traffic: Traffic) -> None:
    """Add, move and remove floating IPs under open connections; repair; kill and restart."""
    router, sandbox, name = world.router, world.machine.sandbox, namespace(world.router)
    with step("open connections of each kind"):
        connections = world.connections(traffic)
        traffic.listen(world.vm8)
    with step("add a floating IP"):
        fips = {FIRST: "10.0.0.5", SECOND: "10.0.1.6", THIRD: "10.0.1.8"}
        world.reconcile(replace(router, floating_ips=floating_ips(fips)))
        third = traffic.connect(world.outside, THIRD)
        assert third.name == namespace(world.vm8)
    with step("repair what another program removed"):
        sandbox.run(["nft", f"delete element ip l3agent floating_dnat {{ {THIRD} }}"], netns=name)
        sandbox.run(["ip", "route", "flush", "protocol", "201"], netns=name)
        poll(lambda: repaired(world), timeout=60)
    with step("restart after SIGKILL"):
        world.machine.kill()
        world.machine.start()
        (report,) = world.machine.reconcile((key(router), replace(router, floating_ips=floating_ips(fips))))
        assert (report.error, report.operations) == (None, ())
        assert all(map(traffic.alive, (*connections.values(), third)))
    with step("move a floating IP"):
        world.reconcile(replace(router, floating_ips=floating_ips({**fips, THIRD: "10.0.0.7"})))
        assert traffic.dead(third)
        third = traffic.connect(world.outside, THIRD)
        assert third.name == namespace(world.vm7)
    with step("remove floating IPs"):
        stream = traffic.open_stream(world.outside, THIRD)
        poll(lambda: traffic.exchange(stream) == namespace(world.vm7), timeout=60)
        world.reconcile(a_floating_ip_removed(world))
        assert traffic.dead(third)
        assert traffic.exchange(stream) == ""
        for way, connection in connections.items():
            assert traffic.dead(connection) if way in OF_FIRST else traffic.alive(connection), way
    with step("add a floating IP under a stream that was not translated"):
        world.reconcile(replace(router, floating_ips=floating_ips({SECOND: "10.0.1.6", THIRD: "10.0.1.8"})))
        poll(lambda: traffic.exchange(stream) == namespace(world.vm8), timeout=60)


def repaired(world: World) -> bool:
    sandbox, name = world.machine.sandbox, namespace(world.router)
    translated = sandbox.run(["nft", "list", "map", "ip", "l3agent", "floating_dnat"], netns=name)
    return THIRD in translated and bool(sandbox.json("ip -j route show default", netns=name))


def conntrack_entries_of_removed_parts(world: World) -> None:
    """Remove each part of a router: its conntrack entries end, all others stay."""
    for change, gone in CHANGES.items():
        with step(change.__name__.replace("_", " ")):
            world.reconcile(world.router)
            world.restore_flows()
            world.reconcile(change(world))
            assert world.flows() == set(FLOWS) - gone


def takeover(machine: Dataplane) -> None:
    """Take over the captured router of neutron-l3-agent: no connection ends."""
    router = neutron_router.captured_router()
    assert router.gateway is not None
    (blue,) = (one for one in router.ports if any(address.version == 4 for address in one.addresses))
    vm, floating = (host(blue.network_id, f"10.0.0.{n}/24", routes={"0.0.0.0/0": "10.0.0.1"}) for n in (77, 215))
    outside = host(router.gateway.network_id, f"{OUTSIDE}/24")
    with step("a router as neutron-l3-agent leaves it"):
        reports = machine.reconcile(*((key(one), one) for one in (vm, floating, outside)))
        assert [report.error for report in reports] == [None] * 3
        neutron_router.build(machine.sandbox, router)
    with Traffic(machine.sandbox) as traffic:
        with step("open connections"):
            traffic.listen(floating, outside)
            ways = ((vm, OUTSIDE), (floating, OUTSIDE), (outside, "203.0.113.222"), (vm, "203.0.113.222"))
            connections = [traffic.connect(source, to) for source, to in ways]
        with step("take over"):
            (report,) = machine.reconcile((key(router), router))
            assert report.error is None
            assert not [line for line in report.operations if " conntrack " in line]
            assert all(map(traffic.alive, connections))


def ipv4_of_a_router_with_ipv6(machine: Dataplane) -> None:
    """Build the captured router, which has IPv6 addresses, on a kernel without IPv6: its IPv4 works."""
    router = neutron_router.captured_router()
    assert router.gateway is not None
    outside = host(router.gateway.network_id, f"{OUTSIDE}/24")
    with step("IPv4 of a router with IPv6 addresses"), Traffic(machine.sandbox) as traffic:
        reports = machine.reconcile(*((key(one), one) for one in (router, outside)))
        assert [report.error for report in reports] == [None] * 2, reports
        traffic.listen(outside)
        assert traffic.connect(router, OUTSIDE).name == namespace(outside)


if __name__ == "__main__":
    main()
