# SPDX-License-Identifier: Apache-2.0
"""The other ways to plug a port in: veth pairs of Open vSwitch, its external bridge of old, Neutron's Linux bridges."""

from __future__ import annotations

import sys

import pytest

from l3agent.testing import wait_until
from tests.support.ovs_node import a_node, a_router
from tests.support.processes import Dataplane
from tests.support.sandbox import Sandbox, SandboxError
from tests.support.states import key, namespace, new_id, port, router, tap

_TCP_SERVER = "import socket; socket.create_server(('10.0.0.5', 8080)).accept()[0].sendall(b'x')"
#: The first attempts may come before the server listens.
_TCP_CLIENT = """
import socket, time
for attempt in range(20):
    try:
        with socket.create_connection(("10.0.0.5", 8080), 2) as connection:
            assert connection.recv(1) == b"x"
        break
    except (ConnectionRefusedError, TimeoutError):
        time.sleep(0.2)
else:
    raise SystemExit(1)
"""


@pytest.mark.feature("driver.external-bridge")
@pytest.mark.openvswitch
def test_gateways_go_to_the_external_bridge_of_old_files_untagged():
    with a_node(external_network_bridge="br-ex") as node:
        state, inner, gateway = a_router()
        report = node.reconcile(state)
        assert report.error is not None
        assert "no bridge br-ex" in report.error and "ovs-vsctl add-br br-ex" in report.error
        # It comes, and nobody needs to ask again.
        node.ovs.add_bridge("br-ex")
        wait_until(lambda: node.ovs.ports("br-ex") == {gateway.device}, timeout=30)
        wait_until(lambda: "LOWER_UP" in node.device(state, gateway)["flags"], timeout=30)
        assert node.ovs.row("Port", gateway.device)["tag"] == []
        assert node.ovs.row("Port", inner.device)["tag"] == 4095
        assert node.ovs.ports() == {inner.device}
        assert node.build(state) == ()
        # No L2 agent is needed on that bridge: what is on it is reached.
        node.machine("outside", "br-ex", "203.0.113.1/24")
        assert node.pings("outside", "203.0.113.10")
        assert node.remove(state).error is None
        assert node.ovs.ports("br-ex") == {"outside"}


@pytest.mark.openvswitch
def test_of_a_change_that_lacks_a_bridge_nothing_is_done_and_the_others_go_on():
    with a_node(external_network_bridge="br-ex") as node:
        node.ovs.add_bridge("br-ex")
        node.ovs.vsctl("del-br", "br-int")
        whole, inner, _ = a_router()
        outside = [router(gateway=port(new_id(), "203.0.113.20/24", gateway=True)) for _ in range(3)]
        reports = [node.answer(number) for number in node.ask(whole, *outside)]
        assert "no bridge br-int" in str(reports[0].error)
        assert [report.error for report in reports[1:]] == [None] * 3
        assert node.ovs.ports("br-ex") == {one.gateway.device for one in outside if one.gateway}
        assert "Traceback" not in node.dataplane.log.read_text()
        node.ovs.add_bridge("br-int")
        wait_until(lambda: node.is_right(whole, inner), timeout=30)


@pytest.mark.openvswitch
def test_with_veth_the_switch_has_the_outer_ends():
    with a_node(ovs_use_veth=True) as node:
        state, inner, gateway = a_router()
        node.build(state)
        assert node.ovs.ports() == {tap(inner), tap(gateway)}
        assert node.ovs.row("Interface", tap(inner))["external_ids"]["iface-id"] == inner.id
        assert node.ovs.row("Port", tap(inner))["tag"] == 4095
        wait_until(lambda: node.ovs.row("Interface", tap(inner))["ofport"] not in ([], -1), timeout=30)
        assert node.build(state) == ()
        # A datapath in user space completes no checksums: those of the router itself are right all the same.
        node.ovs.wire(tap(inner))
        node.machine("vm", "br-int", "10.0.0.5/24", vlan=1)
        server = node.sandbox.popen([sys.executable, "-c", _TCP_SERVER], netns="vm")
        node.sandbox.run([sys.executable, "-c", _TCP_CLIENT], netns=namespace(state), timeout=60)
        assert server.wait(20) == 0
        # The devices are the kernel's, so they outlive the switch.
        before = node.device(state, inner)["ifindex"]
        node.ovs.kill_switch()
        node.ovs.start_switch()
        assert node.build(state) == ()
        assert node.device(state, inner)["ifindex"] == before
        node.ovs.vsctl("del-port", tap(inner))
        wait_until(lambda: tap(inner) in node.ovs.ports(), timeout=30)
        assert node.remove(state).error is None
        assert node.ovs.ports() == {"vm"}


@pytest.mark.feature("driver.linuxbridge")
def test_taps_are_left_to_the_linux_bridge_agent(sandbox: Sandbox, folder):
    dataplane = Dataplane(sandbox, folder, {"DEFAULT": {"interface_driver": "linuxbridge"}})
    dataplane.start()
    inner = port("11111111-aaaa-4000-8000-000000000000", "10.0.0.1/24")
    state = router(inner)
    (report,) = dataplane.reconcile((key(state), state))
    assert report.error is None
    (device,) = sandbox.json(f"ip -j link show {tap(inner)}")
    assert "UP" in device["flags"] and "master" not in device
    assert all(link["ifname"][:3] != "brq" for link in sandbox.json("ip -j link show"))
    # What the agent does, as it is called: bridge and tap have the names that it expects.
    bridge = "brq11111111-aa"
    sandbox.run(["ip", "link", "add", bridge, "address", "02:00:00:00:00:01", "type", "bridge"])
    sandbox.run(["ip", "link", "set", bridge, "up"])
    sandbox.run(["ip", "link", "set", tap(inner), "master", bridge])
    sandbox.run(["ip", "address", "add", "10.0.0.5/24", "dev", bridge])
    sandbox.run(["ping", "-c", "1", "-W", "2", "10.0.0.1"])
    (report,) = dataplane.reconcile((key(state), state))
    assert (report.error, report.operations) == (None, ())
    # Ours is mended, the agent's is let be.
    sandbox.run(["ip", "-n", namespace(state), "link", "set", inner.device, "down"])
    wait_until(lambda: "UP" in sandbox.json(f"ip -j link show {inner.device}", netns=namespace(state))[0]["flags"])
    assert sandbox.json(f"ip -j link show {tap(inner)}")[0]["master"] == bridge
    (report,) = dataplane.reconcile((key(state), None))
    assert report.error is None
    wait_until(lambda: _is_gone(sandbox, tap(inner)), timeout=20)
    sandbox.run(["ip", "link", "show", bridge])
    dataplane.hang_up()


def _is_gone(sandbox: Sandbox, name: str) -> bool:
    try:
        sandbox.run(["ip", "link", "show", name])
    except SandboxError:
        return True
    return False
