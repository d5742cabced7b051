# SPDX-License-Identifier: Apache-2.0
"""``l3-agentctl trace`` against real packets: the predicted path is the path in the kernel.

Each case is sent for real (TCP to a listener, as in test_dataplane_traffic.py) and given to
:mod:`l3agent.cli.packet_path`, from the entries that the real data plane sees at that moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import pytest

from l3agent.cli.packet_path import Packet, PacketPath, find_path
from l3agent.model.states import NamespaceState
from l3agent.model.wire import pack_state
from tests.support.processes import Dataplane
from tests.support.states import host, key, namespace, new_id, only_port, port, route, router
from tests.support.traffic import PORT, Traffic

pytestmark = pytest.mark.usefixtures("same_node")

VM1, VM2, VM3 = "10.0.0.5", "10.0.0.6", "10.0.1.5"
FIP1, FIP3 = "203.0.113.100", "203.0.113.101"
OUTSIDE, OUTSIDE6 = "203.0.113.1", "2001:db8:ffff::1"
BEHIND, UNUSED = "172.30.0.9", "10.0.1.200"


class World:
    """A router with two tenant networks and an external network, and machines on each."""

    def __init__(self, machine: Dataplane) -> None:
        self.machine = machine
        external, blue, red = (new_id() for _ in range(3))
        self.blue = port(blue, "10.0.0.1/24", "2001:db8:1::1/64")
        self.red = port(red, "10.0.1.1/24")
        self.gateway = port(external, "203.0.113.10/24", "2001:db8:ffff::10/64", gateway=True)
        # No default route: other destinations are unreachable.
        routes = [
            route("192.0.2.0/24", (self.gateway, OUTSIDE)),
            route("192.0.2.128/25", (self.red, VM3)),
            route("172.30.0.0/24", (self.red, VM3)),
        ]
        self.router = router(self.blue, self.red, gateway=self.gateway, routes=routes, fips={FIP1: VM1, FIP3: VM3})
        default = {"0.0.0.0/0": "10.0.0.1"}
        self.vm1 = host(blue, f"{VM1}/24", "2001:db8:1::5/64", routes=default | {"::/0": "2001:db8:1::1"})
        self.vm2 = host(blue, f"{VM2}/24", routes=default)
        self.vm3 = host(red, f"{VM3}/24", f"{BEHIND}/32", "192.0.2.129/32", routes={"0.0.0.0/0": "10.0.1.1"})
        self.outside = host(
            external, f"{OUTSIDE}/24", "192.0.2.1/32", f"{OUTSIDE6}/64",
            routes={"2001:db8:1::/64": "2001:db8:ffff::10", "10.0.0.0/16": "203.0.113.10"},
        )  # fmt: skip
        self.machines: dict[str, NamespaceState] = {
            "vm1": self.vm1, "vm2": self.vm2, "vm3": self.vm3, "outside": self.outside
        }  # fmt: skip
        states: list[NamespaceState] = [self.router, *self.machines.values()]
        reports = machine.reconcile(*((key(state), state) for state in states))
        assert [report.error for report in reports] == [None] * len(states)

    def observe(self) -> Mapping[str, Any]:
        """Return the router as the data plane observes it."""
        found: Mapping[str, Any] = self.machine.request("inspect", {"state": pack_state(key(self.router), self.router)})
        return found

    def find_path(self, source: str, destination: str, device: str | None = None) -> PacketPath:
        packet = Packet(ip_address(source), ip_address(destination), "tcp", PORT, device)
        return find_path(self.observe()["actual"], packet)

    def run(self, command: str) -> None:
        """Run a command in the namespace of the router."""
        self.machine.sandbox.run(command.split(), netns=namespace(self.router))


@pytest.fixture(scope="module")
def world(machine: Dataplane) -> World:
    return World(machine)


@pytest.fixture(scope="module")
def traffic(machine: Dataplane, world: World) -> Iterator[Traffic]:
    with Traffic(machine.sandbox) as traffic:
        traffic.listen(world.router, *world.machines.values())
        yield traffic


@dataclass(frozen=True)
class Case:
    """A packet that arrives: sender, destination address, receiver, and an expected step."""

    sender: str
    source: str
    to: str
    receiver: str
    step_text: str


ARRIVES = {
    "source NAT": Case("vm2", VM2, "192.0.2.1", "outside", "source NAT of the router"),
    "source NAT on link": Case("vm2", VM2, OUTSIDE, "outside", "source NAT of the router"),
    "floating IP out": Case("vm1", VM1, "192.0.2.1", "outside", "floating IP: source"),
    "floating IP in": Case("outside", OUTSIDE, FIP1, "vm1", "floating IP: destination"),
    "hairpin in one network": Case("vm2", VM2, FIP1, "vm1", "hairpin"),
    "hairpin to another network": Case("vm2", VM2, FIP3, "vm3", "hairpin"),
    "hairpin with a floating IP": Case("vm1", VM1, FIP3, "vm3", "floating IP: source"),
    "to itself by its floating IP": Case("vm1", VM1, FIP1, "vm1", "floating IP: source"),
    "between networks": Case("vm1", VM1, VM3, "vm3", "no translation towards internal networks"),
    "extra route": Case("vm1", VM1, BEHIND, "vm3", f"172.30.0.0/24 via {VM3}"),
    "the longest prefix": Case("vm1", VM1, "192.0.2.129", "vm3", f"192.0.2.128/25 via {VM3}"),
    "IPv6 out": Case("vm1", "2001:db8:1::5", OUTSIDE6, "outside", "IPv6 is not translated"),
    "IPv6 in": Case("outside", OUTSIDE6, "2001:db8:1::5", "vm1", "IPv6 is not translated"),
    "the router itself": Case("vm1", VM1, "10.0.1.1", "router", "an address of the router itself"),
}


@pytest.mark.feature("operation.packet-trace")
@pytest.mark.parametrize("case", ARRIVES.values(), ids=ARRIVES)
def test_a_packet_predicted_to_arrive_does_with_the_predicted_addresses(
    case: Case, world: World, traffic: Traffic
) -> None:
    path = world.find_path(case.source, case.to)
    assert path.verdict == ("delivered" if case.receiver == "router" else "forwarded")
    assert case.step_text in "\n".join(step.text for step in path.steps)
    receiver = world.router if case.receiver == "router" else world.machines[case.receiver]
    connection = traffic.connect(world.machines[case.sender], case.to, source=case.source)
    assert (connection.name, connection.seen) == (namespace(receiver), str(path.source))
    own = [one.ip for one in only_port(receiver).addresses] if receiver.kind == "host" else []
    assert path.destination in own or case.receiver == "router"


@pytest.mark.feature("operation.packet-trace")
def test_without_a_route_it_is_dropped(world: World, traffic: Traffic) -> None:
    path = world.find_path(VM1, "8.8.8.8")
    assert (path.verdict, path.reason.partition(";")[0]) == ("dropped", "no route to 8.8.8.8")
    assert not traffic.reaches(world.vm1, "8.8.8.8")


def test_replies_of_a_machine_without_a_floating_ip_are_predicted_to_be_dropped(world: World, traffic: Traffic) -> None:
    path = world.find_path(OUTSIDE, VM2)
    assert path.verdict == "forwarded" and any(f"replies of {VM2} are dropped" in note for note in path.notes)
    assert not traffic.reaches(world.outside, VM2)


def test_link_local_destinations_leave_by_no_gateway(world: World, traffic: Traffic) -> None:
    world.run(f"ip route add 169.254.0.0/16 via {OUTSIDE} dev {world.gateway.device}")
    path = world.find_path(VM1, "169.254.169.254")
    assert (path.verdict, path.reason.partition(" ")[0]) == ("dropped", "no")
    assert not traffic.reaches(world.vm1, "169.254.169.254")


def test_an_unknown_machine_on_a_connected_network_is_noted_as_a_condition(world: World, traffic: Traffic) -> None:
    path = world.find_path(VM1, UNUSED)
    assert path.verdict == "forwarded" and any(f"machine {UNUSED} answers ARP" in note for note in path.notes)
    assert not traffic.reaches(world.vm1, UNUSED)


def test_a_router_that_does_not_forward_is_read_anew(world: World, traffic: Traffic) -> None:
    """Read settings for each trace, as the kernel sends no event when one changes."""
    world.machine.request("unmanage", {"keys": [key(world.router)]})
    world.run("sysctl -qw net.ipv4.ip_forward=0")
    path = world.find_path(VM1, VM3)
    assert (path.verdict, path.reason) == ("dropped", "the router does not forward: sysctl net.ipv4.ip_forward is 0")
    assert not traffic.reaches(world.vm1, VM3)
    assert traffic.connect(world.vm1, "10.0.1.1").name == namespace(world.router)
    assert world.find_path(VM1, "10.0.1.1").verdict == "delivered"
    (report,) = world.machine.reconcile((key(world.router), world.router))
    assert any("ip_forward=1" in line for line in report.operations)
    assert world.find_path(VM1, VM3).verdict == "forwarded"


def test_a_broadcast_and_a_martian_go_nowhere(world: World, traffic: Traffic) -> None:
    assert "broadcast" in world.find_path(VM1, "10.0.1.255").reason
    assert "martian" in world.find_path("10.0.1.1", VM1, world.blue.device).reason
    assert "link-local" in world.find_path("fe80::5", OUTSIDE6, world.blue.device).reason
    assert "no device qr-none" in world.find_path(VM1, VM3, "qr-none").reason
    assert not traffic.reaches(world.vm1, "10.0.1.255")
