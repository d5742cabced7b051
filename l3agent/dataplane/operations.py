# SPDX-License-Identifier: Apache-2.0
"""The closed list of operations that a client may request, and the validation of their arguments.

An operation returns its result, or is a generator of waits that returns it. The client is not trusted: each argument is
validated before anything changes, and an invalid request gets one error as its answer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from types import GeneratorType
from typing import Any, NamedTuple, Protocol, TypeVar

from l3agent import __version__
from l3agent.dataplane.backend import Backends
from l3agent.dataplane.drift.drift import Drift
from l3agent.dataplane.drift.rotation import Rotation
from l3agent.dataplane.kernel.limits import Limits, limits
from l3agent.dataplane.kernel_backend.garbage import GarbageCollector
from l3agent.dataplane.reconcile import Reconciler
from l3agent.dataplane.work.slices import INLINE_ENTRIES
from l3agent.dataplane.work.wait import Wait
from l3agent.exceptions import InvalidState, L3AgentError
from l3agent.model.escape import shorten
from l3agent.model.names import ROUTER_KINDS
from l3agent.model.protocol import PROTOCOL
from l3agent.model.states import Key, NetworkState, Report, State
from l3agent.model.wire import StateReader, entry_count, pack_report, unpack_key, unpack_state

LOG = logging.getLogger(__name__)

T = TypeVar("T")

#: Identifies this process: in containers all processes may have the same process id.
_PROCESS = os.urandom(8).hex()
_NO_TOPOLOGY = (
    "expected a router: l3-dataplane was started without [standalone] topology, or with another interface_driver than "
    "bridge; if that has changed, restart it"
)
#: More lines than any plan has.
_ALL_LINES = 1 << 30
#: The types of arguments, as error messages name them.
_TYPES: dict[type, str] = {bool: "true or false", int: "a whole number", list: "a list", dict: "a map"}


class Requester(Protocol):
    """The sender of a request."""

    @property
    def connected(self) -> bool:
        """True if the sender still waits for an answer."""

    def answer(self, number: object, error: Mapping[str, str] | None, result: object) -> None:
        """Send one answer."""


class Resources(NamedTuple):
    """Objects that the operations of the kernel thread use.

    :param nic_refusal: returns why a NIC may not be a port of a bridge, None if it may; None where the operator has no
        topology file, and so neither simulated hosts nor networks with a NIC.
    :param rotation: None where drift is not repaired.
    """

    backends: Backends
    reconciler: Reconciler
    garbage: GarbageCollector
    drift: Drift
    limits: Limits
    reader: StateReader
    nic_refusal: Callable[[str], str | None] | None
    rotation: Rotation | None = None


#: Work under way; it is suspended where it must wait for another thread.
Step = Generator[Wait, None, object]


# ---- arguments -------------------------------------------------------------------------------------------------


def _argument(args: Mapping[str, Any], name: str, expected: type[T], default: T | None = None) -> T:
    """Return an argument of the expected type.

    :param default: value of an argument that is left out, None if it must be there.
    :raises ValueError: it is missing, or of another type.
    """
    value = args.get(name, default)
    if type(value) is not expected:
        raise ValueError(f"{name}: {_shown(value) if name in args else 'missing'}: expected {_TYPES[expected]}")
    return value


def _shown(value: object) -> str:
    """Return the text of a value for an error message; a list or a map may be deep and is not printed."""
    return _TYPES[type(value)] if type(value) in (list, dict) else shorten(repr(value))


def _keys(args: Mapping[str, Any]) -> list[Key]:
    """Return the argument ``keys``, pairs of kind and id.

    :raises ValueError: it is missing, or no list of keys.
    """
    pairs = _argument(args, "keys", list)
    for pair in pairs:
        if type(pair) is not list or list(map(type, pair)) != [str, str]:
            raise ValueError(f"keys: {_shown(pair)}: expected a kind and an id")
    return [unpack_key({"kind": kind, "id": one}) for kind, one in pairs]


def _states(args: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the argument ``states``, wire forms of states whose content is not validated yet.

    :raises ValueError: it is missing, or no list of maps.
    """
    wires = _argument(args, "states", list)
    for wire in wires:
        if type(wire) is not dict:
            raise ValueError(f"states: {_shown(wire)}: expected a map")
    return wires


# ---- the closed list of operations -----------------------------------------------------------------------------


def _hello(_: Resources, __: Mapping[str, Any]) -> object:
    return {"protocol": PROTOCOL, "version": __version__, "pid": os.getpid(), "process": _PROCESS}


def _inventory(resources: Resources, args: Mapping[str, Any]) -> object:
    return resources.reconciler.inventory(marked=_argument(args, "marked", bool, False))


def _invalidate(resources: Resources, args: Mapping[str, Any]) -> object:
    resources.drift.invalidate(None if "keys" in args and args["keys"] is None else _keys(args))
    return None


def _unmanage(resources: Resources, args: Mapping[str, Any]) -> object:
    keys = _keys(args)
    resources.reconciler.unmanage(keys)
    resources.reader.forget(keys)
    return None


def _inspect(resources: Resources, args: Mapping[str, Any]) -> Step:
    wire, turns = _argument(args, "state", dict), resources.reconciler.turns
    key = unpack_key(wire)
    yield from turns.wait(key)
    key, state = yield from turns.run(key, None, entry_count(wire), partial(unpack_state, wire))
    desired, actual = yield from resources.reconciler.inspect(key, state)
    return {"desired": desired, "actual": actual}


def _reconcile(resources: Resources, args: Mapping[str, Any]) -> Step:
    dry_run, lines = _argument(args, "dry_run", bool, False), _argument(args, "lines", int, _ALL_LINES)
    # All are read first: an invalid request changes nothing.
    states = yield from _read_all(resources, _states(args), dry_run)
    reports = []
    for key, state, turn in states:
        if isinstance(state, InvalidState):
            LOG.error("%s %s: refused: %s", *key, state)
            report = Report(*key, error=f"refused by l3-dataplane: {state}")
            resources.reconciler.turns.end(key, turn)
        else:
            report = yield from resources.reconciler.reconcile(key, state, dry_run=dry_run, lines=lines, turn=turn)
        reports.append(pack_report(report))
    return reports


def _read_all(
    resources: Resources, wires: Sequence[Mapping[str, Any]], dry_run: bool
) -> Generator[Wait, None, list[tuple[Key, State | InvalidState | None, object]]]:
    """Return key, state (an error if it is invalid, None for a removal) and turn of each wire form.

    A large state is read in another thread; its turn begins now, since a newer request may be read sooner.
    """
    turns = resources.reconciler.turns
    found: list[tuple[Key, State | InvalidState | None, object]] = []
    begun: list[tuple[Key, object]] = []
    try:
        for wire in wires:
            if (size := entry_count(wire)) <= INLINE_ENTRIES:
                found.append((*_read(resources, wire, dry_run), None))
                continue
            key = unpack_key(wire)
            turn = None if dry_run else turns.begin(key)
            begun.append((key, turn))
            yield from turns.wait(key)
            found.append((*(yield from turns.run(key, None, size, partial(_read, resources, wire, dry_run))), turn))
    except BaseException:
        for key, turn in begun:
            turns.end(key, turn)
        raise
    return found


def _read(resources: Resources, wire: Mapping[str, Any], dry_run: bool) -> tuple[Key, State | InvalidState | None]:
    """Return the key and the state of a wire form, or why it is refused; a refusal concerns this state alone."""
    try:
        # A dry run accepts any state and leaves nothing behind.
        key, state = unpack_state(wire) if dry_run else resources.reader.read(wire)
    except InvalidState as exc:
        return unpack_key(wire), exc
    if state is None or key[0] in ROUTER_KINDS:
        return key, state
    if resources.nic_refusal is None:
        # It would move a NIC of this machine, or a device with the name of that of a simulated host.
        return key, InvalidState("kind", key[0], _NO_TOPOLOGY)
    if isinstance(state, NetworkState) and state.interface is not None:
        refusal = resources.nic_refusal(state.interface)
        if refusal is not None:
            return key, InvalidState("interface", state.interface, refusal)
    return key, state


def _stats(resources: Resources, _: Mapping[str, Any]) -> object:
    found = limits(resources.drift.applied.node.max_ports())
    reads = 0 if resources.rotation is None else resources.rotation.reads
    return {
        **resources.reconciler.stats(),
        "rotation_reads": reads,
        "limits": {one.name: [one.used, one.maximum] for one in found},
        "overflows": {one.name: one.overflows for one in found if one.overflows is not None},
    }


def _traffic(resources: Resources, args: Mapping[str, Any]) -> object:
    return resources.reconciler.traffic(unpack_key(args))


def _release(resources: Resources, _: Mapping[str, Any]) -> object:
    return resources.reconciler.release()


OPERATIONS: dict[str, Callable[[Resources, Mapping[str, Any]], object]] = {
    "hello": _hello,
    "invalidate": _invalidate,
    "inventory": _inventory,
    "unmanage": _unmanage,
    "inspect": _inspect,
    "reconcile": _reconcile,
    "release": _release,
    "stats": _stats,
    "traffic": _traffic,
}


def execute(resources: Resources, requester: Requester, request: Any) -> Step:
    """Execute one request and send its answer; any failure is answered, none is raised."""
    number = request[0] if isinstance(request, list) and request and isinstance(request[0], int) else 0
    try:
        _, name, args = request
        if name not in OPERATIONS:
            raise ValueError(f"unknown operation {shorten(repr(name))}; known are {', '.join(sorted(OPERATIONS))}")
        if not isinstance(args, Mapping):
            raise ValueError(f"{name}: the arguments are not a map")
        result = OPERATIONS[name](resources, args)
        if isinstance(result, GeneratorType):
            result = yield from result
        requester.answer(number, None, result)
    except (L3AgentError, ValueError, KeyError, TypeError, OSError) as exc:
        message = shorten(str(exc))
        LOG.error("request %r: %s: %s", number, type(exc).__name__, message)
        _answer_error(requester, number, exc, message)
    except Exception as exc:
        # A defect of ours in one request must not end the thread that serves all others.
        LOG.exception("request %r", number)
        _answer_error(requester, number, exc, shorten(f"internal error: {exc}"))
    return None


def _answer_error(requester: Requester, number: int, exc: Exception, message: str) -> None:
    # It may contain the name of a file, which need not be UTF-8.
    words = message.encode(errors="backslashreplace").decode()
    requester.answer(number, {"type": type(exc).__name__, "message": words}, None)
