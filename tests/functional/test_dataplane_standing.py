# SPDX-License-Identifier: Apache-2.0
"""An applied state is not observed again; a changed one is, with or without an event."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from l3agent.model.states import NamespaceState, Report
from l3agent.model.wire import pack_state, unpack_report
from tests.functional.test_dataplane_changes import wait_until_removed
from tests.functional.test_dataplane_drift import FIP, World, world
from tests.functional.test_dataplane_events import _LINK_EVENTS
from tests.support.kernel import observed
from tests.support.processes import Dataplane
from tests.support.states import bridge, floating_ips, key, new_id, port, route, router

__all__ = ["world"]

ANOTHER = "203.0.113.101"


def with_another(world: World) -> NamespaceState:
    return replace(world.state, floating_ips=floating_ips({FIP: "10.0.0.5", ANOTHER: "10.0.0.6"}))


def brought(machine: Dataplane, state: NamespaceState) -> Report:
    (report,) = machine.reconcile((key(state), state))
    return report


def addresses(world: World, device: str) -> set[str]:
    links = world.machine.sandbox.json(f"ip -j address show dev {device}", netns=world.namespace)
    return {str(one["local"]) for link in links for one in link["addr_info"]}


def test_a_wrong_setting_found_by_inspect_is_repaired_by_the_next_request(world: World) -> None:
    world.machine.request("unmanage", {"keys": [key(world.state)]})
    world.inside("sysctl -qw net.ipv4.ip_forward=0")
    found = world.machine.request("inspect", {"state": pack_state(key(world.state), world.state)})
    assert found["actual"] != found["desired"]
    assert "net.ipv4.ip_forward=1" in world.reconcile()[0]
    assert world.inside("sysctl -n net.ipv4.ip_forward").strip() == "1"


@pytest.mark.parametrize("other", ["nothing", "another namespace"])
def test_a_change_goes_where_the_pin_is_though_no_event_tells_of_a_mount(world: World, other: str) -> None:
    pin = f"/run/netns/{world.namespace}"
    if other == "nothing":
        world.outside(f"umount {pin}")
    else:
        world.outside(
            f"ip netns add other9; umount {pin}; mount --bind /run/netns/other9 {pin}; ip netns delete other9"
        )
    changed = with_another(world)
    assert brought(world.machine, changed).error is None
    assert {FIP, ANOTHER} < addresses(world, world.gateway.device)
    assert world.reconcile() != ()


def test_a_change_at_the_moment_when_events_are_lost_begins_with_a_look(world: World) -> None:
    machine = world.machine
    renamed = "".join(f"link set lo alias number-{number}\n" for number in range(_LINK_EVENTS))
    changed = with_another(world)
    with machine.paused():
        machine.sandbox.run(["ip", "-batch", "-"], input=renamed, timeout=120)
        machine.sandbox.run(["ip", "address", "flush", "dev", world.inner.device], netns=world.namespace)
        packed = {"states": [pack_state(key(changed), changed)], "dry_run": False}
        number = machine.send("reconcile", packed)
    (wire,) = machine.answer(number)
    assert unpack_report(wire).error is None
    assert "10.0.0.1" in addresses(world, world.inner.device)
    assert ANOTHER in addresses(world, world.gateway.device)


def test_the_effects_of_a_refused_change_are_undone_by_a_request_for_the_former_state(world: World) -> None:
    refused = replace(
        with_another(world), routes=world.state.routes | {route("172.31.0.0/24", (world.inner, "192.0.2.99"))}
    )
    before = world.everything()
    report = brought(world.machine, refused)
    assert report.error is not None and "172.31.0.0/24" in report.error
    assert ANOTHER in addresses(world, world.gateway.device)
    assert world.reconcile() != ()
    assert world.everything() == before


def test_a_bridge_that_another_program_keeps_deleting_is_an_error_with_its_cause(machine: Dataplane) -> None:
    """Delete it between its creation and its use; the error has the message of the kernel."""
    network = new_id()
    goes_on = machine.log.with_name("fight")
    goes_on.touch()
    fighter = f"while [ -e {goes_on} ]; do ip link delete {bridge(network)} 2>/dev/null; done"
    fighting = machine.sandbox.popen(["sh", "-c", fighter], stdin=subprocess.DEVNULL)
    states = [router(port(network, f"10.0.{number}.1/24")) for number in range(40)]
    try:
        errors = [brought(machine, state).error for state in states]
    finally:
        goes_on.unlink()  # killed, it would leave one last `ip` behind
        fighting.wait(60)
    assert not [error for error in errors if error is not None and "internal error" in error]
    for state in states:
        assert brought(machine, state).error is None
        assert observed(machine.sandbox, f"qrouter-{state.id}").addresses
        wait_until_removed(machine, state)
