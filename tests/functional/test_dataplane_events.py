# SPDX-License-Identifier: Apache-2.0
"""Changes by an operator: events of the kernel lead to the repair of our entries without a request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from l3agent.testing import wait_until
from tests.functional.test_dataplane_changes import CHANGES, Change, wait_until_removed
from tests.functional.test_dataplane_changes import World as Changing
from tests.functional.test_dataplane_drift import (
    FOREIGN_INSIDE,
    FOREIGN_OUTSIDE,
    INSIDE,
    OUTSIDE,
    SETTINGS,
    World,
    a_world,
)
from tests.support.processes import Dataplane
from tests.support.sandbox import Sandbox, SandboxError
from tests.support.states import key
from tests.support.watch import ip_events

#: How long a busy machine may take.
_PATIENCE_S = 10
#: How long it may take until each state was read again, at most.
_ROTATION_S = 90
_LINK_EVENTS = 20_000

pytestmark = pytest.mark.kernel


@pytest.fixture
def world(machine: Dataplane) -> Iterator[World]:
    world = a_world(machine)
    world.reconcile()
    yield world
    wait_until_removed(machine, world.state)


@pytest.fixture
def looks(machine: Dataplane) -> Iterator[Looks]:
    looks = Looks(machine)
    yield looks
    looks.close()


def stats(machine: Dataplane) -> dict[str, int]:
    return dict(machine.request("stats", {}))


class Looks:
    """Counts observations of routers; all events before the count were read, since that of a mark of ours was."""

    def __init__(self, machine: Dataplane) -> None:
        self._mark = a_world(machine)
        self._mark.reconcile()

    def count(self) -> int:
        """Return the looks so far, those at the mark left out."""
        machine = self._mark.machine
        before = stats(machine)
        self._mark.inside("ip address add 10.0.0.99/24 dev QR")
        wait_until(lambda: stats(machine)["repairs"] > before["repairs"], timeout=_PATIENCE_S)
        return before["observations"] if stats(machine)["observations"] == before["observations"] + 1 else -1

    def close(self) -> None:
        wait_until_removed(self._mark.machine, self._mark.state)


# ---- what is undone -----------------------------------------------------------------------------------------------


@pytest.mark.feature("operation.drift")
@pytest.mark.parametrize("command", [one for one in [*INSIDE, *OUTSIDE] if "printf" not in one])
def test_a_hand_is_undone_without_being_asked(world: World, command: str) -> None:
    before, counted = world.everything(), stats(world.machine)["repairs"]
    if command in OUTSIDE:
        world.outside(command)
    else:
        world.inside(command)
    wait_until(lambda: stats(world.machine)["repairs"] > counted, timeout=_PATIENCE_S)
    wait_until(lambda: same(world, before), timeout=_PATIENCE_S)
    assert world.reconcile() == ()
    assert "changed by another program; repaired" in world.machine.log.read_text()


def test_settings_are_restored_without_an_event_and_without_a_request(world: World) -> None:
    before, counted = world.everything(), stats(world.machine)["repairs"]
    # One for each way in which settings are read, and the others together.
    alone = ["net.ipv4.ip_forward=0", "net.ipv4.conf.QR.forwarding=0", "net.netfilter.nf_conntrack_tcp_be_liberal=0"]
    for settings in (*alone, " ".join(one for one in SETTINGS if one not in alone)):
        world.inside(f"sysctl -qw {settings}")
        wait_until(partial(same, world, before), timeout=_ROTATION_S)
    assert stats(world.machine)["repairs"] >= counted + len(alone) + 1
    assert f"sysctl -w net.ipv4.conf.{world.inner.device}.forwarding=1" in world.machine.log.read_text()


def same(world: World, before: object) -> bool:
    """Return True if all is as before; during a repair, an object to query may be missing."""
    try:
        return world.everything() == before
    except (SandboxError, ValueError, AssertionError):
        return False


@pytest.mark.feature("operation.drift")
def test_each_of_many_hands_is_undone(world: World) -> None:
    """The time is measured by ``python -m tests.bench repair``."""
    with ip_events(world.machine.sandbox, world.namespace) as events:
        # Another address each time: the same again and again would be a fight.
        addresses = [f"10.0.0.{number}/24" for number in range(101, 110)]
        for address in addresses:
            world.inside(f"ip address add {address} dev QR")
        wait_until(lambda: all(came_and_went(events.so_far(), one) for one in addresses), timeout=_PATIENCE_S)


def came_and_went(lines: Sequence[str], address: str) -> bool:
    return sum(f"inet {address}" in line for line in lines) == 2


@pytest.mark.feature("operation.drift")
def test_events_that_were_lost_lead_to_a_look_at_everything(machine: Dataplane) -> None:
    worlds = [a_world(machine), a_world(machine)]
    before = []
    for world in worlds:
        world.reconcile()
        before.append(world.everything())
    lost = stats(machine)["lost_events"]
    renamed = "".join(f"link set lo alias number-{number}\n" for number in range(_LINK_EVENTS))
    with machine.paused():
        machine.sandbox.run(["ip", "-batch", "-"], input=renamed, timeout=120)
        for world in worlds:
            machine.sandbox.run(["ip", "address", "flush", "dev", world.inner.device], netns=world.namespace)
            machine.sandbox.run(["nft", "flush", "ruleset"], netns=world.namespace)
    for world, as_it_was in zip(worlds, before, strict=True):
        wait_until(partial(same, world, as_it_was), timeout=_PATIENCE_S)
    assert stats(machine)["lost_events"] > lost
    for world in worlds:
        wait_until_removed(machine, world.state)


# ---- what costs no look -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.replace("_", "-"))
def test_what_we_do_ourselves_costs_no_look(machine: Dataplane, looks: Looks, change: Change) -> None:
    world, before = Changing(machine), looks.count()
    for state in (world.state, change(world), world.state):
        assert machine.reconcile((key(world.state), state))[0].error is None
        assert looks.count() == (before := before + 1)
    wait_until_removed(machine, world.state)


def test_what_is_not_ours_costs_no_look(world: World, looks: Looks) -> None:
    before = looks.count()
    world.inside("set -e" + FOREIGN_INSIDE)
    world.outside("set -e" + FOREIGN_OUTSIDE)
    assert looks.count() == before + 1


# ---- a fight ------------------------------------------------------------------------------------------------------


def test_a_repair_that_is_reverted_is_logged_and_backs_off(world: World) -> None:
    machine, before, counted = world.machine, world.everything(), stats(world.machine)["repairs"]
    fighter = "while :; do ip address delete 10.0.0.1/24 dev QR 2>/dev/null; sleep 0.01; done"
    by_the_clock = ["sh", "-c", 'timeout 4 sh -c "$0" || true', fighter.replace("QR", world.inner.device)]
    machine.sandbox.run(by_the_clock, netns=world.namespace)
    assert 3 <= stats(machine)["repairs"] - counted <= 8
    assert "another program keeps reverting it" in machine.log.read_text()
    wait_until(partial(same, world, before), timeout=_PATIENCE_S)


def test_hands_are_let_do_where_repair_is_off(sandbox: Sandbox, folder: Path) -> None:
    machine = Dataplane(sandbox, folder, repair_drift=False)
    machine.start()
    world = a_world(machine)
    world.reconcile()
    world.inside("ip address delete 10.0.0.1/24 dev QR")
    assert stats(machine)["observations"] == 0
    assert len(world.reconcile()) == 1
    machine.hang_up()
