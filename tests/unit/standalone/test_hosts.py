# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import eventlet
import pytest

from l3agent.exceptions import ApplyError, DataplaneUnavailable
from l3agent.model.states import Key, NamespaceState, NetworkState, NextHop, Route, State
from l3agent.standalone.entities import Topology, stable_id
from l3agent.standalone.hosts import SimulatedHosts, simulated_states
from l3agent.standalone.topology import load
from l3agent.testing import FakeDataplane, wait_until
from tests.support.states import only_port

TEXT = """\
networks:
  public: {external: {interface: eth7}, subnets: {pub: {cidr: 203.0.113.0/24}}}
  blue: {mtu: 1400, subnets: {blue: {cidr: 10.0.0.0/24}}}
hosts:
  vm1:
    network: blue
    addresses: [10.0.0.5]
    routes:
      - {destination: 192.0.2.0/24, nexthop: 10.0.0.8}
      - {destination: 192.0.2.0/24, nexthop: 10.0.0.9}
  vm2: {network: blue, addresses: [10.0.0.6]}
"""
PUBLIC: Key = ("network", stable_id("network", "public"))
VM1: Key = ("host", "vm1")
VM2: Key = ("host", "vm2")


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    return topology_of(tmp_path, TEXT)


def topology_of(folder: Path, text: str) -> Topology:
    path = folder / "topology.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


@contextmanager
def is_running(hosts: SimulatedHosts) -> Iterator[None]:
    thread = eventlet.spawn(hosts.run)
    try:
        yield
    finally:
        thread.kill()


def test_a_host_is_one_device_with_addresses_and_routes(topology: Topology) -> None:
    state = simulated_states(topology)[VM1]
    assert isinstance(state, NamespaceState)
    assert (only_port(state).device, only_port(state).mtu) == ("eth0", 1400)
    assert only_port(state).addresses == {ip_interface("10.0.0.5/24")}
    assert state.routes == {
        Route(ip_network("0.0.0.0/0"), frozenset({NextHop("eth0", ip_address("10.0.0.1"))})),
        Route(
            ip_network("192.0.2.0/24"),
            frozenset({NextHop("eth0", ip_address("10.0.0.8")), NextHop("eth0", ip_address("10.0.0.9"))}),
        ),
    }


def test_a_host_reaches_a_gateway_outside_its_subnet_on_link(tmp_path: Path) -> None:
    text = (
        "networks:\n  public: {external: true, subnets: {pub4: {cidr: 203.0.113.8/32, gateway: 198.51.100.1},"
        " pub6: {cidr: '2001:db8:f::/64', gateway: 'fe80::1'}}}\n"
        "hosts:\n  vm1: {network: public, addresses: [203.0.113.8, '2001:db8:f::8']}\n"
    )
    state = simulated_states(topology_of(tmp_path, text))[VM1]
    assert isinstance(state, NamespaceState)
    assert state.routes == {
        Route(ip_network("0.0.0.0/0"), frozenset({NextHop("eth0", ip_address("198.51.100.1"))})),
        Route(ip_network("198.51.100.1/32"), frozenset({NextHop("eth0", None)})),
        Route(ip_network("::/0"), frozenset({NextHop("eth0", ip_address("fe80::1"))})),
    }


def test_only_a_network_with_a_physical_interface_has_a_state(topology: Topology) -> None:
    states = simulated_states(topology)
    assert [key for key in states if key[0] == "network"] == [PUBLIC]
    assert states[PUBLIC] == NetworkState(PUBLIC[1], "eth7")


def test_leftovers_of_an_earlier_run_are_removed_once_and_routers_stay(topology: Topology) -> None:
    states = simulated_states(topology)
    dataplane = FakeDataplane({("host", "old"): states[VM1], ("network", "old"): states[PUBLIC]})
    router: dict[Key, State] = {("router", "r"): states[VM1]}
    dataplane.states.update(router)
    with is_running(SimulatedHosts(dataplane, topology)):
        wait_until(lambda: dataplane.states == states | router)
    assert dataplane.applied[:2] == [(("host", "old"), None), (("network", "old"), None)]


def test_a_change_applies_the_difference_with_removals_first(topology: Topology, tmp_path: Path) -> None:
    dataplane = FakeDataplane()
    hosts = SimulatedHosts(dataplane, topology)
    with is_running(hosts):
        wait_until(lambda: len(dataplane.states) == 3)
        del dataplane.applied[:]
        new = topology_of(tmp_path, TEXT.replace("  vm2:", "  vm3:").replace("interface: eth7", "interface: eth8"))
        hosts.replace(new)
        wait_until(lambda: dataplane.states == simulated_states(new))
    assert [key for key, _ in dataplane.applied] == [VM2, PUBLIC, ("host", "vm3")]


def test_only_a_failed_state_is_retried(topology: Topology) -> None:
    dataplane = FakeDataplane()
    dataplane.fail_next(ApplyError("refused by the kernel"))
    with is_running(SimulatedHosts(dataplane, topology)):
        wait_until(lambda: len(dataplane.states) == 3)
    assert len(dataplane.applied) == 3


def test_an_unavailable_data_plane_is_retried(topology: Topology) -> None:
    dataplane = FakeDataplane()
    dataplane.fail_next(DataplaneUnavailable("gone"))
    with is_running(SimulatedHosts(dataplane, topology)):
        wait_until(lambda: dataplane.states == simulated_states(topology))


def test_a_host_deleted_while_the_data_plane_is_unavailable_is_removed_later(
    topology: Topology, tmp_path: Path
) -> None:
    dataplane = FakeDataplane()
    hosts = SimulatedHosts(dataplane, topology)
    with is_running(hosts):
        wait_until(lambda: len(dataplane.states) == 3)
        dataplane.fail_next(DataplaneUnavailable("gone"), times=2)
        new = topology_of(tmp_path, TEXT[: TEXT.index("  vm2:")])
        hosts.replace(new)
        wait_until(lambda: VM2 not in dataplane.states)
        assert dataplane.states == simulated_states(new)


def test_a_new_data_plane_receives_all_states(topology: Topology) -> None:
    dataplane = FakeDataplane()
    with is_running(SimulatedHosts(dataplane, topology)):
        wait_until(lambda: len(dataplane.states) == 3)
        del dataplane.applied[:]
        dataplane.restart()
        wait_until(lambda: len(dataplane.applied) == 3)
    assert dict(dataplane.applied) == simulated_states(topology)


def test_a_data_plane_restarted_between_two_states_receives_all_states(topology: Topology) -> None:
    dataplane = FakeDataplane(delay=0.05)
    with is_running(SimulatedHosts(dataplane, topology)):
        wait_until(lambda: len(dataplane.applied) == 1)
        dataplane.restart()
        wait_until(lambda: len(dataplane.applied) >= 6)
    assert dict(dataplane.applied[3:]) == simulated_states(topology)
