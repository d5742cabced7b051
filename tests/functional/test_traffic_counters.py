# SPDX-License-Identifier: Apache-2.0
"""Traffic is counted for each floating IP by two constant rules, and for each device as the kernel counts anyway."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from l3agent.model.states import NamespaceState
from l3agent.testing import wait_until
from tests.support.kernel import rules
from tests.support.processes import Dataplane, a_machine
from tests.support.sandbox import Inside
from tests.support.states import floating_ips, host, key, namespace, new_id, port, route, router
from tests.support.watch import nft_events

VM, OTHER, OUTSIDE, FIP, SECOND = "10.0.0.5", "10.0.0.6", "203.0.113.1", "203.0.113.100", "203.0.113.101"
#: Bytes of an echo request with 100 bytes of data: headers of ICMP (8) and IPv4 (20) with it.
_PAYLOAD, _PACKET = 100, 128


class World:
    """A router with a floating IP, a machine behind it, and a host outside."""

    def __init__(self, machine: Dataplane) -> None:
        self.machine = machine
        external, blue = new_id(), new_id()
        self.gateway = port(external, "203.0.113.10/24", gateway=True)
        self.inner = port(blue, "10.0.0.1/24")
        default = route("0.0.0.0/0", (self.gateway, OUTSIDE))
        self.router = router(self.inner, gateway=self.gateway, routes=[default], fips={FIP: VM})
        self.vm = host(blue, f"{VM}/24", routes={"0.0.0.0/0": "10.0.0.1"})
        self.other = host(blue, f"{OTHER}/24", routes={"0.0.0.0/0": "10.0.0.1"})
        self.outside = host(external, f"{OUTSIDE}/24")
        self.bring(self.router)
        reports = machine.reconcile(*((key(one), one) for one in (self.vm, self.other, self.outside)))
        assert [report.error for report in reports] == [None] * 3

    def bring(self, state: NamespaceState) -> tuple[str, ...]:
        """Make the router as a state says; return what was done."""
        (report,) = self.machine.reconcile((key(state), state))
        assert report.error is None
        self.router = state
        return report.operations

    def ping(self, sender: Any, to: str, count: int) -> None:
        """Have a machine ping another one, every answer heard."""
        argv = ["ping", "-c", str(count), "-i", "0.02", "-W", "5", "-s", str(_PAYLOAD), "-q", to]
        self.machine.sandbox.run(argv, netns=namespace(sender))

    def start_ping(self, sender: Any, to: str) -> Inside:
        """Have a machine ping another one for some seconds from now on."""
        argv = ["ping", "-c", "60", "-i", "0.05", "-W", "5", "-q", to]
        return self.machine.sandbox.popen(argv, netns=namespace(sender), stdout=subprocess.PIPE)

    def counted(self) -> dict[str, Any]:
        """Return the counters of the router."""
        found: dict[str, Any] = self.machine.request("traffic", {"kind": "router", "id": self.router.id})
        return found

    def close(self) -> None:
        """Take it all away."""
        self.machine.reconcile(*((key(one), None) for one in (self.router, self.vm, self.other, self.outside)))


@pytest.fixture(scope="module")
def counting() -> Iterator[Dataplane]:
    with a_machine(count_traffic=True) as machine:
        yield machine


@pytest.fixture
def world(counting: Dataplane) -> Iterator[World]:
    world = World(counting)
    yield world
    world.close()


def both(packets_in: int, packets_out: int) -> dict[str, list[int]]:
    return {"in": [packets_in, packets_in * _PACKET], "out": [packets_out, packets_out * _PACKET]}


@pytest.mark.feature("operation.traffic")
def test_each_packet_to_and_from_outside_is_counted_once(world: World) -> None:
    assert world.counted()["floating_ips"] == {FIP: both(0, 0)}
    world.ping(world.outside, FIP, 7)
    assert world.counted()["floating_ips"] == {FIP: both(7, 7)}
    world.ping(world.vm, OUTSIDE, 3)
    assert world.counted()["floating_ips"] == {FIP: both(10, 10)}


def test_what_stays_inside_and_what_is_not_for_it_is_not_counted(world: World) -> None:
    world.ping(world.other, FIP, 3)
    world.ping(world.other, OUTSIDE, 3)
    world.ping(world.outside, "203.0.113.10", 3)
    assert world.counted()["floating_ips"] == {FIP: both(0, 0)}


def test_devices_are_counted_too(world: World) -> None:
    before = world.counted()["devices"]
    world.ping(world.vm, OUTSIDE, 5)
    after = world.counted()["devices"]
    assert set(after) == {world.gateway.device, world.inner.device}
    for device in after:
        for way in ("in", "out"):
            packets, size = (after[device][way][one] - before[device][way][one] for one in (0, 1))
            # With the 14 bytes of Ethernet's header, and with what machines say to find each other.
            assert 5 <= packets <= 30
            assert 5 * (_PACKET + 14) <= size <= packets * (_PACKET + 14)


def test_counters_outlive_the_data_plane_and_other_changes(world: World) -> None:
    world.ping(world.outside, FIP, 4)
    world.machine.kill()
    world.machine.start()
    assert world.bring(world.router) == ()
    world.bring(dataclasses.replace(world.router, floating_ips=floating_ips({FIP: VM, SECOND: OTHER})))
    assert world.counted()["floating_ips"] == {FIP: both(4, 4), SECOND: both(0, 0)}


def test_to_be_asked_first_changes_nothing(world: World) -> None:
    world.machine.kill()
    world.machine.start()
    world.counted()
    assert world.bring(world.router) == ()


def test_one_more_is_four_elements_and_no_rule_and_its_counters_go_with_it(world: World) -> None:
    before = rules(world.machine.sandbox, namespace(world.router))
    state = world.router
    with nft_events(world.machine.sandbox, namespace(state)) as events:
        world.bring(dataclasses.replace(state, floating_ips=floating_ips({FIP: VM, SECOND: OTHER})))
        changed = [line for line in events.so_far() if "generation" not in line]
    assert len(changed) == 4 and all("element" in line for line in changed), changed
    assert rules(world.machine.sandbox, namespace(state)) == before
    world.ping(world.outside, SECOND, 2)
    world.bring(state)
    world.bring(dataclasses.replace(state, floating_ips=floating_ips({FIP: VM, SECOND: OTHER})))
    assert world.counted()["floating_ips"][SECOND] == both(0, 0)


def test_it_can_be_switched_on_and_off_under_traffic() -> None:
    with a_machine() as machine:
        world = World(machine)
        assert world.counted()["floating_ips"] is None
        world.ping(world.outside, FIP, 2)
        plain = machine.conf.read_text()
        for counts in (True, False):
            going = world.start_ping(world.other, OUTSIDE)
            machine.stop()
            machine.conf.write_text(plain + f"count_traffic = {counts}\n")
            machine.start()
            assert world.bring(world.router) != ()
            assert world.bring(world.router) == ()
            world.ping(world.outside, FIP, 2)
            assert world.counted()["floating_ips"] == ({FIP: both(2, 2)} if counts else None)
            assert " 0% packet loss" in going.entrance.communicate()[0].decode()


#: How the releases up to 0.2.0 count: in the table of the router.
_COUNTERS_OF_0_2_0 = f"""
delete table ip l3agent-traffic
add set ip l3agent traffic_in {{ type ipv4_addr; counter; }}
add set ip l3agent traffic_out {{ type ipv4_addr; counter; }}
add chain ip l3agent count_in {{ type filter hook prerouting priority -300; }}
add chain ip l3agent count_out {{ type filter hook postrouting priority 300; }}
add rule ip l3agent count_in iifname @external ip daddr @traffic_in
add rule ip l3agent count_out oifname @external ip saddr @traffic_out
add element ip l3agent traffic_in {{ {FIP} }}
add element ip l3agent traffic_out {{ {FIP} }}
"""


def test_counters_of_the_previous_release_are_replaced_under_traffic(world: World) -> None:
    machine, inside = world.machine, namespace(world.router)
    world.ping(world.outside, FIP, 1)
    ours = machine.sandbox.run(["nft", "-s", "list", "ruleset"], netns=inside)
    machine.kill()
    machine.sandbox.run(["nft", "-f", "-"], netns=inside, input=_COUNTERS_OF_0_2_0)
    argv = ["ping", "-i", "0.05", "-q"]
    going = [
        machine.sandbox.popen([*argv, to], netns=namespace(sender), stdout=subprocess.PIPE)
        for sender, to in ((world.outside, FIP), (world.other, OUTSIDE))
    ]
    machine.start()
    assert world.bring(world.router) != ()
    assert world.bring(world.router) == ()
    wait_until(lambda: world.counted()["floating_ips"][FIP]["in"][0] > 0, timeout=10)
    for one in going:
        one.send_signal(signal.SIGINT)
        assert " 0% packet loss" in one.entrance.communicate()[0].decode()
    assert machine.sandbox.run(["nft", "-s", "list", "ruleset"], netns=inside) == ours


def test_routers_without_counters_have_one_table() -> None:
    with a_machine() as machine:
        world = World(machine)
        tables = machine.sandbox.run(["nft", "list", "tables"], netns=namespace(world.router))
        assert tables.split() == ["table", "ip", "l3agent"]


def test_the_table_typed_by_hand_is_the_same() -> None:
    with a_machine(count_traffic=True, repair_drift=False) as machine:
        world = World(machine)
        state = world.router
        by_us = rules(machine.sandbox, namespace(state))
        machine.sandbox.run(["nft", "flush", "ruleset"], netns=namespace(state))
        (report,) = machine.reconcile((key(state), state), dry_run=True)
        # conntrack -D ends with status 1 where there was no entry.
        lines = (f"{line} || :" if " conntrack -D " in line else line for line in report.operations)
        machine.sandbox.run(["sh", "-e", "-c", "\n".join(lines)])
        assert machine.reconcile((key(state), state), dry_run=True)[0].operations == ()
        assert rules(machine.sandbox, namespace(state)) == by_us


def test_a_router_that_is_not_there_has_no_counters(counting: Dataplane) -> None:
    assert counting.request("traffic", {"kind": "router", "id": new_id()}) is None
