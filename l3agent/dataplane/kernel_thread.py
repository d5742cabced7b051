# SPDX-License-Identifier: Apache-2.0
"""The worker thread that owns all kernel access, and the operations a client may request.

The kernel has one lock for links and addresses (rtnl), so one thread does all kernel work and also reads requests:
each further thread between a request and its answer would add a wait. Requests come first; repairs of what
other programs changed run between them, and garbage collection runs when nothing else is due.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from types import GeneratorType
from typing import Any, NamedTuple, Protocol

from l3agent import __version__
from l3agent.dataplane.drift.drift import Drift
from l3agent.dataplane.drift.rotation import Rotation
from l3agent.dataplane.garbage import GarbageCollector
from l3agent.dataplane.kernel.limits import Limits, limits
from l3agent.dataplane.reconcile import Reconciler
from l3agent.dataplane.slices import INLINE_ENTRIES
from l3agent.dataplane.wait import Wait
from l3agent.exceptions import InvalidState, L3AgentError
from l3agent.model.escape import shorten
from l3agent.model.names import ROUTER_KINDS
from l3agent.model.protocol import PROTOCOL
from l3agent.model.states import Key, NetworkState, Report, State
from l3agent.model.wire import StateReader, entry_count, pack_report, unpack_key, unpack_state

LOG = logging.getLogger(__name__)

#: Seconds between two runs of the garbage collection, and after a run that removed something.
_GARBAGE_PAUSE_S, _GARBAGE_NEXT_S = 0.1, 0.02
#: Seconds without a request after which the other threads may work, and maximum seconds until they may.
_IDLE_S, _MAX_BUSY_S = 0.002, 0.05
#: Identifies this process: in containers all processes may have the same process id.
_PROCESS = os.urandom(8).hex()
_NO_TOPOLOGY = (
    "expected a router: l3-dataplane was started without [standalone] topology, or with another interface_driver than "
    "bridge; if that has changed, restart it"
)
#: Suspended requests from which on no more are read; an agent has 8 workers.
_MAX_SUSPENDED = 64
#: More lines than any plan has.
_ALL_LINES = 1 << 30


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

    reconciler: Reconciler
    garbage: GarbageCollector
    drift: Drift
    limits: Limits
    reader: StateReader
    nic_refusal: Callable[[str], str | None] | None
    rotation: Rotation | None = None


#: Work under way; it is suspended where it must wait for another thread.
Step = Generator[Wait, None, object]


class KernelThread:
    """Executes requests, and between them the work that is due."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._suspended: list[tuple[Wait, Step]] = []
        self._garbage_at = self._yielded_at = 0.0
        self._yield_at: float | None = 0.0

    @property
    def descriptors(self) -> list[int]:
        """Descriptors that become readable when another program changes something, or a wait is over."""
        return [*self._resources.drift.descriptors, self._resources.reconciler.turns.descriptor]

    @property
    def has_room(self) -> bool:
        """Return False if the maximum number of requests is suspended, so that no more should be read."""
        return len(self._suspended) < _MAX_SUSPENDED

    def serve(self, requester: Requester, request: Any) -> None:
        """Execute one request until it has to wait; then check limits and, if due, yield to the other threads."""
        resources = self._resources
        if resources.drift.is_overdue():
            self._repair()
        if resources.rotation is not None and resources.rotation.is_overdue(now := time.monotonic()):
            resources.rotation.run(now)
        # A client that is gone needs no answer; its successor sends the request again.
        if requester.connected:
            self._advance(_execute(resources, requester, request))
        resources.limits.check(resources.drift.max_ports)
        if (now := time.monotonic()) > self._yielded_at + _MAX_BUSY_S:
            self._yield_to_threads(now)

    def read_events(self) -> None:
        """Record the changes of other programs."""
        self._resources.reconciler.turns.clear()
        self._resources.drift.read_events()

    def resume(self) -> None:
        """Continue suspended requests whose wait has ended."""
        suspended, self._suspended = self._suspended, []
        for wait, step in suspended:
            if wait.done:
                self._advance(step)
            else:
                self._suspended.append((wait, step))

    def on_idle(self) -> None:
        """Do background work while no request waits: repairs, the other threads, garbage collection."""
        resources, now = self._resources, time.monotonic()
        if self._repair():
            return
        if resources.rotation is not None and not resources.rotation.wait(now):
            resources.rotation.run(now)
        if self._yield_at is not None and now >= self._yield_at:
            self._yield_to_threads(now)
            self._yield_at = None
        if now >= self._next_garbage_run():
            pause = _GARBAGE_NEXT_S if _collect_garbage(resources.garbage) else _GARBAGE_PAUSE_S
            self._garbage_at = time.monotonic() + pause

    def wait(self) -> float:
        """Return the seconds until something is due."""
        if self._suspended and any(wait.done for wait, _ in self._suspended):
            return 0.0
        garbage_at, due = self._next_garbage_run(), self._resources.drift.wait()
        until = garbage_at if self._yield_at is None else min(garbage_at, self._yield_at)
        now = time.monotonic()
        seconds = max(0.0, until - now)
        if self._resources.rotation is not None:
            seconds = min(seconds, self._resources.rotation.wait(now))
        return seconds if due is None else min(seconds, due)

    # ---- private ---------------------------------------------------------------------------------------------

    def _advance(self, step: Step) -> None:
        """Advance work to its end, or to its next wait."""
        for wait in step:
            if not wait.done:
                self._suspended.append((wait, step))
                break
        self._resources.reconciler.run_deferred()
        # Requests, resumed ones and repairs alike may have added announcements.
        self._yield_at = time.monotonic() + _IDLE_S

    def _next_garbage_run(self) -> float:
        return max(self._resources.garbage.next_run(), self._garbage_at)

    def _repair(self) -> bool:
        work = self._resources.reconciler.repair()
        if work is not None:
            self._advance(work)
        return work is not None

    def _yield_to_threads(self, now: float) -> None:
        """Wake the threads that fill the pool, announce and close; they compete for the interpreter's lock."""
        self._yielded_at = now
        self._resources.reconciler.on_idle()


def _collect_garbage(garbage: GarbageCollector) -> bool:
    try:
        return garbage.collect()
    except L3AgentError as exc:
        LOG.warning("garbage collection: %s; next attempt later", exc)
        return False


# ---- the closed list of operations -----------------------------------------------------------------------------


def _hello(_: Resources, __: Mapping[str, Any]) -> object:
    return {"protocol": PROTOCOL, "version": __version__, "pid": os.getpid(), "process": _PROCESS}


def _inventory(resources: Resources, args: Mapping[str, Any]) -> object:
    return resources.reconciler.inventory(marked=bool(args.get("marked", False)))


def _invalidate(resources: Resources, args: Mapping[str, Any]) -> object:
    keys = args["keys"]
    resources.drift.invalidate(None if keys is None else [unpack_key({"kind": kind, "id": one}) for kind, one in keys])
    return None


def _unmanage(resources: Resources, args: Mapping[str, Any]) -> object:
    keys = [unpack_key({"kind": kind, "id": one}) for kind, one in args["keys"]]
    resources.reconciler.unmanage(keys)
    resources.reader.forget(keys)
    return None


def _inspect(resources: Resources, args: Mapping[str, Any]) -> Step:
    wire, turns = args["state"], resources.reconciler.turns
    key = unpack_key(wire)
    yield from turns.wait(key)
    key, state = yield from turns.run(key, None, entry_count(wire), partial(unpack_state, wire))
    desired, actual = yield from resources.reconciler.inspect(key, state)
    return {"desired": desired, "actual": actual}


def _reconcile(resources: Resources, args: Mapping[str, Any]) -> Step:
    dry_run, lines = bool(args.get("dry_run", False)), args.get("lines", _ALL_LINES)
    if type(lines) is not int:
        raise ValueError(f"reconcile: lines: {shorten(repr(lines))}: expected a whole number")
    # All are read first: an invalid request changes nothing.
    states = yield from _read_all(resources, args["states"], dry_run)
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
    found = limits(resources.drift.max_ports())
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


def _execute(resources: Resources, requester: Requester, request: Any) -> Step:
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
