# SPDX-License-Identifier: Apache-2.0
"""Converts operations of plans to one OVSDB transaction (RFC 7047, section 4.1.3). Pure: values to JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from l3agent.dataplane.ovsdb.rows import DEAD_VLAN, PortRow, Rows
from l3agent.dataplane.plan.kinds.base import Operation
from l3agent.dataplane.plan.kinds.switch_port import SwitchPort
from l3agent.exceptions import ApplyError

_DEAD: Mapping[str, Any] = {"tag": DEAD_VLAN, "vlan_mode": "trunk", "trunks": DEAD_VLAN}
_ALIVE: Mapping[str, Any] = {"vlan_mode": ["set", []], "trunks": ["set", []]}


@dataclass(slots=True)
class Transaction:
    """Steps of a transaction.

    :param waits: True if ovs-vswitchd must apply the generation of the configuration that the transaction creates.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    waits: bool = False
    _inserted: dict[str, list[list[str]]] = field(default_factory=dict)
    _deleted: dict[str, list[list[str]]] = field(default_factory=dict)

    def add(
        self, operation: Operation[SwitchPort], rows: Rows, *, retried: bool = True, removed_before: bool = False
    ) -> bool:
        """Add the steps of an operation that the database does not contain yet; repeated operations are idempotent.

        The bridge must exist, see :func:`check_bridges`.

        :param retried: ovs-vswitchd reconfigured a port that lost its device, and did not create the device.
        :param removed_before: an earlier transaction removed such a port.
        :returns: True if the operation must be added again after ovs-vswitchd has applied this transaction.
        """
        port = operation.entry
        found = rows.ports.get(port.name)
        if operation.verb == "remove":
            if found is not None:
                self._remove(found)
            return False
        lost = operation.previous is not None and not operation.previous.has_device
        if found is not None and lost and found.ofport is not None and retried and not removed_before:
            # ovs-vswitchd created the port, which has lost its device since. If one transaction deletes and inserts a
            # port of the same name, ovs-vswitchd sees no change; so a transaction of its own deletes the port first,
            # with the wiring of the L2 agent.
            self._remove(found)
            return True
        if found is not None and found.bridge != port.bridge:
            self._remove(found)
            found = None
        if found is None:
            self._insert(port, rows.bridges[port.bridge])
        else:
            self.waits = self.waits or lost
            self._correct(port, found)
        return False

    def build(self) -> list[dict[str, Any]]:
        """Return all steps; the last step selects the generation that ovs-vswitchd must reach."""
        steps = list(self.steps)
        for bridge in self._deleted.keys() | self._inserted.keys():
            kinds = (("delete", self._deleted), ("insert", self._inserted))
            mutations = [["ports", verb, ["set", ports[bridge]]] for verb, ports in kinds if bridge in ports]
            steps.append({"op": "mutate", "table": "Bridge", "where": _where(bridge), "mutations": mutations})
        if steps or self.waits:
            steps.append({"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]})
            steps.append({"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]})
        return steps

    # ---- private ---------------------------------------------------------------------------------------------

    def _remove(self, found: PortRow) -> None:
        bridge, port, _ = found.rows
        # The server deletes the rows of the port and its interface with the last reference.
        self._deleted.setdefault(bridge, []).append(["uuid", port])
        self.waits = True

    def _insert(self, port: SwitchPort, bridge: str) -> None:
        number = len(self.steps)
        interface, name = f"interface{number}", f"port{number}"
        row = {"name": port.name, "type": port.type, "external_ids": ["map", sorted(map(list, port.ids))]}
        self.steps.append({"op": "insert", "table": "Interface", "row": row, "uuid-name": interface})
        row = {"name": port.name, "interfaces": ["named-uuid", interface], **(_DEAD if port.has_tag else {})}
        self.steps.append({"op": "insert", "table": "Port", "row": row, "uuid-name": name})
        self._inserted.setdefault(bridge, []).append(["named-uuid", name])
        self.waits = True

    def _correct(self, port: SwitchPort, found: PortRow) -> None:
        _, port_row, interface_row = found.rows
        wrong = [[key, value] for key, value in sorted(port.ids) if found.ids.get(key) != value]
        if wrong:
            mutations = [
                ["external_ids", "delete", ["set", [key for key, _ in wrong]]],
                ["external_ids", "insert", ["map", wrong]],
            ]
            where = _where(interface_row)
            self.steps.append({"op": "mutate", "table": "Interface", "where": where, "mutations": mutations})
        if port.type != found.type:
            where = _where(interface_row)
            self.steps.append({"op": "update", "table": "Interface", "where": where, "row": {"type": port.type}})
            self.waits = True
        if port.has_tag and (found.tag is None or is_stuck(found)):
            row = dict(_DEAD if found.tag is None else _ALIVE)
            self.steps.append({"op": "update", "table": "Port", "where": _where(port_row), "row": row})


def check_bridges(operations: Iterable[Operation[SwitchPort]], rows: Rows) -> None:
    """Check that the bridges of all operations exist.

    :raises ApplyError: a bridge is missing.
    """
    for operation in operations:
        port = operation.entry
        if operation.verb != "remove" and port.bridge not in rows.bridges:
            raise ApplyError(
                f"Open vSwitch has no bridge {port.bridge}; the L2 agent creates the integration bridge at start "
                f"(or type: ovs-vsctl add-br {port.bridge})"
            )


def is_stuck(found: PortRow) -> bool:
    """Return True if the L2 agent has wired a port that is still dead: L2 agents of old releases set only the tag."""
    return found.dead and found.tag not in (None, DEAD_VLAN)


def first_error(answers: Iterable[Any]) -> str | None:
    """Return the first error in the answer to a transaction; None if it succeeded."""
    for answer in answers:
        if isinstance(answer, dict) and answer.get("error"):
            return f"{answer['error']}: {answer.get('details', '')}".rstrip(": ")
    return None


def _where(row: str) -> list[Any]:
    return [["_uuid", "==", ["uuid", row]]]
