# SPDX-License-Identifier: Apache-2.0
"""Killed after any of its sends, the data plane leaves state that its successor recognises, completes and announces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from l3agent.model.states import NamespaceState, NetworkState
from l3agent.testing import wait_until
from tests.functional.test_dataplane_changes import leftovers, meaning
from tests.support.crashes import Mortal
from tests.support.flows import CHANGES, FIRST, FLOWS, OUTSIDE, Change, World, a_floating_ip_removed, snat_switched_off
from tests.support.kernel import observed
from tests.support.states import bridge, key, namespace, new_id
from tests.support.watch import Program, capture


@pytest.fixture(scope="module")
def world(mortal: Mortal) -> World:
    return World(mortal)


@pytest.fixture
def frames(world: World) -> Iterator[Program]:
    """Capture announcements on the external network."""
    with capture(world.machine.sandbox, bridge(world.gateway.network_id), "arp") as frames:
        yield frames


def announced(frames: Program, address: str) -> int:
    return sum(f"Request who-has {address} tell {address}," in line for line in frames.lines())


def an_address_outside(state: NamespaceState) -> str | None:
    return None if state.nat_address is None else str(state.nat_address)


def completed(mortal: Mortal, state: NamespaceState, frames: Program) -> object:
    """Apply the state with the new process; return the kernel state after that."""
    address = an_address_outside(state)
    before = announced(frames, str(address))
    (report,) = mortal.reconcile((key(state), state))
    assert report.error is None
    assert mortal.reconcile((key(state), state))[0].operations == ()
    if address is not None:
        wait_until(lambda: announced(frames, address) > before, timeout=10)
    return meaning(mortal, state)


@pytest.mark.feature("dataplane.crash-safety")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.replace("_", "-"))
def test_a_change_is_completed_and_its_flows_are_gone(
    mortal: Mortal, world: World, frames: Program, change: Change
) -> None:
    after = change(world)
    results = []

    def prepare() -> None:
        world.reconcile(world.router)
        world.restore_flows()

    for _ in mortal.deaths(key(after), prepare, after):
        results.append(completed(mortal, after, frames))
        assert world.flows() == set(FLOWS) - CHANGES[change]
    # At last it was brought about without a death.
    assert world.flows() == set(FLOWS) - CHANGES[change]
    assert results
    assert results == [meaning(mortal, after)] * len(results)


def test_an_added_floating_ip_has_no_untranslated_entry_left(mortal: Mortal, world: World) -> None:
    other = (OUTSIDE, "203.0.113.150")
    deaths = 0

    def prepare() -> None:
        world.reconcile(a_floating_ip_removed(world))
        flow = "-p tcp --sport 1 --dport 7 --state SYN_SENT -t 600"
        world.restore([f"-I -s {OUTSIDE} -d {to} {flow}\n" for to in (FIRST, other[1])])
        assert world.flows() == {(OUTSIDE, FIRST), other}

    for _ in mortal.deaths(key(world.router), prepare, world.router):
        deaths += 1
        world.reconcile(world.router)
        assert world.flows() == {other}
    assert world.flows() == {other}
    assert deaths >= 3
    assert observed(mortal.sandbox, namespace(world.router)), "the journal is empty"


def test_what_leaves_without_nat_ends_when_snat_is_switched_on(mortal: Mortal, world: World) -> None:
    leaving, between, inwards = ("10.0.0.7", OUTSIDE), ("10.0.1.8", "10.0.0.7"), (OUTSIDE, "10.0.0.7")
    deaths = 0

    def prepare() -> None:
        world.reconcile(snat_switched_off(world))
        flow = "-p tcp --sport 1 --dport 7 --state ESTABLISHED -t 600 -u SEEN_REPLY"
        world.restore([f"-I -s {source} -d {to} {flow}\n" for source, to in (leaving, between, inwards)])
        assert world.flows() == {leaving, between, inwards}

    for _ in mortal.deaths(key(world.router), prepare, world.router):
        deaths += 1
        world.reconcile(world.router)
        assert world.flows() == {between, inwards}
    assert world.flows() == {between, inwards}
    assert deaths >= 3
    assert observed(mortal.sandbox, namespace(world.router)), "the journal is empty"


@pytest.mark.feature("dataplane.crash-safety")
def test_a_build_is_completed(mortal: Mortal, world: World, frames: Program) -> None:
    state = world.router
    results = []

    def prepare() -> None:
        assert mortal.reconcile((key(state), None))[0].error is None

    for _ in mortal.deaths(key(state), prepare, state):
        results.append(completed(mortal, state, frames))
    assert len(results) >= 5
    assert results == [meaning(mortal, state)] * len(results)


@pytest.mark.feature("dataplane.crash-safety")
def test_killed_while_the_card_changes_no_former_one_is_left_in_the_bridge(mortal: Mortal) -> None:
    sandbox, network = mortal.sandbox, new_id()
    mortal.name_nics("card1", "card2", "card3")
    for number in (1, 2, 3):
        sandbox.run(["ip", "link", "add", f"card{number}", "type", "veth", "peer", "name", f"wire{number}"])
    first, second, third = ((("network", network), NetworkState(network, f"card{number}")) for number in (1, 2, 3))

    def ports() -> set[str]:
        found = sandbox.json("ip -j link show type veth")
        return {one["ifname"] for one in found if one.get("master") == bridge(network)}

    def prepare() -> None:
        assert mortal.reconcile((first[0], None), first)[1].error is None
        assert ports() == {"card1"}

    deaths = 0
    for _ in mortal.deaths(first[0], prepare, second[1]):
        deaths += 1
        assert mortal.reconcile(third)[0].error is None
        assert ports() == {"card3"}
    assert deaths >= 2
    assert ports() == {"card2"}
    assert mortal.reconcile((first[0], None))[0].error is None
    for number in (1, 2, 3):
        sandbox.run(["ip", "link", "delete", f"card{number}"])


@pytest.mark.feature("dataplane.crash-safety")
def test_a_removal_is_completed(mortal: Mortal, world: World) -> None:
    deaths = 0
    for _ in mortal.deaths(key(world.router), lambda: world.reconcile(world.router), None):
        deaths += 1
        (report,) = mortal.reconcile((key(world.router), None))
        assert report.error is None
        # The bridges have the hosts' ports.
        wait_until(lambda: all(one.startswith("brq") for one in leftovers(mortal, world.router)), timeout=15)
    assert deaths >= 2
