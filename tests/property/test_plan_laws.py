# SPDX-License-Identifier: Apache-2.0
"""The laws of the plan, on drawn states and a fake kernel with a memory."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3agent.dataplane.netlink.tables import FLOATING_DNAT, GATEWAY_SNAT
from l3agent.dataplane.plan.diff import diff
from l3agent.dataplane.plan.drivers import InterfaceDriver, load_driver
from l3agent.dataplane.plan.kinds.address import DeviceAddress
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.bridge import Bridge
from l3agent.dataplane.plan.kinds.connected_route import ConnectedRoute
from l3agent.dataplane.plan.kinds.device_settings import DeviceSettings
from l3agent.dataplane.plan.kinds.element import Element
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.pending_flush import PendingFlush
from l3agent.dataplane.plan.kinds.route import KernelRoute
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.dataplane.plan.kinds.table import Table
from l3agent.dataplane.plan.pending import removed_mappings
from l3agent.dataplane.plan.render import changed_entries, entries
from l3agent.model.states import Key, NamespaceState
from tests.support.fake_kernel import FakeKernel
from tests.support.strategies import host_states, router_states

DRIVERS = (
    load_driver("bridge"),
    load_driver("linuxbridge"),
    load_driver("openvswitch"),
    load_driver("openvswitch", external_bridge="br-ex", use_veth=True),
)
KEY: Key = ("router", "r")


def rendered(state: NamespaceState | None, driver: InterfaceDriver = DRIVERS[0]) -> frozenset[Entry]:
    return entries(KEY, state, driver)


@st.composite
def entry_sets(draw: st.DrawFn) -> frozenset[Entry]:
    """What one router should hold; its id is always the same, so that two of them are two moments of one router.

    The interface driver may be another one then."""
    state = draw(st.none() | router_states())
    if state is None:
        return frozenset()
    same = replace(state, id="r")
    return _possible(rendered(same, draw(st.sampled_from(DRIVERS))))


def _possible(wanted: frozenset[Entry]) -> frozenset[Entry]:
    """Leave out what no kernel can hold: two entries of one identity, connected routes without their address."""
    kept: dict[tuple[type, object], Entry] = {}
    for entry in wanted:
        kept.setdefault((type(entry), entry.identity()), entry)
    connected = {(one.device, one.interface.network) for one in kept.values() if isinstance(one, DeviceAddress)}
    return frozenset(
        one for one in kept.values() if not isinstance(one, ConnectedRoute) or (one.device, one.network) in connected
    )


@given(router_states(), router_states(), st.booleans())
def test_a_change_known_from_two_states_is_the_one_that_a_look_would_find(
    old: NamespaceState, drawn: NamespaceState, only_floating_ips: bool
) -> None:
    old = replace(old, id="r")
    if only_floating_ips:
        new = replace(old, floating_ips=drawn.floating_ips if old.gateway else frozenset())
    else:
        new = replace(drawn, id="r", ports=old.ports, gateway=old.gateway)
    known = changed_entries(KEY, old, new, DRIVERS[0])
    assert known is not None
    before, after = known
    assert diff(after, before) == diff(rendered(new), rendered(old))


def settled(kernel: FakeKernel, wanted: frozenset[Entry]) -> None:
    """Look and mend as the data plane does: again while carrying out may have taken something along."""
    for _ in range(3):
        plan = diff(wanted, kernel.entries)
        kernel.run(plan.operations)
        if not plan.needs_reobserve():
            return


def without_bridges(held: set[Entry] | frozenset[Entry]) -> set[Entry]:
    # A bridge goes when its last port has gone, in idle time: no plan removes one.
    return {one for one in held if not isinstance(one, Bridge)}


@given(entry_sets())
def test_nothing_is_planned_for_what_is_right(wanted: frozenset[Entry]) -> None:
    assert not diff(wanted, wanted)


@given(entry_sets(), entry_sets())
def test_a_plan_leads_from_anything_to_what_is_wanted(wanted: frozenset[Entry], held: frozenset[Entry]) -> None:
    kernel = FakeKernel(held)
    settled(kernel, wanted)
    assert without_bridges(kernel.entries) == without_bridges(wanted)
    assert not diff(wanted, kernel.entries - (kernel.of(Bridge) - wanted))


@given(entry_sets(), st.data())
def test_what_the_kernel_lost_of_what_it_makes_by_itself_comes_back(
    wanted: frozenset[Entry], data: st.DataObject
) -> None:
    inherent = [one for one in wanted if isinstance(one, ConnectedRoute | DeviceSettings)]
    if not inherent:
        return
    lost = data.draw(st.sets(st.sampled_from(inherent), min_size=1))
    assert [(one.verb, one.entry) for one in diff(wanted, wanted - lost).operations] == [
        ("add", one) for one in sorted(lost, key=lambda one: str(one.identity()))
    ]


@given(entry_sets(), entry_sets(), st.integers(0, 200))
def test_a_plan_stopped_anywhere_is_completed_by_the_next_look(
    wanted: frozenset[Entry], held: frozenset[Entry], steps: int
) -> None:
    kernel = FakeKernel(held)
    kernel.run(diff(wanted, held).operations[:steps])
    settled(kernel, wanted)
    assert without_bridges(kernel.entries) == without_bridges(wanted)


@given(st.lists(entry_sets(), min_size=1, max_size=4))
def test_only_the_last_state_counts(states: list[frozenset[Entry]]) -> None:
    walked, direct = FakeKernel(), FakeKernel()
    for wanted in [*states, frozenset(), *reversed(states), *states]:
        settled(walked, wanted)
    settled(direct, states[-1])
    assert without_bridges(walked.entries) == without_bridges(direct.entries)


@pytest.mark.feature("router.floating-ip", "dataplane.atomic-rules")
@given(entry_sets(), entry_sets())
def test_the_rules_are_in_before_anything_new_can_be_forwarded(
    wanted: frozenset[Entry], held: frozenset[Entry]
) -> None:
    """A link that comes is up, in the fake, as soon as it is there: addresses and routes make it carry traffic."""
    operations = diff(wanted, held).operations
    carrying = [i for i, one in enumerate(operations) if isinstance(one.entry, DeviceAddress | KernelRoute)]
    rules = [i for i, one in enumerate(operations) if isinstance(one.entry, Table | Element) and one.verb != "remove"]
    assert not carrying or not rules or max(rules) < min(carrying)


@given(entry_sets(), entry_sets())
def test_no_rule_goes_before_the_links_are_down_that_go(wanted: frozenset[Entry], held: frozenset[Entry]) -> None:
    kernel = FakeKernel(held)
    going = {one.device for one in held if isinstance(one, Link)}
    going -= {one.device for one in wanted if isinstance(one, Link)}
    for operation in diff(wanted, held).operations:
        if isinstance(operation.entry, Table | Element):
            links = [one for one in kernel.of(Link) if isinstance(one, Link)]
            assert not any(one.up and one.device in going for one in links)
        kernel.do(operation)


@given(entry_sets(), entry_sets())
def test_what_stays_is_not_touched(wanted: frozenset[Entry], held: frozenset[Entry]) -> None:
    touched = {one.entry for one in diff(wanted, held).operations}
    table_is_rewritten = Table() in wanted and Table() not in held
    for entry in wanted & held:
        assert entry not in touched or (table_is_rewritten and isinstance(entry, Element))


@given(entry_sets(), entry_sets())
def test_additions_come_before_removals_of_addresses_links_and_routes(
    wanted: frozenset[Entry], held: frozenset[Entry]
) -> None:
    kinds = (Link, DeviceAddress, KernelRoute)
    verbs = [one.verb == "remove" for one in diff(wanted, held).of(*kinds)]
    assert verbs == sorted(verbs)


@given(entry_sets())
def test_rules_that_were_tampered_with_are_written_anew_with_all_elements(wanted: frozenset[Entry]) -> None:
    held = {one for one in wanted if one != Table()} | {Table(is_intact=False)}
    if Table() not in wanted:
        return
    operations = diff(wanted, held).operations
    assert [one.verb for one in operations if isinstance(one.entry, Table)] == ["change"]
    assert {one.entry for one in operations if isinstance(one.entry, Element)} == {
        one for one in wanted if isinstance(one, Element)
    }


@given(entry_sets(), entry_sets())
def test_the_flows_of_exactly_the_mappings_that_go_are_dropped(
    wanted: frozenset[Entry], held: frozenset[Entry]
) -> None:
    def mappings(held: frozenset[Entry]) -> set[tuple[bytes, bytes | None]]:
        return {(one.key, one.value) for one in held if isinstance(one, Element) and one.set is FLOATING_DNAT}

    edges = removed_mappings(set(wanted), set(held))
    gone = {(one.original.packed, one.translated.packed) for one in edges if one.cause == "floating_dnat"}
    assert gone == mappings(held) - mappings(wanted)


@given(entry_sets(), entry_sets())
def test_an_edge_is_journalled_before_anything_goes_and_finished_last(
    wanted: frozenset[Entry], held: frozenset[Entry]
) -> None:
    operations = diff(wanted, held).operations
    edges = [one.entry for one in operations if isinstance(one.entry, PendingFlush) and one.verb == "remove"]
    expected = removed_mappings(set(wanted), set(held)) | _added(wanted, held)
    named = {replace(edge, is_journalled=True) for edge in edges}
    assert named == (expected if any(map(_is_namespace, wanted)) else set())
    assert len({edge.is_journalled for edge in edges}) < 2
    for edge in edges:
        if not edge.is_journalled:
            (at,) = (i for i, one in enumerate(operations) if one.entry == edge)
            rules = [i for i, one in enumerate(operations) if isinstance(one.entry, Element | Table)]
            comes = [
                i for i, one in enumerate(operations) if _is_address(one.entry, edge.original) and one.verb == "add"
            ]
            assert max(rules, default=-1) < at < min(comes)
            continue
        first, last = (i for i, one in enumerate(operations) if one.entry == edge)
        assert operations[last].verb == "remove"
        kinds = DeviceAddress | KernelRoute
        going = [i for i, one in enumerate(operations) if isinstance(one.entry, kinds) and one.verb == "remove"]
        assert all(first < i < last for i in going)


def _added(wanted: frozenset[Entry], held: frozenset[Entry]) -> set[PendingFlush]:
    """Return the edges of floating addresses that an existing namespace does not translate yet, or not completely."""
    before, after = (
        {IPv4Address(one.key) for one in entries if isinstance(one, Element) and one.set is FLOATING_DNAT}
        for entries in (held if Table() in held else (), wanted)
    )
    without_address = {one for one in after if _has_address(wanted, one) and not _has_address(held, one)}
    new = (after - before) | without_address if any(map(_is_namespace, held)) else set()
    return {PendingFlush("untranslated", one) for one in new} | _snat(wanted, held)


def _snat(wanted: frozenset[Entry], held: frozenset[Entry]) -> set[PendingFlush]:
    """Return the edges of networks whose sources an existing namespace did not translate."""
    before, after = (
        any(isinstance(one, Element) and one.set is GATEWAY_SNAT for one in entries)
        for entries in (held if Table() in held else (), wanted)
    )
    if before or not after or not any(map(_is_namespace, held)):
        return set()
    networks = {
        one.interface.network
        for one in wanted
        if isinstance(one, DeviceAddress) and one.device.startswith("qr-") and one.interface.version == 4
    }
    return {PendingFlush("without_nat", one.network_address, one.netmask) for one in networks}


def _has_address(entries: frozenset[Entry], address: object) -> bool:
    return any(_is_address(one, address) for one in entries)


def _is_address(entry: Entry, address: object) -> bool:
    return isinstance(entry, DeviceAddress) and entry.device.startswith("qg-") and entry.interface.ip == address


def _is_namespace(entry: Entry) -> bool:
    return isinstance(entry, Namespace)


EDGES = st.builds(
    PendingFlush,
    st.sampled_from(("floating_dnat", "untranslated", "without_nat", "gateway_snat", "hairpin_snat", "interface")),
    st.ip_addresses(v=4),
    st.ip_addresses(v=4),
)


@given(entry_sets(), EDGES)
def test_a_journalled_flush_is_finished_whatever_is_wanted(wanted: frozenset[Entry], journalled: PendingFlush) -> None:
    assert journalled in removed_mappings(set(wanted), {*wanted, journalled})


@given(host_states)
def test_a_host_has_no_rules_and_forwards_nothing(state: object) -> None:
    held = entries(("host", "vm1"), state, DRIVERS[0])  # type: ignore[arg-type]
    assert not any(isinstance(one, Table | Element) for one in held)
    assert not any(isinstance(one, Sysctl) and one.path.endswith("forward") for one in held)
