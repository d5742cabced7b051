# SPDX-License-Identifier: Apache-2.0
"""The data plane touches only devices that are provably ours, whatever ports and networks an agent names."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from l3agent.model.names import BRIDGE_DEVICE, TAP_DEVICE, device_name
from l3agent.model.states import NamespaceState, NetworkState, Port
from l3agent.testing import wait_until
from tests.support.kernel import observed
from tests.support.processes import Dataplane
from tests.support.states import key, mac_of, namespace, new_id, port, router, tap

pytestmark = pytest.mark.kernel


def brought(machine: Dataplane, state: NamespaceState | NetworkState) -> str | None:
    """Bring a state to the kernel and return the error."""
    kind = ("network", state.id) if isinstance(state, NetworkState) else key(state)
    return machine.reconcile((kind, state))[0].error


def link(machine: Dataplane, name: str) -> dict[str, object]:
    (found,) = machine.sandbox.json(f"ip -j -d link show dev {name}")
    return {name: found.get(name) for name in ("ifindex", "master", "flags", "operstate", "ifalias")}


@pytest.mark.feature("dataplane.privilege")
@pytest.mark.parametrize("kind", ["tun", "bridge", "veth here", "veth to a foreign namespace"])
def test_the_tap_of_a_virtual_machine_is_left_alone(machine: Dataplane, kind: str) -> None:
    inner = port(new_id(), "10.0.0.1/24")
    name = tap(inner)
    guest = f"vm{name[-4:]}"
    make = {
        "tun": f"ip tuntap add dev {name} mode tap",
        "bridge": f"ip link add {name} type bridge",
        "veth here": f"ip link add {name} type veth peer name {guest}",
        "veth to a foreign namespace": f"ip netns add {guest}; ip link add {name} type veth peer eth0 netns {guest}",
    }[kind]
    machine.sandbox.run(["sh", "-ec", f"{make}; ip link set {name} up"])
    before = link(machine, name)
    for state in (router(inner), router(port(new_id(), "10.0.1.1/24"), inner)):
        assert (
            brought(machine, state)
            == f"{name}: a device of this name exists and does not belong to l3agent; it stays unchanged"
        )
        assert link(machine, name) == before
        assert machine.reconcile((key(state), None))[0].error is None
        assert link(machine, name) == before


@pytest.mark.feature("dataplane.privilege")
@pytest.mark.parametrize("kind", ["tun", "veth"])
def test_a_device_that_stops_a_creation_is_left_alone(machine: Dataplane, kind: str) -> None:
    """Nothing is observed before the build: the bridge is known from another router."""
    network = new_id()
    assert brought(machine, router(port(network, "10.0.0.1/24"))) is None
    inner = port(network, "10.0.0.2/24")
    name = tap(inner)
    make = (
        f"ip tuntap add dev {name} mode tap"
        if kind == "tun"
        else f"ip link add {name} type veth peer name vm{name[-4:]}"
    )
    files = ("ipv4.conf.%s.arp_ignore", "ipv4.conf.%s.rp_filter", "ipv6.conf.%s.disable_ipv6")
    settings = ["sysctl", *(f"net.{file % name}" for file in files)]
    machine.sandbox.run(["sh", "-ec", f"{make}; ip link set {name} up"])
    before = link(machine, name), machine.sandbox.run(settings)
    for _ in range(2):
        error = brought(machine, router(inner))
        assert error is not None and name in error
        assert (link(machine, name), machine.sandbox.run(settings)) == before


@pytest.mark.feature("dataplane.privilege")
def test_a_bridge_of_another_program_gets_no_port(machine: Dataplane) -> None:
    network = new_id()
    name = device_name(BRIDGE_DEVICE, network)
    machine.sandbox.run(["ip", "link", "add", name, "type", "bridge"])
    before = link(machine, name)
    for state in (router(port(network, "10.0.0.1/24")), NetworkState(network, "lo")):
        error = brought(machine, state)
        assert error is not None
        if isinstance(state, NamespaceState):
            assert error == f"{name}: a device of this name exists and does not belong to l3agent; it stays unchanged"
    assert brought(machine, NetworkState(network, None)) is None
    assert link(machine, name) == before
    assert machine.sandbox.json(f"ip -j link show master {name}") == []


def test_the_bridge_of_a_network_with_a_like_id_gets_no_port(machine: Dataplane) -> None:
    """Otherwise two networks, of two tenants perhaps, would be one."""
    network = new_id()
    first = router(port(network, "10.0.0.1/24"))
    assert brought(machine, first) is None
    other, new = like_id(network), new_id()
    rivals = [port(other, "10.0.1.1/24")], [port(new, "10.0.2.1/24"), port(like_id(new), "10.0.3.1/24")]
    for ports in rivals:
        error = brought(machine, router(*ports))
        assert error is not None and "for another port or network, whose id begins with the same 11 characters" in error
    # Of a state that is not known any more, as after a restart, the mark of the bridge remains.
    machine.request("unmanage", {"keys": [list(key(first))]})
    error = brought(machine, router(port(other, "10.0.1.1/24")))
    assert error is not None and "does not belong to l3agent" in error


def like_id(one: str) -> str:
    """Return another id that begins with the same eleven characters."""
    return one[:11] + "f" + one[12:]


def like(one: Port, *addresses: str) -> Port:
    """Return a port whose id begins with the same eleven characters."""
    other = port(one.network_id, *addresses)
    return replace(other, id=like_id(one.id), device=one.device, mac=mac_of(other.id))


@pytest.mark.feature("dataplane.privilege")
def test_of_two_routers_with_like_port_ids_the_second_is_rejected_by_name(machine: Dataplane) -> None:
    first = router(inner := port(new_id(), "10.0.0.1/24"))
    second = router(like(inner, "10.0.1.1/24"))
    assert brought(machine, first) is None
    before = observed(machine.sandbox, namespace(first))
    for _ in range(2):
        error = brought(machine, second)
        assert error is not None and error.startswith(
            f"{tap(inner)}: router {first.id} has this device for another port"
        )
    assert observed(machine.sandbox, namespace(first)) == before
    assert brought(machine, first) is None
    assert machine.reconcile((key(first), None))[0].error is None
    assert brought(machine, second) is None


def test_a_port_that_moved_to_another_router_is_taken_over(machine: Dataplane) -> None:
    first, second = router(inner := port(new_id(), "10.0.0.1/24")), router(inner)
    assert brought(machine, first) is None
    assert brought(machine, second) is None
    assert brought(machine, replace(first, ports=frozenset())) is None
    assert brought(machine, second) is None
    assert "10.0.0.1" in machine.sandbox.run(["ip", "-br", "address"], netns=namespace(second))


def test_a_tap_of_a_removed_namespace_is_known_after_a_restart(dataplane: Dataplane) -> None:
    """A process keeps the namespace alive; its name is gone, the mark of the tap is not."""
    machine, state = dataplane, router(inner := port(new_id(), "10.0.0.1/24"))
    assert brought(machine, state) is None
    guest = machine.sandbox.popen(["sleep", "600"], netns=namespace(state))
    wait_until(lambda: machine.sandbox.json(f"ip -j -d link show dev {tap(inner)}")[0].get("ifalias"))
    assert machine.reconcile((key(state), None))[0].error is None
    machine.kill()
    machine.start()
    assert brought(machine, state) is None
    guest.kill()


def test_a_name_taken_by_another_program_after_a_removal_is_left_alone(machine: Dataplane) -> None:
    state = router(inner := port(new_id(), "10.0.0.1/24"))
    assert brought(machine, state) is None
    assert machine.reconcile((key(state), None))[0].error is None
    name = tap(inner)
    wait_until(lambda: name not in machine.sandbox.run(["ip", "-br", "link"]), timeout=30)
    machine.sandbox.run(["sh", "-ec", f"ip tuntap add dev {name} mode tap; ip link set {name} up"])
    before = link(machine, name)
    # The next garbage collection comes 2 s after the removal; a second removal shows that it is over.
    marker = router(port(new_id(), "10.0.1.1/24"))
    assert brought(machine, marker) is None
    (other,) = marker.ports
    guest = machine.sandbox.popen(["sleep", "600"], netns=namespace(marker))
    assert machine.reconcile((key(marker), None))[0].error is None
    wait_until(lambda: tap(other) not in machine.sandbox.run(["ip", "-br", "link"]), timeout=30)
    assert link(machine, name) == before
    guest.kill()


@pytest.mark.feature("dataplane.privilege")
def test_only_a_nic_that_the_topology_file_of_root_names_is_plugged_in(dataplane: Dataplane, folder: Path) -> None:
    machine, topology = dataplane, folder / "topology.yaml"
    machine.sandbox.run(["sh", "-ec", "for n in nic0 nic1; do ip link add $n type veth peer of-$n; done"])
    before = link(machine, "nic0")
    network = NetworkState(new_id(), "nic0")
    for _ in range(2):
        error = brought(machine, network)
        assert error is not None and f"nic0': the topology file {topology} does not exist" in error
        assert link(machine, "nic0") == before
    text = "networks: {public: {external: {interface: nic0}, subnets: {pub: {cidr: 203.0.113.0/24}}}}\n"
    topology.write_text(text)
    os.kill(machine.pid, signal.SIGHUP)
    assert brought(machine, network) is None
    assert link(machine, "nic0")["master"] == device_name(BRIDGE_DEVICE, network.id)
    assert "names no such NIC" in str(brought(machine, NetworkState(new_id(), "nic1")))
    # A file that another user can change names no NIC.
    topology.chmod(0o666)
    topology.write_text(text.replace("nic0", "nic1"))
    assert "another user than root can change" in str(brought(machine, NetworkState(new_id(), "nic1")))


def test_names_of_taps_are_those_of_virtual_machines(machine: Dataplane) -> None:
    """The premise of these tests: nova names the tap of a port as the bridge driver does."""
    inner = port(new_id())
    assert tap(inner) == device_name(TAP_DEVICE, inner.id) == f"tap{inner.id[:11]}"
