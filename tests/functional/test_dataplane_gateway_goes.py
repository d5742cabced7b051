# SPDX-License-Identifier: Apache-2.0
"""A gateway that goes or is swapped lets no tenant out untranslated, whenever the data plane dies on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from l3agent.model.states import NamespaceState
from tests.support.crashes import Mortal
from tests.support.flows import OUTSIDE, Change, World, the_gateway_gone
from tests.support.kernel import observed
from tests.support.sandbox import Sandbox
from tests.support.states import bridge, key, namespace, new_id, port, route
from tests.support.watch import Program, capture

pytestmark = pytest.mark.kernel


def another_gateway(world: World) -> NamespaceState:
    gateway = port(new_id(), "203.0.113.77/24", gateway=True)
    (nat,) = {one.ip for one in gateway.addresses}
    routes = frozenset({route("0.0.0.0/0", (gateway, OUTSIDE))})
    return replace(world.router, gateway=gateway, routes=routes, floating_ips=frozenset(), nat_address=nat)


def the_gateway_gone_and_an_interface(world: World) -> NamespaceState:
    return replace(the_gateway_gone(world), ports=frozenset({world.red}))


@contextmanager
def pings(sandbox: Sandbox, *machines: NamespaceState) -> Iterator[None]:
    """Ping the outside from machines continuously, each in one flow, also during the removal of the gateway."""
    command = ["ping", "-n", "-q", "-i", "0.02", OUTSIDE]
    running = [Program(sandbox, command, namespace(machine)) for machine in machines]
    try:
        yield
    finally:
        for one in running:
            one.close()


@pytest.mark.feature("dataplane.crash-safety")
@pytest.mark.parametrize(
    ("change", "tampered"),
    [(the_gateway_gone_and_an_interface, False), (another_gateway, False), (the_gateway_gone, True)],
    ids=["gone-with-an-interface", "swapped", "gone-with-rules-to-mend"],
)
def test_nothing_leaves_untranslated_after_any_send(mortal: Mortal, change: Change, tampered: bool) -> None:
    world = World(mortal)
    after = change(world)
    deaths = 0

    def prepare() -> None:
        world.reconcile(world.router)
        if tampered:
            # The next look writes all rules anew, in the same step that leaves out what goes.
            mortal.kill()
            mortal.sandbox.run(["nft", "flush", "chain", "ip", "l3agent", "output"], netns=namespace(world.router))
            mortal.start()

    def speak() -> None:
        """Send packets outside from machines without a floating IP; do not wait for answers."""
        for machine in (world.vm7, world.vm8):
            command = ["sh", "-c", f"ping -c 1 -W 0.2 {OUTSIDE} || :"]
            mortal.sandbox.run(command, netns=namespace(machine))

    with (
        capture(mortal.sandbox, bridge(world.gateway.network_id), "icmp") as frames,
        pings(mortal.sandbox, world.vm7, world.vm8),
    ):
        world.reconcile(world.router)
        speak()
        assert any(f"> {OUTSIDE}: ICMP echo request" in line for line in frames.lines())
        for _ in mortal.deaths(key(after), prepare, after):
            deaths += 1
            speak()
            assert [line for line in frames.lines() if "10.0." in line] == []
            world.reconcile(after)
        speak()
        assert [line for line in frames.lines() if "10.0." in line] == []
    assert deaths >= 4
    assert observed(mortal.sandbox, namespace(after)), "nothing is left in the journal"
    mortal.reconcile((key(after), None))
