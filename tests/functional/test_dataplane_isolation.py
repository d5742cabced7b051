# SPDX-License-Identifier: Apache-2.0
"""The node's own stack ignores our devices in its namespace: a tenant can neither configure nor reach the node."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from l3agent.model.states import NamespaceState
from l3agent.testing import wait_until
from tests.support.ovs_node import a_node, a_router
from tests.support.processes import Dataplane
from tests.support.sandbox import Sandbox
from tests.support.states import bridge, host, key, namespace, new_id, only_port, port, router, tap

INTRUDER = str(Path(__file__).parents[1] / "support" / "intrude.py")
CHECKSUMS = str(Path(__file__).parents[1] / "support" / "checksums.py")
NODE = "192.0.2.77"
#: How long it may take until each device was read again, at most.
_ROTATION_S = 90


@pytest.fixture(scope="module", autouse=True)
def node_address(machine: Dataplane) -> None:
    """Give the node an address to be reached at."""
    _give_address(machine.sandbox)


@pytest.mark.feature("dataplane.tenant-isolation")
@pytest.mark.usefixtures("same_node")
def test_tenants_and_machines_outside_neither_configure_nor_reach_the_node(machine: Dataplane) -> None:
    inside, outside = new_id(), new_id()
    inner = port(inside, "10.0.0.1/24", "2001:db8:1::1/64")
    state = router(inner, gateway=port(outside, "203.0.113.10/24", gateway=True))
    tenant = host(inside, "10.0.0.5/24", "2001:db8:1::5/64", routes={"0.0.0.0/0": "10.0.0.1"})
    stranger = host(outside, "203.0.113.1/24")
    _build(machine, state, tenant, stranger)
    for network, intruder in ((inside, tenant), (outside, stranger)):
        _intrude(machine.sandbox, namespace(intruder), "eth0", bridge(network))
    devices = [bridge(inside), bridge(outside), *map(tap, state.all_ports()), tap(only_port(tenant))]
    assert {device: _settings(machine.sandbox, device) for device in devices} == dict.fromkeys(devices, ISOLATED)
    # Devices inside have IPv6, and what is on the same bridge is reached.
    for address in ("10.0.0.1", "2001:db8:1::1"):
        machine.sandbox.run(["ping", "-c", "5", "-i", "0.5", "-W", "10", address], netns=namespace(tenant))


def test_devices_of_an_older_release_are_corrected_with_what_the_node_has_taken_from_them(machine: Dataplane) -> None:
    network = new_id()
    inner = port(network, "10.0.0.1/24")
    state, tenant = router(inner), host(network, "10.0.0.5/24")
    _build(machine, state, tenant)
    machine.kill()
    devices = [bridge(network), tap(inner), tap(only_port(tenant))]
    for device in devices:
        settings = (
            f"ipv6.conf.{device}.disable_ipv6",
            f"ipv4.conf.{device}.arp_ignore",
            f"ipv4.conf.{device}.rp_filter",
        )
        machine.sandbox.run(["sysctl", "-qw", *(f"net.{setting}=0" for setting in settings)])
    _send(machine.sandbox, namespace(tenant), "eth0", bridge(network))
    wait_until(lambda: _routes_and_addresses(machine.sandbox) != [], timeout=30)
    machine.start()
    _build(machine, state, tenant)
    assert {device: _settings(machine.sandbox, device) for device in devices} == dict.fromkeys(devices, ISOLATED)
    _intrude(machine.sandbox, namespace(tenant), "eth0", bridge(network))
    (report,) = machine.reconcile((key(state), state))
    assert (report.error, report.operations) == (None, ())


def test_devices_of_the_node_are_isolated_again_without_an_event_and_without_a_request(machine: Dataplane) -> None:
    network = new_id()
    inner = port(network, "10.0.0.1/24")
    state = router(inner)
    _build(machine, state)
    devices = [bridge(network), tap(inner)]
    # The first one is for all devices of the node, ours and others.
    for setting in ("ipv6.conf.all.disable_ipv6", "ipv4.conf.{}.arp_ignore", "ipv4.conf.{}.rp_filter"):
        _change_until_repaired(machine, devices, [f"net.{setting.format(device)}=0" for device in devices])
    (report,) = machine.reconcile((key(state), state))
    assert (report.error, report.operations) == (None, ())


def test_a_bridge_of_another_program_keeps_its_settings(machine: Dataplane) -> None:
    network = new_id()
    sandbox = machine.sandbox
    sandbox.run(["ip", "link", "add", bridge(network), "address", "02:00:00:00:00:01", "type", "bridge"])
    before = _settings(sandbox, bridge(network))
    state = router(port(network, "10.0.0.1/24"))
    (report,) = machine.reconcile((key(state), state))
    assert report.error is not None and "does not belong to l3agent" in report.error
    assert _settings(sandbox, bridge(network)) == before


@pytest.mark.feature("dataplane.tenant-isolation")
def test_a_tap_that_waits_for_the_linux_bridge_agent_leads_nowhere(sandbox: Sandbox, folder: Path) -> None:
    _give_address(sandbox)
    dataplane = Dataplane(sandbox, folder, {"DEFAULT": {"interface_driver": "linuxbridge"}})
    dataplane.start()
    inner = port(new_id(), "10.0.0.1/24")
    state = router(inner)
    _build(dataplane, state)
    _intrude(sandbox, namespace(state), inner.device, tap(inner))
    dataplane.hang_up()


@pytest.mark.feature("dataplane.tenant-isolation")
@pytest.mark.openvswitch
def test_a_tap_of_open_vswitch_leads_to_the_switch_only() -> None:
    with a_node(ovs_use_veth=True) as node:
        _give_address(node.dataplane.sandbox)
        state, inner, gateway = a_router()
        node.build(state)
        for plugged in (inner, gateway):
            _intrude(node.dataplane.sandbox, namespace(state), plugged.device, tap(plugged))
        # No event carries whether a device completes checksums.
        in_namespace = partial(node.dataplane.sandbox.run, netns=namespace(state))
        in_namespace([sys.executable, CHECKSUMS, inner.device, "1"])
        wait_until(lambda: in_namespace([sys.executable, CHECKSUMS, inner.device]) == "0\n", timeout=_ROTATION_S)


#: disable_ipv6, arp_ignore, rp_filter.
ISOLATED = ["1", "8", "1"]


def _give_address(sandbox: Sandbox) -> None:
    sandbox.run(["ip", "address", "add", f"{NODE}/32", "dev", "lo"])


def _build(machine: Dataplane, *states: NamespaceState) -> None:
    reports = machine.reconcile(*((key(state), state) for state in states))
    assert [report.error for report in reports] == [None] * len(states)


def _change_until_repaired(machine: Dataplane, devices: list[str], settings: list[str]) -> None:
    """Change settings of the node and wait until its devices are isolated again."""
    repairs = machine.request("stats", {})["repairs"]
    machine.sandbox.run(["sysctl", "-qw", *settings])
    wait_until(lambda: machine.request("stats", {})["repairs"] > repairs, timeout=_ROTATION_S)
    isolated = dict.fromkeys(devices, ISOLATED)
    wait_until(lambda: {one: _settings(machine.sandbox, one) for one in devices} == isolated, timeout=_ROTATION_S)


def _settings(sandbox: Sandbox, device: str) -> list[str]:
    paths = (f"ipv6.conf.{device}.disable_ipv6", f"ipv4.conf.{device}.arp_ignore", f"ipv4.conf.{device}.rp_filter")
    return sandbox.run(["sysctl", "-n", *(f"net.{path}" for path in paths)]).split()


def _intrude(sandbox: Sandbox, netns: str, device: str, target: str) -> None:
    """Send from a namespace, through a device, to a device of the node; nothing of it may have an effect."""
    datagrams = _datagrams(sandbox)
    assert _send(sandbox, netns, device, target) == 0
    assert _routes_and_addresses(sandbox) == []
    assert _datagrams(sandbox) == datagrams


def _send(sandbox: Sandbox, netns: str, device: str, target: str) -> int:
    (link,) = sandbox.json(f"ip -j link show {target}")
    return int(sandbox.run([sys.executable, INTRUDER, device, link["address"], NODE], netns=netns))


def _routes_and_addresses(sandbox: Sandbox) -> list[object]:
    """Return what the node has from an advertisement."""
    links = sandbox.json("ip -6 -j address show scope global")
    return [*sandbox.json("ip -6 -j route show default"), *(link for link in links if link.get("addr_info"))]


def _datagrams(sandbox: Sandbox) -> int:
    """Return how many datagrams reached the node, since no socket has that port (snmp_counter of the kernel)."""
    lines = [line.split() for line in sandbox.run(["cat", "/proc/net/snmp"]).splitlines() if line.startswith("Udp:")]
    return int(lines[1][lines[0].index("NoPorts")])
