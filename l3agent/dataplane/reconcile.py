# SPDX-License-Identifier: Apache-2.0
"""The operations on states: apply or plan one, repair drift, list and release what is ours.

Create, update, delete, resync and repair are one path (:mod:`l3agent.dataplane.converge`). A dry run stops before the
first send.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from l3agent.dataplane.backend import Backends, Observed, Work
from l3agent.dataplane.converge import Converger
from l3agent.dataplane.drift.drift import Drift
from l3agent.dataplane.job import Job
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel.traffic_counters import traffic
from l3agent.dataplane.kernel_backend.announcements import Announcements
from l3agent.dataplane.kernel_backend.announcer import Announcer
from l3agent.dataplane.kernel_backend.bridges import list_networks
from l3agent.dataplane.kernel_backend.garbage import GarbageCollector
from l3agent.dataplane.kernel_backend.ipv6 import filter_supported
from l3agent.dataplane.kernel_backend.takeover import hand_back
from l3agent.dataplane.plan.as_json import entries_to_json
from l3agent.dataplane.plan.drivers import InterfaceDriver
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.render import entry_count
from l3agent.dataplane.steps import Steps
from l3agent.dataplane.work.turns import Superseded, Turns
from l3agent.exceptions import ApplyError
from l3agent.model.names import NAMESPACES, ROUTER_KINDS, namespace_name, parse_namespace
from l3agent.model.states import Key, Report, State

LOG = logging.getLogger(__name__)

#: Maximum number of lines of a repair in the log.
_REPAIR_LINES = 50


class Reconciler:
    """Makes the backends match desired states, in the kernel thread."""

    def __init__(
        self,
        kernel: Kernel,
        backends: Backends,
        driver: InterfaceDriver,
        announcer: Announcer,
        garbage: GarbageCollector,
        drift: Drift,
    ) -> None:
        self._kernel = kernel
        self._backends = backends
        self.turns = Turns()
        self._announcements = Announcements(kernel, announcer)
        self._drift = drift
        self._deferred: list[Callable[[], None]] = []
        self._steps = Steps(kernel, backends, driver, self._announcements, drift, self.turns, self._defer)
        self._converger = Converger(kernel, backends, driver, garbage, drift, self._steps, self._defer)

    def reconcile(
        self, key: Key, state: State | None, *, dry_run: bool = False, lines: int, turn: object = None
    ) -> Work[Report]:
        """Apply one state, or plan it only; errors are in the report, never raised.

        :meth:`run_deferred` does what the answer need not wait for.

        :param lines: maximum number of lines of the plan in the report.
        :param turn: the turn of the request, where it has begun already.
        """
        self.run_deferred()
        kind, state_id = key
        turn = None if dry_run else turn or self.turns.begin(key)
        job = Job(key, state, lines, turn)
        error: str | None = None
        try:
            yield from self.turns.wait(key, turn)
            yield from self._converger.plan(job) if dry_run else self._converger.converge(job)
        except (ApplyError, Superseded) as exc:
            error = str(exc)
        except OSError as exc:
            LOG.exception("%s %s", kind, state_id)
            error = f"{exc.strerror or exc}{': ' + str(exc.filename) if exc.filename else ''}"
        except Exception as exc:
            # A defect of ours in one state must not end the thread that serves all others.
            LOG.exception("%s %s", kind, state_id)
            error = f"internal error: {type(exc).__name__}: {exc}"
        finally:
            is_latest = self.turns.is_latest(key, turn)
            self.turns.end(key, turn)
        if error is not None and not dry_run:
            if key not in self.turns:
                # Else they are those of the newer request.
                self._drift.discard_events(key)
            if is_latest and job.observed is not None:
                # Before the answer: events after it are changes by another program, and must be detected.
                self._deferred.append(partial(self._watch, job, *job.observed))
                self.run_deferred()
        return job.report(error)

    def run_deferred(self) -> None:
        """Run the work deferred after the last answer: announcements, and the events of the meantime."""
        after, self._deferred = self._deferred, []
        for call in after:
            try:
                call()
            except (ApplyError, OSError) as exc:
                LOG.warning("deferred work: %s", exc)
            except Exception:
                # As above.
                LOG.exception("deferred work")

    def on_idle(self) -> None:
        """Wake the other threads for their deferred work."""
        self._announcements.on_idle()
        self._kernel.on_idle()

    def inventory(self, *, marked: bool = False) -> dict[str, list[str]]:
        """Return the ids of what exists in the kernel and is ours, by kind.

        :param marked: leave out routers whose namespace does not hold our table: another agent may have made them.
        """
        found: dict[str, list[str]] = {kind: [] for kind in NAMESPACES}
        for name in self._kernel.names():
            kind, state_id = parse_namespace(name) or (None, "")
            if kind is not None and not (marked and kind in ROUTER_KINDS and not self._kernel.holds_our_table(name)):
                found[kind].append(state_id)
        found["router"] += sorted(self._backends.owners().difference(found["router"]))
        return found | {"network": list_networks(self._kernel)}

    def inspect(self, key: Key, state: State | None) -> Work[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
        """Return the desired and the observed entries of a state as JSON."""
        yield from self.turns.wait(key)
        job = Job(key, state, 0, None)
        desired = yield from self._steps.render(job)
        seen = yield from self._steps.observe(job, desired)
        desired = filter_supported(self._kernel, seen.handle, desired)
        size = len(desired) + len(seen.entries)
        if (yield from self._steps.run(job, size, lambda: seen.entries != desired)):
            self._drift.invalidate([key])
        return (
            yield from self._steps.run(job, size, lambda: (entries_to_json(desired), entries_to_json(seen.entries)))
        )

    def unmanage(self, keys: Iterable[Key]) -> None:
        """Stop repairing some states until the next request for them."""
        for key in keys:
            self.turns.cancel(key)
            self._drift.begin(key, None)

    def release(self) -> Work[dict[str, str | None]]:
        """Release the routers whose rules neutron-l3-agent has added; return the reason of a failure by id, or None."""
        yield from self.turns.wait_for_all()
        found: dict[str, str | None] = {}
        inventory = self.inventory(marked=True)
        for kind in ROUTER_KINDS:
            for one in inventory[kind]:
                failure = hand_back(self._kernel, namespace_name(kind, one))
                found[one] = found.get(one) or failure
        return found

    def traffic(self, key: Key) -> Work[dict[str, object] | None]:
        """Return the counters of a namespace (see :func:`l3agent.dataplane.kernel.traffic_counters.traffic`)."""
        yield from self.turns.wait(key)
        size = entry_count(self._drift.applied.state(key)) if self._kernel.counting else 0
        return (yield from self.turns.run(key, None, size, lambda: traffic(self._kernel, namespace_name(*key))))

    def repair(self) -> Work[Report] | None:
        """Return the work on one state that another program may have changed, None if none is due."""
        due = self._drift.next_due(self.turns)
        return None if due is None else self._repair_state(*due)

    def repair_wait(self) -> float | None:
        """Return the seconds until a state is due for an observation, None if none is."""
        return self._drift.repairs.wait(time.monotonic(), self.turns)

    def is_repair_overdue(self) -> bool:
        """Return True if a due observation has waited so long that requests must wait for it."""
        return self._drift.repairs.is_overdue(time.monotonic(), self.turns)

    def stats(self) -> dict[str, object]:
        """Return counters since the start of the process."""
        return {**self._drift.stats(), **self._backends.stats()}

    # ---- private ---------------------------------------------------------------------------------------------

    def _defer(self, call: Callable[[], None]) -> None:
        self._deferred.append(call)

    def _repair_state(self, key: Key, state: State) -> Work[Report]:
        turn = self.turns.begin(key)
        report = yield from self.reconcile(key, state, lines=_REPAIR_LINES, turn=turn)
        self._kernel.counters.repair_operations += report.count
        if key not in self.turns:
            # Else a request has superseded it.
            self._drift.repairs.record_result(key, report.operations, report.error, time.monotonic())
        return report

    def _watch(self, job: Job, desired: frozenset[Entry], seen: Observed) -> None:
        """Detect changes of a state that could not be applied by events from now on."""
        # The namespace may be younger than the observation.
        handle = None if job.state is None or job.namespace is None else self._kernel.find_pinned(job.namespace)
        if handle is not None and job.state is not None:
            self._kernel.assign_nsid(handle)
            self._drift.watch(job.key, job.state, desired, replace(seen, handle=handle))
