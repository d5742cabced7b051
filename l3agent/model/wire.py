# SPDX-License-Identifier: Apache-2.0
"""Wire form of states and reports on the socket between agent and data plane: lists, strings and bytes for msgpack.

Both ends use the same protocol number (:mod:`l3agent.model.protocol`), which the ``hello`` of the socket compares.
Addresses are encoded as bytes, which are decoded in a third of the time of their text.

The reader has privileges that the writer lacks, so the reader validates every value
(:mod:`l3agent.model.validators`), and a state can name only the devices of its own ports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from l3agent.exceptions import InvalidState
from l3agent.model.names import KINDS
from l3agent.model.states import Key, NamespaceState, NetworkState, Report, State
from l3agent.model.validators import is_device, is_id
from l3agent.model.wire_fields import INVALID_ID
from l3agent.model.wire_namespace import pack_namespace, unpack_namespace
from l3agent.model.wire_rows import FIP_BYTES, NEIGHBOUR_BYTES, difference, unpack_floating_ips

#: Maximum size of a request: 80,000 routes, or half a million floating IPs.
FRAME_BYTES = 4 << 20
#: A file name has at most 255 bytes, including the prefix of a namespace.
_ID_BYTES = 200


def pack_state(key: Key, state: State | None) -> dict[str, Any]:
    """Return the wire form of a desired state; ``None`` requests its removal."""
    kind, state_id = key
    body: dict[str, Any] | None
    match state:
        case None:
            body = None
        case NamespaceState():
            body = pack_namespace(state)
        case NetworkState():
            body = {"interface": state.interface}
    return {"kind": kind, "id": state_id, "state": body}


def batches(wires: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield states in batches that fit into one request each."""
    batch: list[dict[str, Any]] = []
    size = 0
    for wire in wires:
        # A router with two ports has about 700 bytes, a route at most 60 with one next hop.
        estimate = 2000 + 60 * entry_count(wire)
        if batch and size + estimate > FRAME_BYTES // 2:
            yield batch
            batch, size = [], 0
        batch.append(wire)
        size += estimate
    if batch:
        yield batch


def unpack_state(wire: Mapping[str, Any]) -> tuple[Key, State | None]:
    """Return the key and the state of a wire form.

    :raises ValueError, KeyError, TypeError: the structure is not that of a state.
    :raises InvalidState: a value is not valid in a state.
    """
    key = unpack_key(wire)
    body = wire["state"]
    return key, None if body is None else _unpack_body(key, body)


def unpack_key(wire: Mapping[str, Any]) -> Key:
    """Return the key of a wire form. Left-overs of other programs may have any id that is valid in a file name.

    :raises ValueError, KeyError, TypeError: the structure is not that of a key.
    """
    kind, state_id = wire["kind"], str(wire["id"])
    if kind not in KINDS:
        raise ValueError(f"unknown kind of state {kind!r}")
    if not 0 < len(state_id.encode()) <= _ID_BYTES or "/" in state_id or "\0" in state_id:
        raise ValueError(f"{kind} {state_id!r}: expected an id that is valid in a file name")
    return kind, state_id


def entry_count(wire: object) -> int:
    """Return the approximate number of addresses and routes in a wire form; 0 if it is not a state."""
    body = wire.get("state") if isinstance(wire, dict) else None
    if not isinstance(body, dict):
        return 0
    floating_ips, neighbours = body.get("floating_ips"), body.get("neighbours")
    count = 3 * (len(floating_ips) // FIP_BYTES) if isinstance(floating_ips, bytes) else 0
    count += len(neighbours) // NEIGHBOUR_BYTES if isinstance(neighbours, bytes) else 0
    for rows in (body.get("routes"), body.get("rules")):
        count += len(rows) if isinstance(rows, list) else 0
    return count


def _unpack_body(key: Key, body: Mapping[str, Any]) -> State:
    kind, state_id = key
    if kind != "network":
        return unpack_namespace(kind, state_id, body)
    if not is_id(state_id):
        raise InvalidState(f"{kind}: id", state_id, INVALID_ID)
    interface = body["interface"]
    if interface is not None and (type(interface) is not str or not is_device(interface)):
        raise InvalidState("interface", interface, "expected the name of a physical interface")
    return NetworkState(state_id, interface)


class StateReader:
    """Decodes states and caches the last wire form of each, so that an unchanged state is not decoded again.

    An equal form gives the same object. If two forms differ in floating IPs only, the reader decodes only the
    differing ones: their bytes are sorted, so a binary search finds the common prefix and suffix.
    """

    def __init__(self) -> None:
        self._last: dict[Key, tuple[Mapping[str, Any], State]] = {}

    def read(self, wire: Mapping[str, Any]) -> tuple[Key, State | None]:
        """Return the key and the state of a wire form. An absent state (None) leaves the cache.

        :raises ValueError, KeyError, TypeError: the structure is not that of a state.
        :raises InvalidState: a value is not valid in a state.
        """
        former = self._last.get((wire["kind"], wire["id"]))
        if former is None or wire["state"] is None:
            key, state = unpack_state(wire)
        else:
            key, state = (wire["kind"], wire["id"]), _unpack_change(*former, wire)
        if state is None:
            self._last.pop(key, None)
        else:
            self._last[key] = wire, state
        return key, state

    def forget(self, keys: Iterable[Key]) -> None:
        """Remove states from the cache."""
        for key in keys:
            self._last.pop(key, None)


def _unpack_change(before: Mapping[str, Any], state: State, after: Mapping[str, Any]) -> State | None:
    """Return the state of a wire form, given the previous form and its state."""
    if after == before:
        return state
    old, new = dict(before["state"]), dict(after["state"])
    if isinstance(state, NamespaceState):
        removed, added = difference(old.pop("floating_ips"), new.pop("floating_ips"), FIP_BYTES)
        if old == new:
            left = state.floating_ips - unpack_floating_ips(removed)
            return replace(state, floating_ips=left | unpack_floating_ips(added))
    return unpack_state(after)[1]


def pack_report(report: Report) -> dict[str, Any]:
    """Return the wire form of a report."""
    return {
        "kind": report.kind,
        "id": report.id,
        "operations": list(report.operations),
        "count": report.count,
        "error": report.error,
        "timings": dict(report.timings),
    }


def unpack_report(wire: Mapping[str, Any]) -> Report:
    """Return the report of a wire form."""
    operations = tuple(wire["operations"])
    return Report(wire["kind"], wire["id"], operations, wire["error"], dict(wire["timings"]), wire["count"])
