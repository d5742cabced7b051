# SPDX-License-Identifier: Apache-2.0
"""The lane: the one thread that does the kernel work, and the closed list of what it does.

The kernel has one lock for links and addresses (rtnl), so one thread does all of it. Requests come first; what others
changed is mended between them, and left-overs are removed when there is nothing else to do.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable, Generator, Mapping
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol

from l3agent import __version__
from l3agent.dataplane.drift import Drift
from l3agent.dataplane.limits import Limits, limits
from l3agent.dataplane.plain import plain
from l3agent.dataplane.reconcile import Reconciler, Wait
from l3agent.dataplane.tidy import Tidier
from l3agent.exceptions import L3AgentError
from l3agent.model.wire import pack_report, unpack_state

LOG = logging.getLogger(__name__)

#: Seconds without a request before a look for what was left over, and between two such looks.
_TIDY_PAUSE_S, _TIDY_NEXT_S = 0.1, 0.02


class Asker(Protocol):
    """Who sent a request."""

    @property
    def connected(self) -> bool:
        """Whether anybody waits for an answer."""

    def answer(self, number: object, error: Mapping[str, str] | None, result: object) -> None:
        """Send one answer."""


class Crew(NamedTuple):
    """What works in the lane; made in its thread, since sockets stay with the thread that opened them."""

    reconciler: Reconciler
    tidier: Tidier
    drift: Drift
    limits: Limits


Job = tuple[Asker, Any] | None
#: What is under way; it stops where it must wait for what is not done in the lane.
Step = Generator[Wait, None, object]


class Lane:
    """Takes requests from another thread.

    :param gather: makes the crew, in the thread of the lane.
    """

    def __init__(self, gather: Callable[[], Crew]) -> None:
        self._gather = gather
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        self._failure: BaseException | None = None
        self._parked: list[tuple[Wait, Step]] = []
        self._thread = threading.Thread(target=self._run, name="lane")

    def start(self, on_failure: Callable[[], None]) -> None:
        """Begin to work.

        :param on_failure: called when the crew cannot be gathered; :meth:`end` tells why.
        """
        self._on_failure = on_failure
        self._thread.start()

    def put(self, asker: Asker, request: Any) -> None:
        """Hand a request over."""
        self._ring((asker, request))

    def end(self) -> None:
        """Stop after the requests that were handed over.

        :raises Exception: what gathering the crew failed with.
        """
        self._ring(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    # ---- private ---------------------------------------------------------------------------------------------

    def _ring(self, job: Job) -> None:
        self._jobs.put(job)
        os.eventfd_write(self._bell, 1)

    def _run(self) -> None:
        try:
            crew = self._gather()
        except Exception as exc:
            self._failure = exc
            self._on_failure()
            return
        for descriptor in crew.drift.descriptors:
            self._poll.register(descriptor, select.POLLIN)
        while (job := self._next_job(crew)) is not None:
            asker, request = job
            # Nobody waits for the answer of a client that is gone; its successor asks again.
            if asker.connected:
                self._go_on(_execute(crew, asker, request))
            crew.limits.look(crew.drift.most_ports)

    def _go_on(self, step: Step) -> None:
        """Work until the end, or until there is something to wait for."""
        for wait in step:
            if not wait.done:
                self._parked.append((wait, step))
                return

    def _resume(self) -> None:
        """Go on with what waits no longer."""
        parked, self._parked = self._parked, []
        for wait, step in parked:
            if wait.done:
                self._go_on(step)
            else:
                self._parked.append((wait, step))

    def _repair(self, crew: Crew) -> bool:
        work = crew.reconciler.repair()
        if work is not None:
            self._go_on(work)
        return work is not None

    def _next_job(self, crew: Crew) -> Job:
        """Wait for a request; meanwhile go on with others, mend and tidy."""
        pause = _TIDY_PAUSE_S
        while True:
            if self._parked:
                self._resume()
            if crew.drift.overdue():
                self._repair(crew)
            try:
                return self._jobs.get_nowait()
            except Empty:
                pass
            ready = self._wait(crew, pause)
            if self._bell in ready:
                os.eventfd_read(self._bell)
            elif ready:
                crew.drift.hear()
            elif not self._repair(crew) and crew.tidier.untidy():
                pause = _TIDY_NEXT_S if _tidied(crew.tidier) else _TIDY_PAUSE_S

    def _wait(self, crew: Crew, pause: float) -> set[int]:
        """Wait for a request or an event, or until something is due; return the descriptors that can be read."""
        until = [one for one in (crew.drift.wait(), pause if crew.tidier.untidy() else None) if one is not None]
        return {descriptor for descriptor, _ in self._poll.poll(min(until) * 1000 if until else None)}


def _tidied(tidier: Tidier) -> bool:
    try:
        return tidier.tidy()
    except L3AgentError as exc:
        LOG.warning("tidying up: %s; tried again later", exc)
        return False


# ---- the closed list of operations -----------------------------------------------------------------------------


def _hello(_: Crew, __: Mapping[str, Any]) -> object:
    return {"version": __version__, "pid": os.getpid()}


def _inventory(crew: Crew, args: Mapping[str, Any]) -> object:
    return crew.reconciler.inventory(marked=bool(args.get("marked", False)))


def _let_be(crew: Crew, args: Mapping[str, Any]) -> object:
    crew.reconciler.let_be([unpack_state({"kind": kind, "id": one, "state": None})[0] for kind, one in args["keys"]])
    return None


def _look(crew: Crew, args: Mapping[str, Any]) -> object:
    desired, actual = crew.reconciler.look(*unpack_state(args["state"]))
    return {"desired": plain(desired), "actual": plain(actual)}


def _reconcile(crew: Crew, args: Mapping[str, Any]) -> Step:
    states = [unpack_state(one) for one in args["states"]]
    dry_run = bool(args.get("dry_run", False))
    reports = []
    for key, state in states:
        report = yield from crew.reconciler.reconcile(key, state, dry_run=dry_run)
        reports.append(pack_report(report))
    return reports


def _stats(crew: Crew, _: Mapping[str, Any]) -> object:
    there = limits(crew.drift.most_ports())
    return {**crew.reconciler.stats(), "limits": {one.name: [one.used, one.most] for one in there}}


def _release(crew: Crew, _: Mapping[str, Any]) -> object:
    return crew.reconciler.release()


OPERATIONS: dict[str, Callable[[Crew, Mapping[str, Any]], object]] = {
    "hello": _hello,
    "inventory": _inventory,
    "let_be": _let_be,
    "look": _look,
    "reconcile": _reconcile,
    "release": _release,
    "stats": _stats,
}


def _execute(crew: Crew, asker: Asker, request: Any) -> Step:
    number: object = 0
    try:
        number, name, args = request
        if name not in OPERATIONS:
            raise ValueError(f"unknown operation {name!r}; known are {', '.join(sorted(OPERATIONS))}")
        result = OPERATIONS[name](crew, args)
        if isinstance(result, Generator):
            result = yield from result
    except (L3AgentError, ValueError, KeyError, TypeError, OSError) as exc:
        LOG.error("request %r: %s: %s", number, type(exc).__name__, exc)
        asker.answer(number, {"type": type(exc).__name__, "message": str(exc)}, None)
    else:
        asker.answer(number, None, result)
    return None
