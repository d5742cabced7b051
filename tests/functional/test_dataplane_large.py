# SPDX-License-Identifier: Apache-2.0
"""A router with thousands of floating IPs delays no other router, and its work can be interrupted between slices."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from l3agent.model.states import NamespaceState
from l3agent.model.wire import pack_state
from l3agent.testing import wait_until
from tests.functional.test_dataplane_changes import meaning
from tests.support.crashes import Mortal
from tests.support.processes import Dataplane
from tests.support.states import floating_ips, key, namespace, new_id, port, route, router

pytestmark = pytest.mark.kernel

_MANY = 3000
_FLOATING, _FIXED = int(IPv4Address("198.18.0.0")), int(IPv4Address("10.0.1.0"))


def many(count: int) -> dict[str, str]:
    return {str(IPv4Address(_FLOATING + n)): str(IPv4Address(_FIXED + n)) for n in range(count)}


def large(count: int) -> NamespaceState:
    inner, gateway = port(new_id(), "10.0.0.1/16"), port(new_id(), "203.0.113.10/24", gateway=True)
    return router(inner, gateway=gateway, routes=[route("0.0.0.0/0", (gateway, "203.0.113.1"))], fips=many(count))


def request(machine: Dataplane, state: NamespaceState, wanted: NamespaceState | None, **options: object) -> int:
    return machine.send("reconcile", {"states": [pack_state(key(state), wanted)], "lines": 10, **options})


def served_meanwhile(machine: Dataplane, number: int, other: NamespaceState) -> int:
    """Return how many changes of another router were answered before a request was."""
    served = 0
    less = replace(other, floating_ips=frozenset())
    while not machine.has_answer(number):
        (report,) = machine.answer(request(machine, other, (less, other)[served % 2]))
        assert report["error"] is None
        served += 1
    (report,) = machine.answer(number)
    assert report["error"] is None, report["error"]
    return served


@pytest.mark.feature("dataplane.large-routers")
def test_other_routers_are_served_while_a_large_one_changes(machine: Dataplane) -> None:
    state, other = large(_MANY), large(2)
    half = replace(state, floating_ips=floating_ips(many(_MANY // 2)))
    assert machine.reconcile((key(other), other))[0].error is None
    for wanted in (state, half, state):
        # The first of them may be answered before the work begins.
        assert served_meanwhile(machine, request(machine, state, wanted), other) >= 3
        assert machine.reconcile((key(state), wanted), dry_run=True)[0].operations == ()
    assert machine.reconcile((key(state), None), (key(other), None))[0].error is None


@pytest.mark.feature("dataplane.large-routers")
def test_a_newer_request_supersedes_the_one_under_way(machine: Dataplane) -> None:
    state = large(_MANY)
    half = replace(state, floating_ips=floating_ips(many(_MANY // 2)))
    older, newer = request(machine, state, state), request(machine, state, half)
    (first,), (second,) = machine.answer(older), machine.answer(newer)
    assert "superseded" in first["error"]
    assert second["error"] is None
    assert machine.reconcile((key(state), half), dry_run=True)[0].operations == ()
    older, newer = request(machine, state, state), request(machine, state, None)
    (first,), (second,) = machine.answer(older), machine.answer(newer)
    assert "superseded" in first["error"]
    assert second["error"] is None
    assert namespace(state) not in machine.sandbox.run(["ip", "netns"])


def test_drift_while_a_large_router_changes_is_repaired(machine: Dataplane) -> None:
    state = large(_MANY)
    half = replace(state, floating_ips=floating_ips(many(_MANY // 2)))
    assert machine.reconcile((key(state), half))[0].error is None
    assert state.gateway is not None
    device, name = state.gateway.device, namespace(state)
    number, other = request(machine, state, state), large(0)
    removed = 0
    while not machine.has_answer(number):
        victim = str(IPv4Address(_FLOATING + removed))
        machine.sandbox.run(["ip", "address", "delete", f"{victim}/32", "dev", device], netns=name)
        removed += 1
        assert machine.answer(request(machine, other, None))[0]["error"] is None
    assert machine.answer(number)[0]["error"] is None

    def addresses() -> set[str]:
        (found,) = machine.sandbox.json(f"ip -n {name} -j address show dev {device}")
        return {one["local"] for one in found["addr_info"]}

    wait_until(lambda: addresses() >= set(many(_MANY)), timeout=60)
    machine.reconcile((key(state), None))


@pytest.mark.feature("dataplane.large-routers")
def test_killed_between_slices_a_large_router_is_completed(mortal: Mortal) -> None:
    state = large(400)
    half = replace(state, floating_ips=floating_ips(many(200)))
    for before, least in ((None, 5), (half, 2)):
        results = []
        for _ in mortal.deaths(key(state), lambda before=before: mortal.reconcile((key(state), before)), state):
            assert mortal.reconcile((key(state), state))[0].error is None
            assert mortal.reconcile((key(state), state))[0].operations == ()
            results.append(meaning(mortal, state))
        assert len(results) >= least
        assert results == [meaning(mortal, state)] * len(results)
