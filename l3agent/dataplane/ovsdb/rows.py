# SPDX-License-Identifier: Apache-2.0
"""A copy of the rows that matter, kept by the updates of ``monitor_cond`` (ovsdb-server(7), section 4.1.12). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Tables and columns of the database ``Open_vSwitch`` (ovs-vswitchd.conf.db(5)) that are watched.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Open_vSwitch": ("cur_cfg",),
    "Bridge": ("name", "ports"),
    "Port": ("name", "interfaces", "tag", "vlan_mode", "trunks"),
    "Interface": ("name", "type", "external_ids", "ofport", "error"),
}
#: Columns whose updates say what differs; of all others they say the new value.
_SETS, _MAPS = frozenset({"ports", "interfaces", "trunks"}), frozenset({"external_ids"})
#: The VLAN of a port that nobody has wired yet. As a trunk of this VLAN alone it passes no frame, tagged or not.
DEAD_VLAN = 4095
#: Key of ``Interface.external_ids`` that marks a port as ours, with the id of its router.
OWNER = "l3agent-router"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A port as the database has it.

    :param rows: ids of its rows: bridge, port, interface.
    :param ids: ``external_ids`` of the interface.
    :param tag: its VLAN; None without one.
    :param dead: it is a trunk of the dead VLAN alone, whatever its tag.
    :param ofport: None until ovs-vswitchd has made it, -1 when it could not; then ``error`` says why.
    """

    name: str
    bridge: str
    rows: tuple[str, str, str]
    type: str
    ids: Mapping[str, str]
    tag: int | None
    dead: bool
    ofport: int | None
    error: str


@dataclass(slots=True)
class Rows:
    """The copy. One thread changes it; others may look up single entries.

    :param ports: by name.
    :param owned: names of ports by the id of the router they are marked with.
    :param bridges: ids of the rows of bridges, by name.
    :param current: ``cur_cfg``: the last generation of the configuration that ovs-vswitchd has carried out.
    """

    ports: dict[str, Found] = field(default_factory=dict)
    owned: dict[str, frozenset[str]] = field(default_factory=dict)
    bridges: dict[str, str] = field(default_factory=dict)
    current: int = 0
    _tables: dict[str, dict[str, Row]] = field(default_factory=lambda: {name: {} for name in COLUMNS})
    _bridge_of: dict[str, str] = field(default_factory=dict)
    _port_of: dict[str, str] = field(default_factory=dict)

    def update(self, updates: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> set[str]:
        """Take over an update and return the names of the ports and bridges that it is about.

        :raises KeyError, TypeError, ValueError: it is none.
        """
        touched: set[str] = set()
        names: set[str] = set()
        # Rows before the ones that refer to them.
        for table in ("Interface", "Port", "Bridge", "Open_vSwitch"):
            for row_id, change in updates.get(table, {}).items():
                before = self._tables[table].get(row_id)
                after = self._changed(table, row_id, before, change)
                if table == "Bridge":
                    touched |= self._moved(row_id, before, after)
                    names |= {row["name"] for row in (before, after) if row}
                elif table == "Port":
                    touched.add(row_id)
                    for interface in (before or {}).get("interfaces", ()):
                        self._port_of.pop(interface, None)
                    for interface in (after or {}).get("interfaces", ()):
                        self._port_of[interface] = row_id
                    if before and not after:
                        names |= self._drop(before["name"], row_id)
                elif table == "Interface":
                    names.add((after or before or {}).get("name", ""))
                elif after:
                    self.current = after.get("cur_cfg", 0)
        touched |= {self._port_of[one] for one in updates.get("Interface", {}) if one in self._port_of}
        for row_id in touched:
            names |= self._renew(row_id)
        return names

    # ---- private ---------------------------------------------------------------------------------------------

    def _changed(self, table: str, row_id: str, before: Row | None, change: Mapping[str, Any]) -> Row | None:
        rows = self._tables[table]
        ((kind, columns),) = change.items()
        if kind == "delete":
            rows.pop(row_id, None)
            return None
        row = rows[row_id] = dict(before or {}) if kind == "modify" else {}
        for column, value in columns.items():
            if column in _SETS:
                row[column] = row.get(column, frozenset()) ^ frozenset(map(_plain, members(value)))
            elif column in _MAPS:
                row[column] = _merged(row.get(column, {}), pairs(value))
            else:
                found = members(value)
                row[column] = found[0] if found else None
        return row

    def _moved(self, bridge_id: str, before: Row | None, after: Row | None) -> set[str]:
        """Note which ports a bridge has now; return those that came or went."""
        old, new = ((row or {}).get("ports", frozenset()) for row in (before, after))
        for port in old - new:
            if self._bridge_of.get(port) == bridge_id:
                del self._bridge_of[port]
        self._bridge_of |= dict.fromkeys(new - old, bridge_id)
        bridges = {name: one for name, one in self.bridges.items() if one != bridge_id}
        if after:
            bridges[after["name"]] = bridge_id
        self.bridges = bridges
        return set(old ^ new)

    def _renew(self, port_id: str) -> set[str]:
        """Look at a port again; return its name."""
        port = self._tables["Port"].get(port_id)
        if port is None:
            return set()
        name: str = port["name"]
        bridge_id = self._bridge_of.get(port_id)
        interface_id = next((one for one in port.get("interfaces", ()) if self._interface_name(one) == name), None)
        if bridge_id is None or interface_id is None:
            return self._drop(name, port_id)
        interface = self._tables["Interface"][interface_id]
        found = Found(
            name,
            self._tables["Bridge"][bridge_id]["name"],
            (bridge_id, port_id, interface_id),
            interface.get("type") or "",
            interface.get("external_ids", {}),
            port.get("tag"),
            port.get("vlan_mode") == "trunk" and port.get("trunks") == {DEAD_VLAN},
            interface.get("ofport"),
            interface.get("error") or "",
        )
        self._own(self.ports.get(name), found)
        self.ports[name] = found
        return {name}

    def _interface_name(self, interface_id: str) -> str | None:
        return self._tables["Interface"].get(interface_id, {}).get("name")

    def _drop(self, name: str, port_id: str) -> set[str]:
        """Forget a port, unless one of the same name has taken its place."""
        found = self.ports.get(name)
        if found is not None and found.rows[1] == port_id:
            self._own(found, None)
            del self.ports[name]
        return {name}

    def _own(self, before: Found | None, after: Found | None) -> None:
        for found, there in ((before, False), (after, True)):
            owner = found.ids.get(OWNER) if found else None
            if found is None or owner is None:
                continue
            names = self.owned.get(owner, frozenset()) - {found.name} | ({found.name} if there else set())
            if names:
                self.owned[owner] = names
            else:
                self.owned.pop(owner, None)


def members(value: Any) -> list[Any]:
    """Return the members of a set; one that has one member may be written without its brackets (RFC 7047, 5.1)."""
    if isinstance(value, list) and value[0] == "set":
        return list(value[1])
    return [value]


def _plain(value: Any) -> Any:
    """Return a member of a set; a reference without the word for it."""
    return value[1] if isinstance(value, list) else value


def pairs(value: Any) -> dict[str, str]:
    """Return a map."""
    kind, content = value
    if kind != "map":
        raise ValueError(f"expected a map: {value!r}")
    return dict(content)


def _merged(old: Mapping[str, str], difference: Mapping[str, str]) -> dict[str, str]:
    """Return a map after an update, which names a pair that goes as it was, and any other as it is now."""
    gone = {key for key, value in difference.items() if old.get(key) == value}
    return {key: value for key, value in {**old, **difference}.items() if key not in gone}
