# SPDX-License-Identifier: Apache-2.0
"""Operations as an OVSDB transaction, by the letter of RFC 7047."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from l3agent.dataplane.ovsdb.ports import observed_ports, to_entry
from l3agent.dataplane.ovsdb.rows import Rows
from l3agent.dataplane.ovsdb.transact import Transaction, check_bridges, first_error
from l3agent.dataplane.plan.commands import commands
from l3agent.dataplane.plan.kinds.base import Operation
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.switch_port import SwitchPort
from l3agent.exceptions import ApplyError

IDS = frozenset({("iface-id", "p1"), ("l3agent-router", "r1")})
PORT = SwitchPort("qr-1", "br-int", "internal", IDS, True)
NEXT = [
    {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]},
    {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]},
]


def database(**interface: object) -> Rows:
    """Return a database with two bridges, and with the port as it should be unless told otherwise."""
    rows = Rows()
    ports: list[Any] = ["set", []]
    tables = {}
    if interface is not None and "absent" not in interface:
        ports = ["uuid", "P"]
        port = {"name": "qr-1", "interfaces": ["uuid", "I"], "tag": interface.pop("tag", 4095)}
        port |= {"vlan_mode": "trunk", "trunks": 4095} if interface.pop("dead", True) else {}
        row = {"name": "qr-1", "type": "internal", "external_ids": ["map", sorted(map(list, IDS))], "ofport": 3}
        tables = {"Port": {"P": {"initial": port}}, "Interface": {"I": {"initial": {**row, **interface}}}}
    bridges = {
        "B": {"initial": {"name": "br-int", "ports": ports}},
        "E": {"initial": {"name": "br-ex", "ports": ["set", []]}},
    }
    rows.update({"Bridge": bridges, "Open_vSwitch": {"O": {"initial": {"cur_cfg": 1}}}, **tables})
    return rows


def steps(operation: Operation[SwitchPort], rows: Rows, **options: bool) -> tuple[list[dict[str, Any]], bool, bool]:
    transaction = Transaction()
    again = transaction.add(operation, rows, **options)
    return transaction.build(), transaction.waits, again


def test_a_port_that_comes_is_dead() -> None:
    made, waits, again = steps(Operation("add", PORT), database(absent=True))
    assert made == [
        {
            "op": "insert",
            "table": "Interface",
            "uuid-name": "interface0",
            "row": {
                "name": "qr-1",
                "type": "internal",
                "external_ids": ["map", [["iface-id", "p1"], ["l3agent-router", "r1"]]],
            },
        },
        {
            "op": "insert",
            "table": "Port",
            "uuid-name": "port0",
            "row": {
                "name": "qr-1",
                "interfaces": ["named-uuid", "interface0"],
                "tag": 4095,
                "vlan_mode": "trunk",
                "trunks": 4095,
            },
        },
        {
            "op": "mutate",
            "table": "Bridge",
            "where": [["_uuid", "==", ["uuid", "B"]]],
            "mutations": [["ports", "insert", ["set", [["named-uuid", "port0"]]]]],
        },
        *NEXT,
    ]
    assert waits and not again


def test_a_port_that_goes() -> None:
    made, waits, _ = steps(Operation("remove", PORT), database())
    assert made == [
        {
            "op": "mutate",
            "table": "Bridge",
            "where": [["_uuid", "==", ["uuid", "B"]]],
            "mutations": [["ports", "delete", ["set", [["uuid", "P"]]]]],
        },
        *NEXT,
    ]
    assert waits


@pytest.mark.parametrize("verb", ["add", "change"])
def test_what_is_there_already_is_not_made_again(verb: Literal["add", "change"]) -> None:
    was = replace(PORT, ids=frozenset()) if verb == "change" else None
    assert steps(Operation(verb, PORT, was), database()) == ([], False, False)


def test_what_is_gone_already_is_not_removed_again() -> None:
    assert steps(Operation("remove", PORT), database(absent=True)) == ([], False, False)


def test_only_what_is_wrong_is_written_and_nobody_waits_for_it() -> None:
    rows = database(external_ids=["map", [["iface-id", "other"], ["foreign", "kept"]]], tag=["set", []])
    made, waits, again = steps(Operation("change", PORT, replace(PORT, ids=frozenset(), has_tag=False)), rows)
    assert made == [
        {
            "op": "mutate",
            "table": "Interface",
            "where": [["_uuid", "==", ["uuid", "I"]]],
            "mutations": [
                ["external_ids", "delete", ["set", ["iface-id", "l3agent-router"]]],
                ["external_ids", "insert", ["map", [["iface-id", "p1"], ["l3agent-router", "r1"]]]],
            ],
        },
        {
            "op": "update",
            "table": "Port",
            "where": [["_uuid", "==", ["uuid", "P"]]],
            "row": {"tag": 4095, "vlan_mode": "trunk", "trunks": 4095},
        },
        *NEXT,
    ]
    assert not waits and not again


def test_an_l2_agent_of_old_that_sets_the_tag_alone_is_helped() -> None:
    rows, stuck = database(tag=3), replace(PORT, is_stuck=True)
    (one, *rest), waits, _ = steps(Operation("change", PORT, stuck), rows)
    assert (one["table"], one["row"]) == ("Port", {"vlan_mode": ["set", []], "trunks": ["set", []]})
    assert (rest, waits) == (NEXT, False)
    assert to_entry(rows.ports["qr-1"], has_device=True) == stuck
    assert to_entry(database(tag=3, dead=False).ports["qr-1"], has_device=True) == PORT
    (line,) = commands(Operation("change", PORT, stuck), None)
    assert "clear Port qr-1 vlan_mode trunks" in line and "tag=" not in line


def test_a_port_on_another_bridge_moves_in_one_transaction() -> None:
    made, _, again = steps(Operation("change", replace(PORT, bridge="br-ex"), PORT), database())
    mutations = {one["where"][0][2][1]: one["mutations"] for one in made if one["table"] == "Bridge"}
    assert mutations == {
        "B": [["ports", "delete", ["set", [["uuid", "P"]]]]],
        "E": [["ports", "insert", ["set", [["named-uuid", "port0"]]]]],
    }
    assert not again


def test_a_port_that_lost_its_device_goes_first_and_comes_then() -> None:
    lost = Operation("change", PORT, replace(PORT, has_device=False))
    assert steps(lost, database(), retried=False) == (NEXT, True, False)
    made, waits, again = steps(lost, database())
    assert [one["op"] for one in made] == ["mutate", "mutate", "select"] and waits and again
    made, waits, again = steps(lost, database(absent=True), removed_before=True)
    assert [one["op"] for one in made][:2] == ["insert", "insert"] and waits and not again


def test_a_port_that_the_switch_has_not_made_yet_is_waited_for() -> None:
    made, waits, again = steps(Operation("change", PORT, replace(PORT, has_device=False)), database(ofport=["set", []]))
    assert (made, waits, again) == (NEXT, True, False)


def test_a_bridge_that_is_missing_is_named_with_what_to_do() -> None:
    with pytest.raises(ApplyError, match=r"no bridge br-none; .*ovs-vsctl add-br br-none"):
        check_bridges([Operation("add", PORT), Operation("add", replace(PORT, bridge="br-none"))], database())
    check_bridges([Operation("add", PORT), Operation("remove", replace(PORT, bridge="br-none"))], database())


def test_the_reason_of_a_refusal() -> None:
    answers = [{"uuid": ["uuid", "x"]}, None, {"error": "constraint violation", "details": "no more than 1"}]
    assert first_error(answers) == "constraint violation: no more than 1"
    assert first_error([{"count": 1}, {}]) is None


# ---- what is seen ----------------------------------------------------------------------------------------------


class Known:
    """Ports as far as they are known."""

    def __init__(self, rows: Rows | None) -> None:
        self.is_loaded, self._rows = rows is not None, rows or Rows()

    def port(self, name: str) -> Any:
        return self._rows.ports.get(name)

    def port_names(self, router_id: Any) -> Any:
        return self._rows.owned.get(router_id, frozenset())


LINK = Link("qr-1", "fa:16:3e:00:00:01", 1500, True, "qr-1", None)


def test_a_port_is_seen_as_far_as_it_matters() -> None:
    rows = database(external_ids=["map", [*sorted(map(list, IDS)), ["foreign", "x"]]])
    assert observed_ports(Known(rows), "r1", {PORT}, [LINK], {"qr-1"}) == {PORT}
    assert observed_ports(Known(rows), "r1", {PORT}, [], set()) == {replace(PORT, has_device=False)}
    untagged = to_entry(database(tag=["set", []]).ports["qr-1"], has_device=True)
    assert untagged == replace(PORT, has_tag=False)
    anyhow = replace(PORT, has_tag=None)
    assert to_entry(database().ports["qr-1"], has_device=True).compared_with(anyhow) == anyhow


def test_ports_of_a_router_that_is_not_wanted_are_found_by_its_mark_or_by_its_devices() -> None:
    assert {one.name for one in observed_ports(Known(database()), "r1", (), [], ())} == {"qr-1"}
    assert {one.name for one in observed_ports(Known(database()), "other", (), [LINK], {"qr-1"})} == {"qr-1"}
    assert observed_ports(Known(database()), "other", (), [], ()) == set()


def test_before_the_database_was_read_what_stands_counts_as_right() -> None:
    assert observed_ports(Known(None), "r1", {PORT}, [LINK], {"qr-1"}) == {PORT}
    assert observed_ports(Known(None), "r1", {PORT}, [], ()) == set()
    assert {one.name for one in observed_ports(Known(None), "r1", (), [LINK], {"qr-1"})} == {"qr-1"}
