# SPDX-License-Identifier: Apache-2.0
"""Permanent neighbours: messages equal to those of iproute2, dumps, the filter of notifications, and events."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from struct import pack_into
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from l3agent.dataplane.backend import Observed
from l3agent.dataplane.drift.applied import AppliedStates
from l3agent.dataplane.netlink import neighbours
from l3agent.dataplane.netlink.message import HEADER, attribute_map
from l3agent.dataplane.netlink.neighbours import NeighbourInfo
from l3agent.dataplane.plan.commands import commands
from l3agent.dataplane.plan.events import route_events, route_filter
from l3agent.dataplane.plan.kinds.base import Operation
from l3agent.dataplane.plan.kinds.neighbour import KernelNeighbour, NeighbourEvent
from l3agent.model.states import Neighbour
from tests.unit.dataplane.test_diff import INNER, ROUTER, rendered
from tests.unit.dataplane.test_events import keeps

MAC = "fa:16:3e:00:00:07"
IPV4, IPV6 = ip_address("10.0.0.7"), ip_address("2001:db8::7")
#: The bodies that ``ip neighbour replace ... nud permanent protocol 201`` of iproute2 6.1 sends.
RECORDED = {
    IPV4: "020000000300000080000000" + "05000c00c9000000" + "080001000a000007" + "0a000200fa163e0000070000",
    IPV6: "0a0000000300000080000000" + "05000c00c9000000" + "1400010020010db8000000000000000000000007"
    "0a000200fa163e0000070000",
}
MADE = neighbours.new_neighbour(3, IPV4, MAC)
#: Offset of ndm_state in a message.
STATE_AT = 24
REACHABLE, FAILED = 0x02, 0x20


def in_state(message: bytes, state: int, protocol: int | None = 201) -> bytes:
    """Return a notification; without ``protocol`` it ends before the attribute."""
    made = bytearray(message)
    pack_into("=H", made, STATE_AT, state)
    if protocol is None:
        pack_into("=I", made, 0, len(made) - 8)
        return bytes(made[:-8])
    made[-4] = protocol
    return bytes(made)


def of_a_bridge(message: bytes) -> bytes:
    """Return a notification about the forwarding database of a bridge (AF_BRIDGE)."""
    made = bytearray(message)
    made[16] = 7
    return bytes(made)


@pytest.mark.parametrize("address", RECORDED)
def test_a_neighbour_is_encoded_as_by_iproute2(address: Any) -> None:
    recorded = bytes.fromhex(RECORDED[address])
    made = neighbours.new_neighbour(3, address, MAC)
    _, kind, flags, _, _ = HEADER.unpack_from(made)
    assert (kind, flags) == (28, 0x501)
    # The order of the attributes is free.
    assert made[16:28] == recorded[:12]
    assert attribute_map(made, 28, len(made)) == attribute_map(recorded, 12, len(recorded))
    deleted = neighbours.delete_neighbour(3, address)
    assert HEADER.unpack_from(deleted)[1] == 29
    assert attribute_map(deleted, 28, len(deleted)) == {1: address.packed}


def test_a_dump_has_our_permanent_neighbours() -> None:
    (dump,) = KernelNeighbour.dumps
    others = in_state(MADE, 0x80, 4) + in_state(MADE, REACHABLE) + in_state(MADE, 0x80, None)
    ours = neighbours.new_neighbour(3, IPV6, MAC)
    assert dump.parse(others + ours, {3: "qr-a"}) == {KernelNeighbour("qr-a", IPV6, MAC)}
    assert dump.parse(ours, {}) == frozenset()


def test_the_kernel_delivers_no_notifications_of_learned_neighbours_and_of_bridges() -> None:
    program = route_filter(1)
    for message in (
        in_state(MADE, REACHABLE, None),
        in_state(MADE, FAILED, None),
        MADE[:20],
        of_a_bridge(MADE),
        of_a_bridge(in_state(MADE, 0x80, None)),
    ):
        assert not keeps(program, message)
    for message in (
        MADE,
        in_state(MADE, 0x80, None),
        in_state(MADE, 0x80, 4),
        in_state(MADE, FAILED),
        in_state(MADE, REACHABLE, 4),
    ):
        assert keeps(program, message)
        removal = bytearray(message)
        pack_into("=H", removal, 4, neighbours.DELNEIGH)
        assert keeps(program, bytes(removal))


class Place:
    """An applied state with one neighbour."""

    devices: ClassVar[dict[int, str]] = {3: "qr-a"}
    has_ipv6 = True

    def desired(self) -> frozenset[Any]:
        return frozenset({KernelNeighbour("qr-a", IPV4, MAC)})

    def neighbours(self) -> frozenset[Any]:
        return frozenset({("qr-a", IPV4)})


def test_an_event_is_compared_with_the_desired_neighbours() -> None:
    other_mac = neighbours.new_neighbour(3, IPV4, "02:00:00:00:00:01")
    other = neighbours.new_neighbour(3, IPV6, MAC)
    elsewhere = neighbours.new_neighbour(4, IPV6, MAC)
    removal = bytearray(in_state(MADE, FAILED))
    pack_into("=H", removal, 4, neighbours.DELNEIGH)
    foreign_instead, foreign = in_state(MADE, 0x80, 4), in_state(other, 0x80, 4)
    passing_instead = in_state(MADE, REACHABLE, 4)
    expected = {
        MADE: True,
        other_mac: False,
        other: False,
        elsewhere: True,
        bytes(removal): False,
        in_state(MADE, FAILED): False,
        foreign_instead: False,
        passing_instead: False,
        foreign: True,
    }
    events = list(route_events(b"".join(expected)))
    assert all(isinstance(one, NeighbourEvent) for one in events)
    assert [one.is_as_desired(cast(Any, Place())) for one in events] == list(expected.values())


def test_commands_are_those_of_an_operator() -> None:
    entry = KernelNeighbour("qr-a", IPV6, MAC)
    assert commands(Operation("add", entry), "ns") == [
        f"ip -n ns neighbour replace 2001:db8::7 lladdr {MAC} dev qr-a nud permanent protocol 201"
    ]
    assert commands(Operation("remove", entry), "ns") == ["ip -n ns neighbour delete 2001:db8::7 dev qr-a"]
    assert entry.as_json() == {"device": "qr-a", "address": "2001:db8::7", "mac": MAC}


def test_events_of_many_neighbours_read_the_desired_ones_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the events of neighbours that the data plane itself removed, with desired ones left."""
    base = int(ip_address("10.0.1.0"))
    addresses = [ip_address(base + at) for at in range(200)]
    staying = frozenset(Neighbour(INNER.device, one, MAC) for one in addresses[:100])
    state = replace(ROUTER, neighbours=staying)
    desired = rendered(state)
    applied = AppliedStates(lambda key, state: desired)
    handle = cast(Any, SimpleNamespace(name="ns", cache=SimpleNamespace(nsid=7, has_ipv6=True)))
    applied.record_applied(state.key, state, desired, Observed(handle=handle, devices={INNER.device: 3}))
    identity, reads = KernelNeighbour.identity, []
    monkeypatch.setattr(KernelNeighbour, "identity", lambda one: reads.append(one) or identity(one))
    gone = [NeighbourEvent(True, NeighbourInfo(3, one, MAC, is_ours=True, is_permanent=False)) for one in addresses]
    assert applied.find_affected((7, one) for one in gone[100:]) == set()
    assert len(reads) == len(staying)
    assert applied.find_affected([(7, gone[0])]) == {state.key}
    # Another desired state has neighbours of its own.
    fewer = replace(state, neighbours=frozenset())
    applied.record_applied(state.key, fewer, rendered(fewer), Observed(handle=handle, devices={INNER.device: 3}))
    assert applied.find_affected([(7, gone[0])]) == set()
