# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from l3agent.model.states import Key, Kind, NamespaceState, Report, State
from l3agent.model.wire import StateReader, pack_report, pack_state, unpack_report, unpack_state
from tests.support.strategies import host_states, neighbours, network_states, policy_rules, router_states, tables

reports = st.builds(
    Report,
    st.sampled_from(["router", "network", "host"]),
    st.text(max_size=20),
    st.lists(st.text(max_size=20), max_size=4).map(tuple),
    st.none() | st.text(max_size=40),
    st.dictionaries(st.sampled_from(["observe", "plan", "apply"]), st.floats(0, 1000)),
    st.integers(0, 10_000),
)


@given(router_states() | network_states | host_states)
def test_a_state_crosses_the_socket_unchanged(state: State) -> None:
    key: Key = state.key if isinstance(state, NamespaceState) else ("network", state.id)
    assert unpack_state(msgpack.unpackb(msgpack.packb(pack_state(key, state)))) == (key, state)


@st.composite
def states_with_policy(draw: st.DrawFn) -> NamespaceState:
    """Routers with policy rules, permanent neighbours, and routes in other tables."""
    state = draw(router_states().filter(lambda one: one.all_ports()))
    devices = [port.device for port in state.all_ports()]
    return replace(
        state,
        routes=frozenset(replace(one, table=draw(st.just(one.table) | tables)) for one in state.routes),
        rules=draw(st.frozensets(policy_rules(devices), max_size=3)),
        neighbours=draw(neighbours(devices)),
    )


@given(states_with_policy())
def test_rules_neighbours_and_tables_cross_the_socket_unchanged(state: NamespaceState) -> None:
    key: Key = ("router", state.id)
    wire = pack_state(key, state)
    assert unpack_state(msgpack.unpackb(msgpack.packb(wire))) == (key, state)
    assert wire == pack_state(key, replace(state))


@given(st.sampled_from(["router", "network", "host"]), st.uuids().map(str))
def test_an_absent_state_crosses_the_socket_unchanged(kind: Kind, state_id: str) -> None:
    assert unpack_state(msgpack.unpackb(msgpack.packb(pack_state((kind, state_id), None)))) == ((kind, state_id), None)


@given(router_states() | states_with_policy(), st.lists(router_states() | states_with_policy(), max_size=3), st.data())
def test_a_reader_that_knows_former_forms_reads_the_same(
    first: NamespaceState, others: list[NamespaceState], data: st.DataObject
) -> None:
    reader = StateReader()
    states = [first, *(replace(one, id=first.id) for one in others)]
    # The most frequent change: other floating IPs of the same router.
    states += [replace(first, floating_ips=one.floating_ips) for one in states if first.gateway is not None]
    for state in data.draw(st.permutations(states)):
        key: Key = ("router", state.id)
        wire = msgpack.unpackb(msgpack.packb(pack_state(key, state)))
        read = reader.read(wire)
        assert read == unpack_state(wire) == (key, state)
        assert reader.read(msgpack.unpackb(msgpack.packb(wire)))[1] is read[1]
    assert reader.read(pack_state(("router", first.id), None)) == (("router", first.id), None)


@given(reports)
def test_a_report_crosses_the_socket_unchanged(report: Report) -> None:
    assert unpack_report(msgpack.unpackb(msgpack.packb(pack_report(report)))) == report
