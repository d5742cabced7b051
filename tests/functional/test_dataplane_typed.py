# SPDX-License-Identifier: Apache-2.0
"""The plan is shell commands: typed by an operator, they have the same effect, and leave an empty plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from l3agent.dataplane.plan.kinds.link import TAP_ALIAS
from l3agent.model.states import NamespaceState, NetworkState
from l3agent.testing import wait_until
from tests.functional.test_dataplane_changes import CHANGES, Change, World, leftovers, meaning
from tests.support.flows import CHANGES as ENDINGS
from tests.support.flows import FLOWS, OUTSIDE, snat_switched_off
from tests.support.flows import Change as Ending
from tests.support.flows import World as Flows
from tests.support.kernel import rules
from tests.support.payloads import legacy_payload
from tests.support.processes import Dataplane, a_machine
from tests.support.states import desired_namespace, host, key, namespace, new_id, port, router, tap
from tests.support.traffic import Traffic

State = NamespaceState


@pytest.fixture(scope="module")
def machine() -> Iterator[Dataplane]:
    """Start a data plane that repairs no drift: typed commands differ from the requested state."""
    with a_machine(repair_drift=False) as machine:
        yield machine


def plan(machine: Dataplane, state: State, wanted: State | None) -> tuple[str, ...]:
    (report,) = machine.reconcile((key(state), wanted), dry_run=True)
    assert report.error is None
    return report.operations


def typed(machine: Dataplane, lines: Iterable[str]) -> None:
    """Type lines while the data plane stands still: it would take a bridge that has no port yet for a left-over.

    ``conntrack -D`` ends with status 1 when there was no flow.
    """
    forgiving = (f"{line} || :" if " conntrack -D " in line else line for line in lines)
    with machine.paused():
        machine.sandbox.run(["sh", "-e", "-c", "\n".join(forgiving)])


@pytest.fixture(scope="module")
def worlds(machine: Dataplane) -> dict[str, World]:
    """A router for each test that changes one, by its name. The process that built them would undo typed changes."""
    worlds = {name: World(machine) for name in (*(change.__name__ for change in CHANGES), "removal", "tampering")}
    reports = machine.reconcile(*((key(world.state), world.state) for world in worlds.values()))
    assert [report.error for report in reports] == [None] * len(worlds)
    machine.kill()
    machine.start()
    return worlds


@pytest.mark.feature("operation.plan")
def test_a_typed_build_leaves_nothing_to_do(machine: Dataplane) -> None:
    state = World(machine).state
    typed(machine, plan(machine, state, state))
    assert plan(machine, state, state) == ()
    by_hand = meaning(machine, state), rules(machine.sandbox, namespace(state))
    reports = machine.reconcile((key(state), None), (key(state), state))
    assert [report.error for report in reports] == [None, None]
    assert (meaning(machine, state), rules(machine.sandbox, namespace(state))) == by_hand
    machine.reconcile((key(state), None))


def test_a_typed_build_of_the_captured_router_leaves_nothing_to_do(machine: Dataplane) -> None:
    state = desired_namespace(legacy_payload())
    typed(machine, plan(machine, state, state))
    assert plan(machine, state, state) == ()
    machine.reconcile((key(state), None))


def test_a_typed_build_replaces_a_stray_tap(machine: Dataplane) -> None:
    inner = port(new_id(), "10.0.0.1/24")
    state = router(inner)
    machine.sandbox.run(["ip", "link", "add", tap(inner), "type", "veth", "peer", "name", f"x{tap(inner)[3:]}"])
    machine.sandbox.run(["ip", "link", "set", tap(inner), "alias", TAP_ALIAS])
    lines = plan(machine, state, state)
    assert f"ip link delete {tap(inner)}" in lines
    typed(machine, lines)
    assert plan(machine, state, state) == ()
    machine.reconcile((key(state), None))


@pytest.mark.feature("operation.plan")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.replace("_", "-"))
def test_a_typed_change_leaves_nothing_to_do(machine: Dataplane, worlds: dict[str, World], change: Change) -> None:
    """Nothing, or what the kernel took along with something that changed: that is what a second look is for."""
    world = worlds[change.__name__]
    changed = change(world)
    typed(machine, plan(machine, changed, changed))
    if rest := plan(machine, changed, changed):
        typed(machine, rest)
        assert all(" route replace " in line or " address add " in line for line in rest), rest
    assert plan(machine, changed, changed) == ()
    machine.reconcile((key(world.state), None))


@pytest.mark.feature("operation.plan")
@pytest.mark.parametrize("change", ENDINGS, ids=lambda change: change.__name__.replace("_", "-"))
def test_typed_lines_end_the_flows_of_what_goes_and_no_others(machine: Dataplane, change: Ending) -> None:
    world = Flows(machine)
    with Traffic(machine.sandbox) as traffic:
        ways = set(world.connections(traffic))
        changed = change(world)
        typed(machine, plan(machine, changed, changed))
        assert world.flows() & ways == ways - ENDINGS[change]


def test_typed_lines_end_what_leaves_without_nat_when_snat_is_switched_on(machine: Dataplane) -> None:
    world = Flows(machine)
    world.reconcile(snat_switched_off(world))
    flow = "-p tcp --sport 1 --dport 7 --state ESTABLISHED -t 600 -u SEEN_REPLY"
    rows = (f"-I -s {source} -d {to} {nat} {flow}\n" for (source, to), nat in FLOWS.items())
    leaving = ("10.0.0.7", "192.0.2.1"), ("10.0.1.8", OUTSIDE)
    world.restore([*rows, *(f"-I -s {source} -d {to} {flow.replace(' 1 ', ' 2 ')}\n" for source, to in leaving)])
    typed(machine, plan(machine, world.router, world.router))
    assert plan(machine, world.router, world.router) == ()
    assert world.flows() == set(FLOWS)


def test_a_typed_removal_leaves_nothing_but_bridges(machine: Dataplane, worlds: dict[str, World]) -> None:
    world = worlds["removal"]
    typed(machine, plan(machine, world.state, None))
    assert plan(machine, world.state, None) == ()
    wait_until(lambda: not [one for one in leftovers(machine, world.state) if not one.startswith("brq")], timeout=10)


def test_a_typed_host_leaves_nothing_to_do(machine: Dataplane) -> None:
    state = host(new_id(), "10.0.0.5/24", "2001:db8:1::5/64", routes={"0.0.0.0/0": "10.0.0.1", "::/0": "2001:db8:1::1"})
    typed(machine, plan(machine, state, state))
    assert plan(machine, state, state) == ()
    machine.reconcile((key(state), None))


def test_a_typed_card_leaves_nothing_to_do(machine: Dataplane) -> None:
    machine.name_nics("card1")
    machine.sandbox.run(["ip", "link", "add", "card1", "type", "veth", "peer", "name", "wire1"])
    network = new_id()
    wanted = (("network", network), NetworkState(network, "card1"))
    typed(machine, machine.reconcile(wanted, dry_run=True)[0].operations)
    assert machine.reconcile(wanted, dry_run=True)[0].operations == ()
    typed(machine, machine.reconcile((("network", network), None), dry_run=True)[0].operations)
    assert machine.reconcile((("network", network), None), dry_run=True)[0].operations == ()
    machine.sandbox.run(["ip", "link", "delete", "card1"])


def test_typed_rules_that_were_tampered_with_are_ours_again(machine: Dataplane, worlds: dict[str, World]) -> None:
    state = worlds["tampering"].state
    machine.sandbox.run(["nft", "flush", "chain", "ip", "l3agent", "output"], netns=namespace(state))
    typed(machine, plan(machine, state, state))
    assert plan(machine, state, state) == ()
    machine.reconcile((key(state), None))
