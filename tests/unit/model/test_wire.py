# SPDX-License-Identifier: Apache-2.0
"""What the data plane takes from nobody, not from its agent either: values that no state of ours can have."""

from __future__ import annotations

import copy
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from l3agent.exceptions import InvalidState
from l3agent.model.states import NamespaceState, Neighbour, NetworkState, PolicyRule
from l3agent.model.wire import StateReader, pack_state, unpack_state
from tests.support.states import host, key, new_id, port, route, router

INNER = port(new_id(), "10.0.0.1/24", "2001:db8:1::1/64")
GATEWAY = port(new_id(), "203.0.113.10/24", gateway=True)
ROUTER = router(
    INNER,
    gateway=GATEWAY,
    routes=[route("0.0.0.0/0", (GATEWAY, "203.0.113.1")), route("fd00::/8", (INNER, "fe80::1"))],
    fips={"203.0.113.100": "10.0.0.5", "203.0.113.101": "10.0.0.6"},
)
HOST = host(new_id(), "10.0.0.5/24", routes={"0.0.0.0/0": "10.0.0.1"})
OTHER = host(new_id(), "10.0.0.6/24")
NETWORK = NetworkState(new_id(), "card0")

ID, NETWORK_ID, DEVICE, MAC, MTU, ADDRESSES = range(6)
WRONG_IDS = ["", "short", "../../etc/passwd", "g0000000-0000", "a" * 37, "a0000000-0000\n", 7, None]
WRONG_IPV4 = ["0.0.0.0", "127.0.0.1", "224.0.0.1", "239.255.255.255", "255.255.255.255"]
WRONG_TABLES = [0, -1, 253, 254, 255, 2**32, 10**40, True, 16.5, "16", None]
WRONG_IPV6 = ["::", "::1", "ff02::1", "::ffff:10.0.0.1"]


def packed(address: str) -> bytes:
    return ip_address(address).packed


def wrong_ports() -> list[tuple[int, Any]]:
    """Return places of a port and what may not be there."""
    wrong: list[tuple[int, Any]] = [(place, one) for place in (ID, NETWORK_ID) for one in WRONG_IDS]
    wrong += [(DEVICE, one) for one in ("mgmt0", "lo", "eth1", "", "qr-", "qr-x", "qr-0123456789abcdef", 7, None)]
    wrong += [(MAC, one) for one in ("", "zz", "FA:16:3E:00:00:01", "01:00:5e:00:00:01", "00:00:00:00:00:00", 7, None)]
    wrong += [(MTU, one) for one in (0, -1, 67, 65536, 2**40, True, 1500.5, "1500")]
    wrong += [(ADDRESSES, [[packed(one), 24]]) for one in WRONG_IPV4]
    wrong += [(ADDRESSES, [[packed(one), 64]]) for one in (*WRONG_IPV6, "fe80::1")]
    wrong += [(ADDRESSES, [[packed("10.0.0.1"), one]]) for one in (0, -1, 33, "24", None, True)]
    wrong += [(ADDRESSES, [[one, 24]]) for one in ("10.0.0.1", b"", b"12345", 7, None)]
    return wrong


def changed(wire: dict[str, Any], where: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return a wire form with another value in one place."""
    copied = copy.deepcopy(wire)
    holder: Any = copied
    for step in where[:-1]:
        holder = holder[step]
    holder[where[-1]] = value
    return copied


def refused(wire: dict[str, Any]) -> InvalidState:
    """Return the refusal of a form, which is the same from a reader that knows the right one."""
    with pytest.raises(InvalidState) as first:
        unpack_state(wire)
    reader = StateReader()
    right, _ = reader.read(pack_state(key(ROUTER), ROUTER))
    assert right == key(ROUTER)
    with pytest.raises(InvalidState) as again:
        reader.read(wire)
    assert str(again.value) == str(first.value)
    return first.value


def test_the_states_here_are_right_as_they_are() -> None:
    for state in (ROUTER, HOST):
        assert unpack_state(pack_state(key(state), state)) == (key(state), state)
    assert unpack_state(pack_state(("network", NETWORK.id), NETWORK))[1] == NETWORK


@pytest.mark.parametrize(("place", "value"), wrong_ports(), ids=repr)
@pytest.mark.parametrize(
    ("state", "where"), [(ROUTER, ("ports", 0)), (ROUTER, ("gateway",)), (HOST, ("ports", 0))], ids=repr
)
def test_a_port_of_no_form_of_ours_is_refused_with_what_is_wrong(
    state: NamespaceState, where: tuple[Any, ...], place: int, value: Any
) -> None:
    wire = pack_state(key(state), state)
    refused(changed(wire, ("state", *where, place), value))


@pytest.mark.parametrize("where", [("ports", 0), ("gateway",)], ids=lambda one: one[0])
def test_a_device_of_another_port_is_refused(where: tuple[Any, ...]) -> None:
    wire = pack_state(key(ROUTER), ROUTER)
    refused(changed(wire, ("state", *where, ID), new_id()))
    refused(changed(wire, ("state", *where, DEVICE), "tap" + INNER.id[:11]))


def test_the_refusal_says_what_is_wrong_in_few_words() -> None:
    wire = pack_state(key(ROUTER), ROUTER)
    error = refused(changed(wire, ("state", "ports", 0, DEVICE), "mgmt0"))
    assert str(error) == f"port {INNER.id}: device: 'mgmt0': expected {INNER.device}"
    assert len(str(refused(changed(wire, ("state", "ports", 0, MAC), "x" * 10_000)))) < 300


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [("router", WRONG_IDS[1:6]), ("network", WRONG_IDS[1:6]), ("host", ["7up", "-x", "a b", "a" * 61, "vm1\n"])],
)
def test_the_id_of_a_state_is_one_that_names_are_made_of(kind: str, wrong: list[str]) -> None:
    wires = {
        "router": pack_state(key(ROUTER), ROUTER),
        "host": pack_state(key(HOST), HOST),
        "network": pack_state(("network", NETWORK.id), NETWORK),
    }
    for one in wrong:
        # Some are no file names; those are refused as before, and not even their absence is asked for.
        with pytest.raises((InvalidState, ValueError)):
            unpack_state(wires[kind] | {"id": one})


def test_what_others_left_behind_may_have_any_name_and_be_removed() -> None:
    for one in ("test", "7up", "a b"):
        assert unpack_state({"kind": "router", "id": one, "state": None}) == (("router", one), None)


@pytest.mark.parametrize("card", ["", ".", "..", "a/b", "a b", "a:b", "0123456789abcdef", 7, b"eth0"])
def test_a_card_has_the_name_of_a_card(card: Any) -> None:
    refused(changed(pack_state(("network", NETWORK.id), NETWORK), ("state", "interface"), card))


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("wrong", WRONG_IPV4)
def test_a_floating_ip_has_addresses_of_machines(wrong: str, number: int) -> None:
    wire = pack_state(key(ROUTER), ROUTER)
    for pair in (packed(wrong) + packed("10.0.0.9"), packed("203.0.113.102") + packed(wrong)):
        pairs = wire["state"]["floating_ips"][: 8 * number] + pair + wire["state"]["floating_ips"][8 * number :]
        refused(changed(wire, ("state", "floating_ips"), pairs))


@pytest.mark.parametrize("address", ["0.0.0.1", "126.0.0.1", "128.0.0.1", "223.255.255.255", "240.0.0.1", "255.0.0.1"])
def test_other_addresses_are_taken(address: str) -> None:
    state = router(gateway=GATEWAY, fips={address: "10.0.0.5", "203.0.113.100": address})
    assert unpack_state(pack_state(key(state), state))[1] == state


@pytest.mark.parametrize(
    "wrong", [b"", b"123", b"12345", "203.0.113.10", 7, *map(packed, (*WRONG_IPV4, "2001:db8::1"))]
)
def test_the_router_stands_behind_an_ipv4_address(wrong: Any) -> None:
    refused(changed(pack_state(key(ROUTER), ROUTER), ("state", "nat_address"), wrong))


@pytest.mark.parametrize("wrong", ["", "x" * 8, [], b"1234567"])
def test_floating_ips_are_pairs_in_bytes(wrong: Any) -> None:
    refused(changed(pack_state(key(ROUTER), ROUTER), ("state", "floating_ips"), wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        [packed("10.9.0.0"), 24, [["lo", packed("10.0.0.7")]]],
        [packed("10.9.0.0"), 24, [["qr-ffffffff-ff", None]]],
        [packed("10.9.0.0"), 24, [[INNER.device, packed("fe80::1")]]],
        [packed("fd00::"), 8, [[INNER.device, packed("10.0.0.7")]]],
        [packed("10.9.0.0"), 24, [[INNER.device, packed("224.0.0.1")]]],
        [packed("10.9.0.0"), 24, [[INNER.device, "10.0.0.7"]]],
        [packed("10.9.0.0"), 24, [[INNER.device, 7]]],
        [packed("10.9.0.0"), 24, []],
        [packed("10.9.0.1"), 24, [[INNER.device, None]]],
        [packed("10.9.0.0"), 33, [[INNER.device, None]]],
        [packed("10.9.0.0"), True, [[INNER.device, None]]],
        [packed("127.0.0.0"), 8, [[INNER.device, None]]],
        [packed("224.0.0.0"), 4, [[INNER.device, None]]],
        [packed("ff00::"), 8, [[INNER.device, None]]],
        ["10.9.0.0", 24, [[INNER.device, None]]],
        *([packed("10.9.0.0"), 24, [[INNER.device, None]], one] for one in WRONG_TABLES),
        [packed("10.9.0.0"), 24, [[INNER.device, None]], 16, 17],
    ],
    ids=repr,
)
def test_a_route_goes_through_a_device_of_its_state_to_where_packets_can_go(wrong: Any) -> None:
    refused(changed(pack_state(key(ROUTER), ROUTER), ("state", "routes", 0), wrong))


RULE = [100, 16, [packed("10.0.0.0"), 24], INNER.device]
PRIORITY, TABLE, SOURCE, INCOMING = range(4)


def test_rules_neighbours_and_tables_are_right_as_they_are() -> None:
    networks = (None, ip_network("10.0.0.0/24"), ip_network("2001:db8:1::/64"))
    rules = {PolicyRule(n + 1, 16, one, INNER.device) for n, one in enumerate(networks)}
    rules |= {PolicyRule(2**32 - 1, 2**32 - 1, ip_network("10.0.0.0/24"), None)}
    found = {
        Neighbour(INNER.device, ip_address(one), "02:00:00:00:00:01") for one in ("10.0.0.7", "fe80::1", "fd00::1")
    }
    routes = {replace(one, table=16) for one in ROUTER.routes}
    state = replace(ROUTER, rules=frozenset(rules), neighbours=frozenset(found), routes=ROUTER.routes | routes)
    assert unpack_state(pack_state(key(state), state)) == (key(state), state)


def test_a_state_without_rules_neighbours_and_tables_has_no_bytes_for_them() -> None:
    body = pack_state(key(ROUTER), ROUTER)["state"]
    assert not {"rules", "neighbours"} & body.keys()
    assert all(len(one) == 3 for one in body["routes"])


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((PRIORITY, one) for one in (0, -1, 32766, 32767, 2**32, 10**40, True, 1.5, "1", None)),
        *((TABLE, one) for one in WRONG_TABLES),
        *((SOURCE, [packed(one), 32]) for one in ("224.0.0.1", "127.0.0.1")),
        *((SOURCE, [packed(one), 128]) for one in ("::1", "ff02::1", "fe80::1")),
        *((SOURCE, [packed("10.0.0.1"), one]) for one in (24, 33, -1, True, None, "24")),
        *((SOURCE, [bytes(one), 0]) for one in (4, 16)),
        *((SOURCE, [one, 24]) for one in ("10.0.0.0", b"", b"12345", 7, None)),
        *((INCOMING, one) for one in ("lo", "eth1", "", "qr-ffffffff-ff", 7)),
    ],
    ids=repr,
)
def test_a_rule_selects_a_table_of_ours_for_packets_of_the_state(place: int, value: Any) -> None:
    wire = pack_state(key(ROUTER), ROUTER)
    refused(changed(changed(wire, ("state", "rules"), [RULE]), ("state", "rules", 0, place), value))


def test_a_rule_for_all_packets_is_refused() -> None:
    refused(changed(pack_state(key(ROUTER), ROUTER), ("state", "rules"), [[100, 16, None, None]]))


def neighbour(device: bytes = INNER.device.encode(), address: str = "10.0.0.7", mac: str = "020000000001") -> bytes:
    """Return the row of a neighbour."""
    found = ip_address(address).packed
    return device.ljust(16, b"\0") + (bytes(10) + b"\xff\xff" + found)[-16:] + bytes.fromhex(mac)


@pytest.mark.parametrize(
    "rows",
    [
        "",
        [],
        neighbour()[:-1],
        neighbour() + b"\0",
        *(neighbour(device=one) for one in (b"lo", b"eth1", b"", b"qr-\xff", INNER.device.encode() + b"\0x")),
        *(neighbour(address=one) for one in (*WRONG_IPV4, "::", "::1", "ff02::1")),
        *(neighbour(mac=one) for one in ("01005e000001", "000000000000", "ffffffffffff")),
        neighbour() + neighbour(mac="020000000002"),
        neighbour() * 2,
    ],
    ids=repr,
)
def test_a_neighbour_is_a_machine_at_a_device_of_its_state(rows: Any) -> None:
    refused(changed(pack_state(key(ROUTER), ROUTER), ("state", "neighbours"), rows))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ports", []),
        ("ports", pack_state(key(HOST), HOST)["state"]["ports"] * 2 + pack_state(key(OTHER), OTHER)["state"]["ports"]),
        ("gateway", pack_state(key(ROUTER), ROUTER)["state"]["gateway"]),
        ("ports", pack_state(key(ROUTER), ROUTER)["state"]["ports"]),
        ("floating_ips", packed("203.0.113.100") + packed("10.0.0.5")),
        ("nat_address", packed("203.0.113.10")),
        ("snat", True),
    ],
)
def test_a_host_has_one_port_and_no_translation(field: str, value: Any) -> None:
    refused(changed(pack_state(key(HOST), HOST), ("state", field), value))


@pytest.mark.parametrize("field", ["ports", "gateway", "routes", "floating_ips", "nat_address", "snat"])
@pytest.mark.parametrize("state", [ROUTER, HOST], ids=["router", "host"])
def test_a_form_without_a_field_is_refused(state: NamespaceState, field: str) -> None:
    wire = pack_state(key(state), state)
    body = {name: value for name, value in wire["state"].items() if name != field}
    with pytest.raises(KeyError):
        unpack_state(wire | {"state": body})
