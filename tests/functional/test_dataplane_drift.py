# SPDX-License-Identifier: Apache-2.0
"""What somebody else did to a router is found at the next look, although the data plane remembers what it saw last."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from l3agent.model.names import TAP_DEVICE, device_name, namespace_name
from l3agent.model.states import Key, RouterState
from tests.bench.canonical import router
from tests.functional.support.kernel import observed, rules
from tests.functional.support.processes import Dataplane
from tests.functional.support.sandbox import Sandbox

_numbers = itertools.count()

#: Commands; {inside} and {outside} are the devices, {fip} a floating IP.
DAMAGES = {
    "an address gone": "ip address delete 10.0.0.1/16 dev {inside}",
    "an address more": "ip address add 192.0.2.1/24 dev {inside}",
    "an IPv6 address gone": "ip -6 address delete fd00::1/64 dev {inside}",
    "a floating IP gone from the device": "ip address delete {fip}/32 dev {outside}",
    "the default route gone": "ip route delete default",
    "a route led elsewhere": "ip route replace 172.30.0.0/24 via 10.0.0.99 protocol 201",
    "a link down": "ip link set {outside} down",
    "another MAC address": "ip link set {inside} address fa:16:3e:ff:ff:ff",
    "another MTU": "ip link set {outside} mtu 1400",
    "an element gone": "nft delete element ip l3agent floating_snat {{ 10.0.1.0 }}",
    "an element more": "nft add element ip l3agent floating_dnat {{ 192.0.2.1 : 10.0.9.9 }}",
    "an element with another value": "nft delete element ip l3agent floating_dnat {{ {fip} }}; "
    "add element ip l3agent floating_dnat {{ {fip} : 10.0.9.9 }}",
    "a rule more": "nft insert rule ip l3agent postrouting accept",
    "a chain flushed": "nft flush chain ip l3agent prerouting",
    "the table gone": "nft delete table ip l3agent",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_next_look_finds_it_and_mends_it(machine: Dataplane, damage: str) -> None:
    state, key, namespace = _built(machine)
    whole = _facts(machine.sandbox, namespace)
    machine.sandbox.run(_words(DAMAGES[damage], state), netns=namespace)
    (report,) = machine.reconcile((key, state))
    assert report.error is None and report.operations
    assert _facts(machine.sandbox, namespace) == whole
    assert machine.reconcile((key, state))[0].operations == ()


def test_a_tap_taken_off_its_bridge_is_put_back(machine: Dataplane) -> None:
    state, key, _ = _built(machine)
    assert state.gateway is not None
    tap = device_name(TAP_DEVICE, state.gateway.id)
    machine.sandbox.run(["ip", "link", "set", tap, "nomaster"])
    assert machine.reconcile((key, state))[0].operations
    (link,) = machine.sandbox.json(f"ip -j link show {tap}")
    assert link["master"] == device_name("brq", state.gateway.network_id)


def test_rules_of_somebody_else_are_left_alone(machine: Dataplane) -> None:
    state, key, namespace = _built(machine)
    machine.sandbox.run(["nft", "add table ip foreign; add chain ip foreign mine"], netns=namespace)
    assert machine.reconcile((key, state))[0].operations == ()
    assert "chain mine" in machine.sandbox.run(["nft", "list", "table", "ip", "foreign"], netns=namespace)


def _built(machine: Dataplane) -> tuple[RouterState, Key, str]:
    """Return a router that was made and looked at twice since."""
    state = router(0, next(_numbers), 3)
    key: Key = ("router", state.id)
    machine.reconcile((key, state))
    assert [machine.reconcile((key, state))[0].operations for _ in range(2)] == [(), ()]
    return state, key, namespace_name("router", state.id)


def _words(command: str, state: RouterState) -> list[str]:
    assert state.gateway is not None
    (port,) = state.ports
    fip = next(one.floating for one in state.floating_ips if str(one.fixed) == "10.0.1.0")
    words = command.format(inside=port.device, outside=state.gateway.device, fip=fip).split()
    # nft wants its commands in one word.
    return ["nft", " ".join(words[1:])] if words[0] == "nft" else words


def _facts(sandbox: Sandbox, namespace: str) -> object:
    return dataclasses.asdict(observed(sandbox, namespace)), rules(sandbox, namespace)
