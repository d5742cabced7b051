# SPDX-License-Identifier: Apache-2.0
"""Copy of the monitored rows, maintained by the updates of ``monitor_cond`` (ovsdb-server(7), section 4.1.12). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from l3agent.dataplane.plan.kinds.switch_port import OWNER

#: Monitored tables and columns of the database ``Open_vSwitch`` (ovs-vswitchd.conf.db(5)).
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Open_vSwitch": ("cur_cfg",),
    "Bridge": ("name", "ports"),
    "Port": ("name", "interfaces", "tag", "vlan_mode", "trunks"),
    "Interface": ("name", "type", "external_ids", "ofport", "error"),
}
#: Columns whose updates contain the difference; updates of all other columns contain the new value.
_SETS, _MAPS = frozenset({"ports", "interfaces", "trunks"}), frozenset({"external_ids"})
#: VLAN of a port that the L2 agent has not wired yet. A trunk of this VLAN alone passes no frame, tagged or not.
DEAD_VLAN = 4095

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PortRow:
    """A port in the database.

    :param rows: ids of its rows: bridge, port, interface.
    :param ids: ``external_ids`` of the interface.
    :param tag: its VLAN; None if it has none.
    :param dead: True for a trunk of the dead VLAN alone, whatever its tag.
    :param ofport: None until ovs-vswitchd has created the port; -1 if it failed, with the reason in ``error``.
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
    """The copy of the rows. One thread updates it; other threads may look up single entries.

    :param ports: ports by name.
    :param owned: names of ports by the id of the router they are marked with.
    :param bridges: row ids of bridges by name.
    :param current: ``cur_cfg``, the last generation of the configuration that ovs-vswitchd has applied.
    """

    ports: dict[str, PortRow] = field(default_factory=dict)
    owned: dict[str, frozenset[str]] = field(default_factory=dict)
    bridges: dict[str, str] = field(default_factory=dict)
    current: int = 0
    _tables: dict[str, dict[str, Row]] = field(default_factory=lambda: {name: {} for name in COLUMNS})
    _bridge_of: dict[str, str] = field(default_factory=dict)
    _port_of: dict[str, str] = field(default_factory=dict)

    def update(self, updates: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> set[str]:
        """Apply an update and return the names of the changed ports and bridges.

        :raises KeyError, TypeError, ValueError: the update is malformed.
        """
        touched: set[str] = set()
        names: set[str] = set()
        # Rows precede the rows that refer to them.
        for table in ("Interface", "Port", "Bridge", "Open_vSwitch"):
            for row_id, change in updates.get(table, {}).items():
                before = self._tables[table].get(row_id)
                after = self._apply_change(table, row_id, before, change)
                if table == "Bridge":
                    touched |= self._update_bridge(row_id, before, after)
                    names |= {row["name"] for row in (before, after) if row}
                elif table == "Port":
                    touched.add(row_id)
                    for interface in (before or {}).get("interfaces", ()):
                        self._port_of.pop(interface, None)
                    for interface in (after or {}).get("interfaces", ()):
                        self._port_of[interface] = row_id
                    if before and not after:
                        names |= self._remove_port(before["name"], row_id)
                elif table == "Interface":
                    names.add((after or before or {}).get("name", ""))
                elif after:
                    self.current = after.get("cur_cfg", 0)
        touched |= {self._port_of[one] for one in updates.get("Interface", {}) if one in self._port_of}
        for row_id in touched:
            names |= self._update_port(row_id)
        return names

    # ---- private ---------------------------------------------------------------------------------------------

    def _apply_change(self, table: str, row_id: str, before: Row | None, change: Mapping[str, Any]) -> Row | None:
        rows = self._tables[table]
        ((kind, columns),) = change.items()
        if kind == "delete":
            rows.pop(row_id, None)
            return None
        row = rows[row_id] = dict(before or {}) if kind == "modify" else {}
        for column, value in columns.items():
            if column in _SETS:
                row[column] = row.get(column, frozenset()) ^ frozenset(map(_strip_type, members(value)))
            elif column in _MAPS:
                row[column] = _apply_difference(row.get(column, {}), pairs(value))
            else:
                found = members(value)
                row[column] = found[0] if found else None
        return row

    def _update_bridge(self, bridge_id: str, before: Row | None, after: Row | None) -> set[str]:
        """Record the ports of a bridge; return the row ids of added and removed ports."""
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

    def _update_port(self, port_id: str) -> set[str]:
        """Update a port from its rows; return its name."""
        port = self._tables["Port"].get(port_id)
        if port is None:
            return set()
        name: str = port["name"]
        bridge_id = self._bridge_of.get(port_id)
        interface_id = next((one for one in port.get("interfaces", ()) if self._interface_name(one) == name), None)
        if bridge_id is None or interface_id is None:
            return self._remove_port(name, port_id)
        interface = self._tables["Interface"][interface_id]
        found = PortRow(
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
        self._update_owners(self.ports.get(name), found)
        self.ports[name] = found
        return {name}

    def _interface_name(self, interface_id: str) -> str | None:
        return self._tables["Interface"].get(interface_id, {}).get("name")

    def _remove_port(self, name: str, port_id: str) -> set[str]:
        """Remove a port, unless another row of the same name has replaced it."""
        found = self.ports.get(name)
        if found is not None and found.rows[1] == port_id:
            self._update_owners(found, None)
            del self.ports[name]
        return {name}

    def _update_owners(self, before: PortRow | None, after: PortRow | None) -> None:
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
    """Return the members of a set; a set with one member may be encoded as that member (RFC 7047, 5.1)."""
    if isinstance(value, list) and value[0] == "set":
        return list(value[1])
    return [value]


def _strip_type(value: Any) -> Any:
    """Return a member of a set; of a reference, return the id without the type."""
    return value[1] if isinstance(value, list) else value


def pairs(value: Any) -> dict[str, str]:
    """Return a map as a dictionary.

    :raises ValueError: the value is not a map.
    """
    kind, content = value
    if kind != "map":
        raise ValueError(f"expected a map: {value!r}")
    return dict(content)


def _apply_difference(old: Mapping[str, str], difference: Mapping[str, str]) -> dict[str, str]:
    """Return a map after an update, which contains removed pairs with their old value and other pairs with the new."""
    removed = {key for key, value in difference.items() if old.get(key) == value}
    return {key: value for key, value in {**old, **difference}.items() if key not in removed}
