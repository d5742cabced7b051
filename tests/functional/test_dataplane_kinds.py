# SPDX-License-Identifier: Apache-2.0
"""Kinds that few routers have: built, changed, removed, repaired by event, adopted; foreign objects stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from l3agent.model.states import NamespaceState, Neighbour, NextHop, PolicyRule, Route
from l3agent.testing import wait_until
from tests.functional.test_dataplane_changes import wait_until_removed
from tests.functional.test_dataplane_drift import World, a_world
from tests.functional.test_dataplane_events import Looks
from tests.support.crashes import Mortal
from tests.support.processes import Dataplane
from tests.support.states import key

#: How long a busy machine may take.
_PATIENCE_S = 20

pytestmark = pytest.mark.kernel


@dataclass(frozen=True)
class Sample:
    """Objects of a kind.

    :param before: a field of the state and its value, from the devices inside and outside.
    :param after: another value.
    :param listing: the command that lists the objects of the kind.
    :param lines: the lines of ours in it, and those after the change.
    :param removal: removes one of ours.
    :param stray: adds one that looks like ours.
    :param foreign: adds one of another program, which stays.
    """

    field: str
    before: Callable[[str, str], object]
    after: Callable[[str, str], object]
    listing: str
    lines: tuple[frozenset[str], frozenset[str]]
    removal: str
    stray: str
    foreign: str
    foreign_line: str


def _route(destination: str, device: str, via: str, table: int) -> Route:
    return Route(ip_network(destination), frozenset({NextHop(device, ip_address(via))}), table)


RULES = Sample(
    "rules",
    lambda inner, outer: frozenset(
        {PolicyRule(100, 16, ip_network("10.0.0.0/24"), None), PolicyRule(101, 2852018310, None, inner)}
    ),
    lambda inner, outer: frozenset(
        {PolicyRule(100, 17, ip_network("10.0.0.0/24"), None), PolicyRule(102, 16, ip_network("2001:db8::/64"), outer)}
    ),
    "ip rule; ip -6 rule",
    (
        frozenset(
            {
                "100: from 10.0.0.0/24 lookup 16 proto 201",
                "101: from all iif QR lookup 2852018310 proto 201",
                "101: from all iif QR lookup 2852018310 proto 201 (1)",
            }
        ),
        frozenset(
            {"100: from 10.0.0.0/24 lookup 17 proto 201", "102: from 2001:db8::/64 iif QG lookup 16 proto 201 (1)"}
        ),
    ),
    "ip rule delete priority 100; ip -6 rule delete priority 101",
    "ip rule add priority 103 from 10.0.9.0/24 lookup 16 protocol 201",
    "ip rule add priority 100 from 10.0.0.0/24 lookup 16; ip -6 rule add priority 99 from all lookup 20 protocol 4",
    "100: from 10.0.0.0/24 lookup 16",
)
NEIGHBOURS = Sample(
    "neighbours",
    lambda inner, outer: frozenset(
        {
            Neighbour(inner, ip_address("10.0.0.7"), "fa:16:3e:00:00:07"),
            Neighbour(inner, ip_address("2001:db8:1::7"), "fa:16:3e:00:00:07"),
        }
    ),
    lambda inner, outer: frozenset(
        {
            Neighbour(inner, ip_address("10.0.0.7"), "fa:16:3e:00:00:08"),
            Neighbour(outer, ip_address("203.0.113.7"), "fa:16:3e:00:00:07"),
        }
    ),
    "ip neighbour show nud permanent",
    (
        frozenset(
            {
                "10.0.0.7 dev QR lladdr fa:16:3e:00:00:07 PERMANENT proto 201",
                "2001:db8:1::7 dev QR lladdr fa:16:3e:00:00:07 PERMANENT proto 201",
            }
        ),
        frozenset(
            {
                "10.0.0.7 dev QR lladdr fa:16:3e:00:00:08 PERMANENT proto 201",
                "203.0.113.7 dev QG lladdr fa:16:3e:00:00:07 PERMANENT proto 201",
            }
        ),
    ),
    "ip neighbour delete 10.0.0.7 dev QR; ip neighbour replace 2001:db8:1::7 lladdr 02:00:00:00:00:01 dev QR "
    "nud permanent protocol 4",
    "ip neighbour add 10.0.0.9 lladdr 02:00:00:00:00:01 dev QR nud permanent protocol 201",
    "ip neighbour add 10.0.0.8 lladdr 02:00:00:00:00:01 dev QR nud permanent",
    "10.0.0.8 dev QR lladdr 02:00:00:00:00:01 PERMANENT",
)
TABLES = Sample(
    "routes",
    lambda inner, outer: frozenset(
        {
            _route("198.51.100.0/24", inner, "10.0.0.9", 16),
            _route("0.0.0.0/0", outer, "203.0.113.9", 2852018310),
            _route("2001:db8:7::/64", inner, "2001:db8:1::9", 16),
        }
    ),
    lambda inner, outer: frozenset(
        {
            _route("198.51.100.0/24", inner, "10.0.0.8", 16),
            _route("198.51.100.0/24", inner, "10.0.0.9", 17),
        }
    ),
    "ip -4 route show table all | grep 'table [0-9]' || true; ip -6 route show table all | grep 'table [0-9]' || true",
    (
        frozenset(
            {
                "198.51.100.0/24 via 10.0.0.9 dev QR table 16 proto 201",
                "default via 203.0.113.9 dev QG table 2852018310 proto 201",
                "2001:db8:7::/64 via 2001:db8:1::9 dev QR table 16 proto 201 metric 1024 onlink pref medium (1)",
            }
        ),
        frozenset(
            {
                "198.51.100.0/24 via 10.0.0.8 dev QR table 16 proto 201",
                "198.51.100.0/24 via 10.0.0.9 dev QR table 17 proto 201",
            }
        ),
    ),
    "ip route delete 198.51.100.0/24 table 16; ip -6 route flush table 16; "
    "ip route replace default via 203.0.113.8 table 2852018310",
    "ip route add 198.51.101.0/24 via 10.0.0.9 table 16 protocol 201",
    "ip route add 198.51.102.0/24 via 10.0.0.9 table 16",
    "198.51.102.0/24 via 10.0.0.9 dev QR table 16",
)
SAMPLES = {"rules": RULES, "neighbours": NEIGHBOURS, "tables": TABLES}


class Kind:
    """A router with the objects of a sample."""

    def __init__(self, world: World, sample: Sample) -> None:
        self.world, self.sample = world, sample
        self.plain = world.state
        inner, outer = world.inner.device, world.gateway.device
        self.before = self._with(sample.before(inner, outer))
        self.after = self._with(sample.after(inner, outer))

    def _with(self, value: object) -> NamespaceState:
        fields: dict[str, Any] = {self.sample.field: value}
        if isinstance(value, frozenset) and self.sample.field == "routes":
            fields["routes"] = self.plain.routes | value
        return replace(self.plain, **fields)

    def apply(self, state: NamespaceState) -> tuple[str, ...]:
        (report,) = self.world.machine.reconcile((key(state), state))
        assert report.error is None, report.error
        return report.operations

    def lines(self) -> set[str]:
        """Return the lines of the listing, each with the number of its command, with short names of devices."""
        found = set()
        for number, command in enumerate(self.sample.listing.split("; ")):
            text = self.world.inside(command).replace(self.world.inner.device, "QR")
            for line in text.replace(self.world.gateway.device, "QG").splitlines():
                found.add(" ".join(line.split()).removesuffix(" dead linkdown") + (f" ({number})" if number else ""))
        return found

    def ours(self) -> set[str]:
        """Return the lines with our protocol."""
        return {line for line in self.lines() if "proto 201" in line}


@pytest.fixture(params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> Sample:
    return SAMPLES[request.param]


@pytest.fixture
def kind(machine: Dataplane, sample: Sample) -> Iterator[Kind]:
    kind = Kind(a_world(machine), sample)
    yield kind
    wait_until_removed(machine, kind.plain)


def test_they_are_built_changed_and_removed(kind: Kind) -> None:
    before, after = kind.sample.lines
    kind.apply(kind.before)
    assert kind.ours() == before
    assert kind.apply(kind.before) == ()
    kind.apply(kind.after)
    assert kind.ours() == after
    assert kind.apply(kind.plain) != ()
    assert kind.ours() == set()
    assert kind.apply(kind.plain) == ()
    # With the next observation as well.
    kind.world.machine.request("invalidate", {"keys": None})
    assert kind.apply(kind.after) != () and kind.ours() == after
    kind.world.machine.request("invalidate", {"keys": None})
    kind.apply(kind.plain)
    assert kind.ours() == set()


@pytest.mark.feature("operation.drift")
def test_manual_changes_are_repaired_by_event_and_foreign_objects_stay(kind: Kind) -> None:
    before, _ = kind.sample.lines
    kind.apply(kind.before)
    kind.world.inside(kind.sample.foreign)
    wait_until(lambda: kind.ours() == before, timeout=_PATIENCE_S)
    with_foreign = kind.lines()
    assert kind.sample.foreign_line in with_foreign
    kind.world.inside(kind.sample.removal)
    wait_until(lambda: kind.ours() == before, timeout=_PATIENCE_S)
    kind.world.inside(kind.sample.stray)
    wait_until(lambda: kind.ours() == before, timeout=_PATIENCE_S)
    assert kind.lines() == with_foreign
    kind.apply(kind.plain)
    assert kind.lines() == with_foreign - before


def test_a_device_that_was_set_down_or_deleted_is_repaired_with_them(kind: Kind) -> None:
    before, _ = kind.sample.lines
    kind.apply(kind.before)
    for command in ("ip link set QR down", "ip link delete QR"):
        kind.world.inside(command)
        # Rules stay: until the data plane has received the event, the state looks as if it were repaired.
        wait_until(lambda: kind.ours() == before and kind.apply(kind.before) == (), timeout=_PATIENCE_S)


def test_a_killed_data_plane_adopts_completes_and_removes_them(mortal: Mortal, sample: Sample) -> None:
    kind = Kind(a_world(mortal), sample)
    before, _ = sample.lines
    deaths = 0
    for _ in mortal.deaths(key(kind.before), lambda: kind.apply(kind.plain), kind.before):
        deaths += 1
        kind.apply(kind.before)
        assert kind.ours() == before
        assert kind.apply(kind.before) == ()
    assert deaths
    mortal.kill()
    mortal.hang_up()
    mortal.start()
    assert kind.apply(kind.before) == ()
    mortal.kill()
    mortal.hang_up()
    mortal.start()
    # The new process has not seen a state with them.
    assert kind.apply(kind.plain) != ()
    assert kind.ours() == set()
    wait_until_removed(mortal, kind.plain)


@pytest.mark.parametrize("source", ["10.0.0.0/24", "2001:db8::/64"])
def test_a_removed_rule_takes_no_rule_with_it_that_has_a_device_as_well(machine: Dataplane, source: str) -> None:
    world = a_world(machine)
    kept = PolicyRule(100, 16, ip_network(source), world.inner.device)
    states = [replace(world.state, rules=frozenset(rules)) for rules in ({kept}, {kept, replace(kept, device=None)})]
    # The kernel deletes the first rule that matches.
    for state in (*states, states[0]):
        world.state = state
        world.reconcile()
    found = world.inside("ip rule; ip -6 rule").splitlines()
    assert [line.split() for line in found if "proto 201" in line] == [
        f"100: from {source} iif {world.inner.device} lookup 16 proto 201".split()
    ]
    wait_until_removed(machine, world.state)


def test_a_rule_that_ignores_some_results_of_its_table_is_not_ours(machine: Dataplane) -> None:
    kind = Kind(a_world(machine), RULES)
    kind.apply(kind.before)
    before, _ = kind.sample.lines
    kind.world.inside(
        "ip rule delete priority 100; "
        "ip rule add priority 100 from 10.0.0.0/24 lookup 16 suppress_prefixlength 0 protocol 201"
    )
    foreign = "100: from 10.0.0.0/24 lookup 16 suppress_prefixlength 0 proto 201"
    wait_until(lambda: kind.ours() == before | {foreign}, timeout=_PATIENCE_S)
    assert kind.apply(kind.before) == ()
    wait_until_removed(machine, kind.plain)


def test_a_neighbour_that_a_dynamic_one_replaced_is_repaired(machine: Dataplane) -> None:
    kind = Kind(a_world(machine), NEIGHBOURS)
    kind.apply(kind.before)
    before, _ = kind.sample.lines
    kind.world.inside("ip neighbour replace 10.0.0.7 lladdr 02:00:00:00:00:01 dev QR nud stale protocol 4")
    wait_until(lambda: kind.ours() == before, timeout=_PATIENCE_S)
    assert kind.apply(kind.before) == ()
    wait_until_removed(machine, kind.plain)


def test_dynamic_and_foreign_neighbours_cause_no_observation(machine: Dataplane) -> None:
    kind = Kind(a_world(machine), NEIGHBOURS)
    kind.apply(kind.before)
    looks = Looks(machine)
    before = looks.count()
    commands = [f"ip neighbour replace 10.0.0.{n} lladdr 02:00:00:00:00:01 dev QR nud reachable" for n in range(20, 40)]
    commands += [f"ip neighbour delete 10.0.0.{n} dev QR" for n in range(20, 30)]
    kind.world.inside("; ".join([*commands, kind.sample.foreign]))
    assert looks.count() == before + 1, "one for the mark itself"
    looks.close()
    wait_until_removed(machine, kind.plain)
