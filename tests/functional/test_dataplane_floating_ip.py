# SPDX-License-Identifier: Apache-2.0
"""A floating IP comes, moves and goes: what is touched, what is announced."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import pytest

from l3agent.model.states import NamespaceState, Port
from l3agent.testing import wait_until
from tests.support.kernel import observed
from tests.support.processes import Dataplane
from tests.support.states import bridge, floating_ips, host, key, namespace, new_id, only_port, port, route, router
from tests.support.watch import GENERATION, Program, capture, ip_events, nft_events

#: How often an address is announced (``send_arp_for_ha``).
REPEATS = 3
FIRST, SECOND, THIRD = "203.0.113.100", "203.0.113.101", "203.0.113.102"


def a_router(fips: Mapping[str, str], *addresses: str) -> tuple[NamespaceState, Port, Port]:
    inner = port(new_id(), "10.0.0.1/24")
    gateway = port(new_id(), "203.0.113.10/24", *addresses, gateway=True)
    default = route("0.0.0.0/0", (gateway, "203.0.113.1"))
    return router(inner, gateway=gateway, routes=[default], fips=fips), inner, gateway


def with_fips(state: NamespaceState, fips: Mapping[str, str]) -> NamespaceState:
    return dataclasses.replace(state, floating_ips=floating_ips(fips))


def reconcile(machine: Dataplane, *states: NamespaceState) -> list[tuple[str, ...]]:
    reports = machine.reconcile(*((key(state), state) for state in states))
    assert [report.error for report in reports] == [None] * len(states)
    return [report.operations for report in reports]


# ---- what is touched ----------------------------------------------------------------------------------------------


@pytest.mark.feature("operation.minimal-rules")
def test_one_more_is_two_elements_and_one_address_and_nothing_else(machine: Dataplane) -> None:
    state, _, gateway = a_router({FIRST: "10.0.0.5"})
    reconcile(machine, state)
    name = namespace(state)
    with ip_events(machine.sandbox, name) as inside, nft_events(machine.sandbox, name) as rules:
        with ip_events(machine.sandbox) as switch:
            reconcile(machine, with_fips(state, {FIRST: "10.0.0.5", SECOND: "10.0.0.6"}))
            assert switch.so_far() == []
        # Without a journal of the entries to delete: the address that comes later stands for it.
        first, second, batch = rules.so_far()
        assert first == f"add element ip l3agent floating_dnat {{ {SECOND} : 10.0.0.6 }}"
        assert second == f"add element ip l3agent floating_snat {{ 10.0.0.6 : {SECOND} }}"
        assert batch.startswith(GENERATION), "one batch"
        address, _, local = inside.so_far()
        assert re.search(rf"\[ADDR\]\d+: {gateway.device} +inet {SECOND}/32 scope global", address)
        assert local.startswith(f"[ROUTE]local {SECOND} dev {gateway.device}")


def test_one_less_is_two_elements_and_one_address_and_nothing_else(machine: Dataplane) -> None:
    state, _, gateway = a_router({FIRST: "10.0.0.5", SECOND: "10.0.0.6"})
    reconcile(machine, state)
    name = namespace(state)
    with ip_events(machine.sandbox, name) as inside, nft_events(machine.sandbox, name) as rules:
        with ip_events(machine.sandbox) as switch:
            reconcile(machine, with_fips(state, {FIRST: "10.0.0.5"}))
            assert switch.so_far() == []
        # The last two are the journal of the flows to drop: written with the removal, taken out when they are gone.
        assert without_generations(rules.so_far()) == [
            f"delete element ip l3agent floating_dnat {{ {SECOND} : 10.0.0.6 }}",
            f"delete element ip l3agent floating_snat {{ 10.0.0.6 : {SECOND} }}",
            f'add element ip l3agent pending_flush {{ "floating_dnat" . {SECOND} . 10.0.0.6 }}',
            f'delete element ip l3agent pending_flush {{ "floating_dnat" . {SECOND} . 10.0.0.6 }}',
        ]
        events = inside.so_far()
        assert [line.split("]")[0] for line in events if line.startswith("[")] == ["[ADDR", "[ROUTE"]
        assert f"Deleted local {SECOND} dev {gateway.device}" in events[-1]


def without_generations(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith(GENERATION)]


def test_one_that_moves_inside_is_two_elements_that_change_and_no_address(machine: Dataplane) -> None:
    state, *_ = a_router({FIRST: "10.0.0.5"})
    reconcile(machine, state)
    with ip_events(machine.sandbox, namespace(state)) as inside:
        reconcile(machine, with_fips(state, {FIRST: "10.0.0.6"}))
        assert inside.so_far() == []
    facts = observed(machine.sandbox, namespace(state))
    assert (facts.dnat, facts.snat) == ({FIRST: "10.0.0.6"}, {"10.0.0.6": FIRST})


def test_two_that_change_places_end_up_changed(machine: Dataplane) -> None:
    state, *_ = a_router({FIRST: "10.0.0.5", SECOND: "10.0.0.6"})
    reconcile(machine, state)
    reconcile(machine, with_fips(state, {FIRST: "10.0.0.6", SECOND: "10.0.0.5"}))
    facts = observed(machine.sandbox, namespace(state))
    assert facts.dnat == {FIRST: "10.0.0.6", SECOND: "10.0.0.5"}
    assert facts.snat == {"10.0.0.6": FIRST, "10.0.0.5": SECOND}


# ---- what is announced --------------------------------------------------------------------------------------------


def arp(lines: list[str], address: str) -> list[str]:
    """Return the frames that announce an IPv4 address."""
    return [line for line in lines if f"Request who-has {address} tell {address}," in line]


def wait_for_announcements(frames: Program, address: str, count: int = REPEATS) -> None:
    """Wait until an IPv4 address was announced a number of times.

    :raises AssertionError: it was not; the message has the frames that were captured.
    """
    try:
        wait_until(lambda: len(arp(frames.lines(), address)) >= count, timeout=30)
    except TimeoutError as exc:
        raise AssertionError("\n".join([f"{address}: expected {count} frames, captured", *frames.lines()])) from exc


@pytest.mark.feature("router.gratuitous-arp")
def test_each_repeat_is_one_gratuitous_arp_from_the_gateway(machine: Dataplane) -> None:
    state, _, gateway = a_router({})
    reconcile(machine, state)
    with capture(machine.sandbox, bridge(gateway.network_id), "arp") as frames:
        reconcile(machine, with_fips(state, {SECOND: "10.0.0.6"}))
        wait_for_announcements(frames, SECOND)
        # When all of a later address are out, one too many of the first would be as well.
        reconcile(machine, with_fips(state, {SECOND: "10.0.0.6", THIRD: "10.0.0.7"}))
        wait_for_announcements(frames, THIRD)
        announced = arp(frames.lines(), SECOND)
    assert len(announced) == REPEATS
    for line in announced:
        assert f"{gateway.mac} > ff:ff:ff:ff:ff:ff" in line


@pytest.mark.feature("router.unsolicited-na")
def test_an_ipv6_address_is_announced_by_an_unsolicited_advertisement(machine: Dataplane) -> None:
    state, _, gateway = a_router({})
    reconcile(machine, state)
    address = "2001:db8:ffff::77"
    more = dataclasses.replace(
        state, gateway=dataclasses.replace(gateway, addresses=port("", f"{address}/64").addresses | gateway.addresses)
    )
    with capture(machine.sandbox, bridge(gateway.network_id), "icmp6") as frames:
        reconcile(machine, more)
        whole = rf"tgt is {address}[^\n]* destination link-address option"  # up to what a frame ends with
        wait_until(lambda: len(re.findall(whole, text(frames.lines()))) >= REPEATS, timeout=30)
        lines = text(frames.lines())
    found = re.findall(rf"[^\n]*neighbor advertisement[^\n]*tgt is {address}[^\n]*", lines)
    assert len(found) == REPEATS
    for line in found:
        assert f"{gateway.mac} > 33:33:00:00:00:01" in line
        assert f"{address} > ff02::1: [icmp6 sum ok]" in line
        assert "hlim 255" in line
        assert "Flags [router, override]" in line and "solicited" not in line
        assert f"destination link-address option (2), length 8 (1): {gateway.mac}" in line


def text(lines: list[str]) -> str:
    """Join what tcpdump broke into lines: what belongs to a frame is indented."""
    return "\n".join(lines).replace("\n\t", " ").replace("\n  ", " ")


def test_nothing_is_announced_after_its_removal(machine: Dataplane) -> None:
    state, _, gateway = a_router({})
    reconcile(machine, state)
    with capture(machine.sandbox, bridge(gateway.network_id), "arp") as frames:
        reconcile(machine, with_fips(state, {FIRST: "10.0.0.5"}))
        reconcile(machine, with_fips(state, {SECOND: "10.0.0.5"}))
        wait_for_announcements(frames, SECOND)
        lines = frames.lines()
    assert not arp(lines[lines.index(arp(lines, SECOND)[0]) :], FIRST)


def test_a_removed_router_announces_no_more(machine: Dataplane) -> None:
    network = new_id()
    gateway = port(network, "203.0.113.10/24", gateway=True)
    state = router(gateway=gateway, fips={FIRST: "10.0.0.5"})
    other = router(gateway=port(network, "203.0.113.11/24", gateway=True))
    reconcile(machine, other)
    with capture(machine.sandbox, bridge(network), "arp") as frames:
        reconcile(machine, state)
        assert machine.reconcile((key(state), None))[0].error is None
        reconcile(machine, with_fips(other, {SECOND: "10.0.0.5"}))
        wait_for_announcements(frames, SECOND)
        lines = frames.lines()
    assert not arp(lines[lines.index(arp(lines, SECOND)[0]) :], FIRST)


def test_another_mac_address_is_announced_for_all_addresses_of_the_port(machine: Dataplane) -> None:
    state, _, gateway = a_router({FIRST: "10.0.0.5"})
    reconcile(machine, state)
    changed = dataclasses.replace(gateway, mac="fa:16:3e:dd:dd:dd")
    with capture(machine.sandbox, bridge(gateway.network_id), "arp") as frames:
        reconcile(machine, dataclasses.replace(state, gateway=changed))
        for address in (FIRST, "203.0.113.10"):
            wait_until(
                lambda at=address: any("fa:16:3e:dd:dd:dd > ff" in line for line in arp(frames.lines(), at)), timeout=30
            )


def test_a_port_on_another_network_announces_itself_there(machine: Dataplane) -> None:
    state, inner, _ = a_router({})
    reconcile(machine, state)
    other = host(new_id(), "10.0.0.9/24")
    reconcile(machine, other)
    moved = dataclasses.replace(inner, network_id=only_port(other).network_id)
    with capture(machine.sandbox, bridge(only_port(other).network_id), "arp") as frames:
        reconcile(machine, dataclasses.replace(state, ports=frozenset({moved})))
        wait_until(lambda: arp(frames.lines(), "10.0.0.1"), timeout=30)


def test_a_new_address_is_announced_although_something_else_is_refused(machine: Dataplane) -> None:
    state, _, gateway = a_router({})
    reconcile(machine, state)
    nowhere = route("172.30.0.0/24", (gateway, "192.0.2.1"))
    refused = dataclasses.replace(with_fips(state, {FIRST: "10.0.0.5"}), routes=state.routes | {nowhere})
    with capture(machine.sandbox, bridge(gateway.network_id), "arp") as frames:
        (report,) = machine.reconcile((key(refused), refused))
        assert report.error is not None and "172.30.0.0/24" in report.error
        wait_for_announcements(frames, FIRST)


def test_a_new_process_announces_what_its_predecessor_may_not_have(dataplane: Dataplane) -> None:
    state, _, gateway = a_router({FIRST: "10.0.0.5"})
    reconcile(dataplane, state)
    dataplane.kill()
    dataplane.start()
    with capture(dataplane.sandbox, bridge(gateway.network_id), "arp") as frames:
        assert reconcile(dataplane, state) == [()]
        for address in (FIRST, "203.0.113.10"):
            wait_for_announcements(frames, address)


def test_a_repaired_address_is_announced_without_a_further_request(machine: Dataplane) -> None:
    network = new_id()
    gateway = port(network, "203.0.113.10/24", gateway=True)
    state = router(gateway=gateway, fips={FIRST: "10.0.0.5"})
    reconcile(machine, router(gateway=port(network, "203.0.113.11/24", gateway=True)))
    with capture(machine.sandbox, bridge(network), "arp") as frames:
        reconcile(machine, state)
        wait_for_announcements(frames, FIRST)
        machine.sandbox.run(["ip", "address", "delete", f"{FIRST}/32", "dev", gateway.device], netns=namespace(state))
        wait_for_announcements(frames, FIRST, 2 * REPEATS)
