# SPDX-License-Identifier: Apache-2.0
"""However the database came to where it is, the copy says the same as one that was read just now."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from l3agent.dataplane.ovsdb.rows import Rows

BRIDGES, NAMES = ("br-int", "br-ex"), ("qr-1", "qg-2", "tap3")


@dataclass(frozen=True)
class PortRow:
    """A port with its interface; another ``life`` is another row of the same name."""

    bridge: str
    life: int
    tag: int | None
    trunks: frozenset[int]
    ids: dict[str, str] = field(hash=False)
    ofport: int | None


Database = dict[str, PortRow]

PORTS = st.builds(
    PortRow,
    st.sampled_from(BRIDGES),
    st.integers(0, 1),
    st.sampled_from((None, 1, 4095)),
    st.frozensets(st.sampled_from((1, 2, 4095))),
    st.dictionaries(st.sampled_from(("iface-id", "l3agent-router", "other")), st.sampled_from("ab")),
    st.sampled_from((None, -1, 7)),
)
DATABASES = st.dictionaries(st.sampled_from(NAMES), PORTS)


def tables(database: Database) -> dict[str, dict[str, dict[str, Any]]]:
    """Return rows by table and id."""
    rows: dict[str, dict[str, dict[str, Any]]] = {
        "Bridge": {name: {"name": name, "ports": set()} for name in BRIDGES},
        "Port": {},
        "Interface": {},
        "Open_vSwitch": {"o": {"cur_cfg": len(database)}},
    }
    for name, port in database.items():
        port_id, interface_id = f"p-{name}-{port.life}", f"i-{name}-{port.life}"
        rows["Bridge"][port.bridge]["ports"].add(port_id)
        rows["Port"][port_id] = {"name": name, "interfaces": {interface_id}, "tag": port.tag}
        rows["Port"][port_id] |= {"vlan_mode": "trunk" if port.trunks else None, "trunks": set(port.trunks)}
        rows["Interface"][interface_id] = {"name": name, "type": "internal", "external_ids": port.ids}
        rows["Interface"][interface_id] |= {"ofport": port.ofport, "error": None}
    return rows


def wire(value: Any) -> Any:
    match value:
        case set():
            named = [["uuid", one] if isinstance(one, str) else one for one in sorted(value)]
            # One member is written without its brackets by some servers.
            return named[0] if len(named) == 1 else ["set", named]
        case dict():
            return ["map", [list(pair) for pair in value.items()]]
        case None:
            return ["set", []]
        case _:
            return value


def difference(before: Any, after: Any) -> Any:
    if isinstance(after, set):
        return wire(before ^ after)
    if isinstance(after, dict):
        gone = {key: value for key, value in before.items() if key not in after}
        return wire(gone | {key: value for key, value in after.items() if before.get(key) != value})
    return wire(after)


def initial(database: Database) -> dict[str, Any]:
    return {
        table: {row_id: {"initial": {key: wire(value) for key, value in row.items()}} for row_id, row in rows.items()}
        for table, rows in tables(database).items()
    }


def update(before: Database, after: Database) -> dict[str, Any]:
    made: dict[str, Any] = {}
    old, new = tables(before), tables(after)
    for table, rows in new.items():
        changes: dict[str, Any] = {row_id: {"delete": None} for row_id in old[table].keys() - rows.keys()}
        for row_id, row in rows.items():
            was = old[table].get(row_id)
            if was is None:
                changes[row_id] = {"insert": {key: wire(value) for key, value in row.items()}}
            elif was != row:
                differs = {key: difference(was[key], row[key]) for key in row if row[key] != was[key]}
                changes[row_id] = {"modify": differs}
        if changes:
            made[table] = changes
    return made


@given(st.lists(DATABASES, min_size=2, max_size=6))
def test_updates_lead_to_what_a_new_reader_sees(history: Any) -> None:
    copy, fresh = Rows(), Rows()
    copy.update(initial(history[0]))
    for before, after in itertools.pairwise(history):
        touched = copy.update(update(before, after))
        assert {name for name in NAMES if before.get(name) != after.get(name)} <= touched
    fresh.update(initial(history[-1]))
    assert (copy.ports, copy.owned, copy.bridges, copy.current) == (
        fresh.ports,
        fresh.owned,
        fresh.bridges,
        fresh.current,
    )
    assert {name: found.bridge for name, found in copy.ports.items()} == {
        name: port.bridge for name, port in history[-1].items()
    }
