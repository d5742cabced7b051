# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

from l3agent.model.router_keys import (
    keyed_states,
    merge_counters,
    merge_inspections,
    merge_reports,
    router_ids,
    router_keys,
)
from l3agent.model.states import NamespaceState, Report, RouterState

ID = "a0000001-0000-4000-8000-000000000000"
#: A second kind stands for the further namespaces of a router.
FIRST, SECOND = NamespaceState("router", ID), NamespaceState("host", "second")
BOTH = RouterState(ID, (FIRST, SECOND))


def test_a_router_is_sent_in_the_order_of_its_namespaces() -> None:
    assert keyed_states(ID, BOTH) == [(FIRST.key, FIRST), (SECOND.key, SECOND)]
    swapped = replace(BOTH, namespaces=(SECOND, FIRST))
    assert keyed_states(ID, swapped) == [(SECOND.key, SECOND), (FIRST.key, FIRST)]


def test_a_router_is_removed_in_reverse_order() -> None:
    assert keyed_states(ID, None, router_keys(ID, BOTH)) == [(SECOND.key, None), (FIRST.key, None)]


def test_a_router_of_which_nothing_is_known_is_removed_by_the_kinds_of_routers() -> None:
    assert keyed_states(ID, None) == [(("router", ID), None)]


def test_namespaces_that_a_router_no_longer_has_are_removed_first() -> None:
    only_first, only_second = (replace(BOTH, namespaces=(one,)) for one in (FIRST, SECOND))
    former = router_keys(ID, BOTH)
    assert keyed_states(ID, only_first, former) == [(SECOND.key, None), (FIRST.key, FIRST)]
    assert keyed_states(ID, only_second, former) == [(FIRST.key, None), (SECOND.key, SECOND)]
    # Also if a former process has made it.
    assert keyed_states(ID, only_second) == [(FIRST.key, None), (SECOND.key, SECOND)]


def test_a_router_with_one_namespace_is_one_request() -> None:
    state = RouterState(ID, (FIRST,))
    assert keyed_states(ID, state, router_keys(ID, state)) == [(FIRST.key, FIRST)]
    assert keyed_states(ID, state)[0][1] is FIRST


def test_reports_are_merged_in_order() -> None:
    reports = [
        Report("router", ID, ("a", "b"), None, {"observe": 1.0, "plan": 2.0}, 2),
        Report("host", "second", ("c",), "first error", {"observe": 0.5, "apply": 4.0}, 9),
        Report("host", "third", (), "second error", {}, 1),
    ]
    timings = {"observe": 1.5, "plan": 2.0, "apply": 4.0}
    assert merge_reports(ID, reports) == Report("router", ID, ("a", "b", "c"), "host: first error", timings, 12)
    assert merge_reports(ID, reports[:1]) == reports[0]
    # The only namespace of a router needs no name.
    assert merge_reports(ID, reports[1:2]).error == "first error"
    assert merge_reports(ID, []) == Report("router", ID)


def test_inspections_and_counters_are_merged() -> None:
    one, two = {"desired": [{"a": 1}], "actual": []}, {"desired": [{"b": 2}], "actual": [{"c": 3}]}
    assert merge_inspections([one, two]) == {"desired": [{"a": 1}, {"b": 2}], "actual": [{"c": 3}]}
    first = {"devices": {"qr-1": 1}, "floating_ips": None}
    second = {"devices": {"qg-2": 2}, "floating_ips": {"203.0.113.7": 3}}
    assert merge_counters([first, None]) == first
    assert merge_counters([None]) is None
    merged = {"devices": {"qr-1": 1, "qg-2": 2}, "floating_ips": {"203.0.113.7": 3}}
    assert merge_counters([first, second, None]) == merged


def test_an_inventory_names_routers_once() -> None:
    assert router_ids({"router": ["r1", "r2"], "host": ["h1"], "network": ["n1"]}) == {"r1", "r2"}
    assert router_ids({}) == set()
