# SPDX-License-Identifier: Apache-2.0
"""Laws of additions: their order does not matter, none is lost without a warning, and the result is always valid."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l3agent.model.additions import Addition, PortAddress, merge_additions
from l3agent.model.states import FloatingIP, Interface, NamespaceState, Neighbour, RouterState
from l3agent.model.wire import pack_state, unpack_state
from tests.support.strategies import interfaces4, interfaces6, ipv4, macs, policy_rules, router_states, routes

#: Some have no wire form, and some have one that decodes to another value.
any_macs = macs | macs.map(str.upper) | st.just("not-a-mac")


@st.composite
def routers_with_additions(draw: st.DrawFn) -> tuple[RouterState, list[Addition]]:
    """Routers with additions, of which many claim what others or the router have."""
    namespace = draw(router_states().filter(lambda one: one.all_ports()))
    devices = sorted(port.device for port in namespace.all_ports())
    own = sorted(fip.floating for fip in namespace.floating_ips) or [draw(ipv4)]
    addresses = st.sampled_from(own) | ipv4
    present = [*namespace.routes, *namespace.floating_ips, *map(PortAddress, devices, _interfaces(namespace))]
    values = st.sampled_from(present) if present else st.nothing()
    values |= routes(devices) | policy_rules([*devices, "lo"]) | st.builds(FloatingIP, addresses, addresses)
    neighbours = addresses | addresses.map(_mapped) | interfaces6.map(lambda one: one.ip)
    values |= st.builds(Neighbour, st.sampled_from([*devices, "lo"]), neighbours, any_macs)
    values |= st.builds(PortAddress, st.sampled_from([*devices, "lo"]), interfaces4 | interfaces6)
    additions = st.builds(Addition, st.sampled_from(["a", "b", "c"]), st.sampled_from(["router", "host"]), values)
    return RouterState(namespace.id, (namespace,), ("a warning",)), draw(st.lists(additions, max_size=8))


def _mapped(address: IPv4Address) -> IPv6Address:
    return IPv6Address(f"::ffff:{address}")


def _interfaces(namespace: NamespaceState) -> list[Interface]:
    return [one for port in namespace.all_ports() for one in port.addresses]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(routers_with_additions(), st.randoms(use_true_random=False))
def test_additions_are_served_or_named(drawn: tuple[RouterState, list[Addition]], shuffler: object) -> None:
    router, additions = drawn
    state = merge_additions(router, additions)
    shuffled = list(additions)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    again = merge_additions(router, shuffled)
    assert (again, again.warnings) == (state, state.warnings)
    (before,), (after,) = router.namespaces, state.namespaces
    # The router loses nothing, and what was added is valid.
    assert before.routes <= after.routes and before.floating_ips <= after.floating_ips
    assert unpack_state(pack_state(after.key, after)) == (after.key, after)
    assert "a warning" in state.warnings
    added = _size(after) - _size(before)
    # Two sources may add the same value, of which one is named.
    assert added + len(state.warnings) - 1 == len(set(additions))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(routers_with_additions())
def test_no_two_objects_clash(drawn: tuple[RouterState, list[Addition]]) -> None:
    router, additions = drawn
    (before,), (after,) = router.namespaces, merge_additions(router, additions).namespaces
    new_routes = after.routes - before.routes
    assert len({(one.table, one.destination) for one in new_routes}) == len(new_routes)
    assert len({(one.device, one.address) for one in after.neighbours}) == len(after.neighbours)
    new = after.floating_ips - before.floating_ips
    assert len({one.fixed for one in new}) == len({one.floating for one in new}) == len(new)
    assert not {one.floating for one in new} & {one.floating for one in before.floating_ips}


def _size(state: NamespaceState) -> int:
    addresses = sum(len(port.addresses) for port in state.all_ports())
    return len(state.routes) + len(state.rules) + len(state.neighbours) + len(state.floating_ips) + addresses
