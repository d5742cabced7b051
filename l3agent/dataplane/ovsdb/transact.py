# SPDX-License-Identifier: Apache-2.0
"""Operations of plans as one OVSDB transaction (RFC 7047, section 4.1.3). Pure: values to JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from l3agent.dataplane.ovsdb.rows import DEAD_VLAN, Found, Rows
from l3agent.dataplane.plan.diff import Operation
from l3agent.dataplane.plan.entries import SwitchPort
from l3agent.exceptions import ApplyError

_DEAD: Mapping[str, Any] = {"tag": DEAD_VLAN, "vlan_mode": "trunk", "trunks": DEAD_VLAN}
_ALIVE: Mapping[str, Any] = {"vlan_mode": ["set", []], "trunks": ["set", []]}


@dataclass(slots=True)
class Transaction:
    """What is sent together.

    :param waits: something is left to ovs-vswitchd: it takes up the generation that the transaction makes.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    waits: bool = False
    _come: dict[str, list[list[str]]] = field(default_factory=dict)
    _gone: dict[str, list[list[str]]] = field(default_factory=dict)

    def add(self, operation: Operation, rows: Rows, *, nudged: bool = True, renewed: bool = False) -> bool:
        """Take in an operation as far as the database differs from it, so that it may be asked for again.

        Its bridge exists: see :func:`check_bridges`.

        :param nudged: ovs-vswitchd was told to look again at a port that lost its device, and left it so.
        :param renewed: such a port was removed already.
        :returns: whether it must be, once ovs-vswitchd has taken up the transaction.
        """
        port = operation.entry
        assert isinstance(port, SwitchPort)
        found = rows.ports.get(port.name)
        if operation.verb == "remove":
            if found is not None:
                self._remove(found)
            return False
        lost = isinstance(operation.was, SwitchPort) and not operation.was.made
        if found is not None and lost and found.ofport is not None and nudged and not renewed:
            # ovs-vswitchd has made it and it lost its device since. A port that comes with the same name in the
            # transaction in which it goes is the same one to it, so it must go first, with what the L2 agent wired.
            self._remove(found)
            return True
        if found is not None and found.bridge != port.bridge:
            self._remove(found)
            found = None
        if found is None:
            self._insert(port, rows.bridges[port.bridge])
        else:
            self.waits = self.waits or lost
            self._mend(port, found)
        return False

    def finished(self) -> list[dict[str, Any]]:
        """Return all steps; the last one tells the generation that ovs-vswitchd has to reach."""
        steps = list(self.steps)
        for bridge in self._gone.keys() | self._come.keys():
            kinds = (("delete", self._gone), ("insert", self._come))
            mutations = [["ports", verb, ["set", ports[bridge]]] for verb, ports in kinds if bridge in ports]
            steps.append({"op": "mutate", "table": "Bridge", "where": _where(bridge), "mutations": mutations})
        if steps or self.waits:
            steps.append({"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]})
            steps.append({"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]})
        return steps

    # ---- private ---------------------------------------------------------------------------------------------

    def _remove(self, found: Found) -> None:
        bridge, port, _ = found.rows
        # The rows of the port and its interface go by themselves with the last reference.
        self._gone.setdefault(bridge, []).append(["uuid", port])
        self.waits = True

    def _insert(self, port: SwitchPort, bridge: str) -> None:
        number = len(self.steps)
        interface, name = f"interface{number}", f"port{number}"
        row = {"name": port.name, "type": port.type, "external_ids": ["map", sorted(map(list, port.ids))]}
        self.steps.append({"op": "insert", "table": "Interface", "row": row, "uuid-name": interface})
        row = {"name": port.name, "interfaces": ["named-uuid", interface], **(_DEAD if port.tagged else {})}
        self.steps.append({"op": "insert", "table": "Port", "row": row, "uuid-name": name})
        self._come.setdefault(bridge, []).append(["named-uuid", name])
        self.waits = True

    def _mend(self, port: SwitchPort, found: Found) -> None:
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
        if port.tagged and (found.tag is None or is_stuck(found)):
            row = dict(_DEAD if found.tag is None else _ALIVE)
            self.steps.append({"op": "update", "table": "Port", "where": _where(port_row), "row": row})


def check_bridges(operations: Iterable[Operation], rows: Rows) -> None:
    """See that there are all bridges that operations need.

    :raises ApplyError: one is missing.
    """
    for operation in operations:
        port = operation.entry
        assert isinstance(port, SwitchPort)
        if operation.verb != "remove" and port.bridge not in rows.bridges:
            raise ApplyError(
                f"Open vSwitch has no bridge {port.bridge}; the L2 agent makes the integration bridge when it starts "
                f"(or type: ovs-vsctl add-br {port.bridge})"
            )


def is_stuck(found: Found) -> bool:
    """Tell whether an L2 agent has wired a port and it is dead all the same: those of old set the tag alone."""
    return found.dead and found.tag not in (None, DEAD_VLAN)


def refusal(answers: Iterable[Any]) -> str | None:
    """Return why the server refused a transaction; None when it did not."""
    for answer in answers:
        if isinstance(answer, dict) and answer.get("error"):
            return f"{answer['error']}: {answer.get('details', '')}".rstrip(": ")
    return None


def _where(row: str) -> list[Any]:
    return [["_uuid", "==", ["uuid", row]]]
