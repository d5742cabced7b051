# SPDX-License-Identifier: Apache-2.0
"""The steps of the work on one state: render, observe, plan, apply, announce; each in slices where it is long."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeVar

from l3agent.dataplane.backend import Backend, Backends, Observed, Target, Work
from l3agent.dataplane.drift.drift import Drift
from l3agent.dataplane.job import Job
from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel_backend.announcements import Announcements
from l3agent.dataplane.kernel_backend.ipv6 import filter_supported
from l3agent.dataplane.plan.diff import diff
from l3agent.dataplane.plan.drivers import InterfaceDriver
from l3agent.dataplane.plan.kinds.base import Entry, Operation
from l3agent.dataplane.plan.plan import Plan
from l3agent.dataplane.plan.render import entries, entry_count
from l3agent.dataplane.work.slices import INLINE_ENTRIES
from l3agent.dataplane.work.turns import Turns
from l3agent.exceptions import ApplyError

R = TypeVar("R")


class Steps:
    """The steps; used by the kernel thread, which does other work while a long one runs in another thread.

    :param defer: schedules a call for the time after the answer.
    """

    def __init__(
        self,
        kernel: Kernel,
        backends: Backends,
        driver: InterfaceDriver,
        announcements: Announcements,
        drift: Drift,
        turns: Turns,
        defer: Callable[[Callable[[], None]], None],
    ) -> None:
        self._kernel = kernel
        self._backends = backends
        self._entries = partial(entries, driver=driver, counting=kernel.counting)
        self._announcements = announcements
        self._drift = drift
        self._turns = turns
        self._defer = defer

    def run(self, job: Job, size: int, call: Callable[[], R]) -> Work[R]:
        """Run a call, in another thread when it handles many entries; events that come meanwhile are kept."""
        if size > INLINE_ENTRIES and job.turn is not None:
            self._drift.buffer_events(job.key)
        return self._turns.run(job.key, job.turn, size, call)

    def render(self, job: Job) -> Work[frozenset[Entry]]:
        """Return the desired entries of the state of a job."""
        return self.run(job, entry_count(job.state), partial(self._entries, job.key, job.state))

    def target(self, job: Job, desired: frozenset[Entry], known: Mapping[str, int] | None = None) -> Target:
        """Return the target of a job, see :class:`~l3agent.dataplane.backend.Target`."""
        return Target(job.key, job.namespace, desired, partial(self.run, job), known)

    def observe_and_plan(
        self, job: Job, desired: frozenset[Entry], known: Mapping[str, int] | None = None
    ) -> Work[tuple[Observed, Plan]]:
        """Return the observed state, and the plan from it to the desired one."""
        with job.timed("observe"):
            seen = yield from self.observe(job, desired, known)
        with job.timed("plan"):
            wanted = filter_supported(self._kernel, seen.handle, desired)
            plan = yield from self.run(job, len(wanted) + len(seen.entries), lambda: diff(wanted, seen.entries))
            return seen, plan.without_devices(seen.refused) if seen.refused else plan

    def observe(self, job: Job, desired: frozenset[Entry], known: Mapping[str, int] | None = None) -> Work[Observed]:
        """Return the observed state, which the job keeps as well."""
        seen = yield from self._backends.observe(self.target(job, desired, known))
        job.observed = desired, seen
        return seen

    def apply_kernel_part(self, job: Job, target: Target, plan: Plan, seen: Observed) -> Work[Observed]:
        """Apply the kernel's part of a plan; return the observation with what it has made.

        :raises ApplyError: see :func:`l3agent.dataplane.kernel_backend.apply.apply_plan`.
        """
        with job.timed(self._backends.kernel.name):
            seen = yield from self._backends.kernel.apply(target, plan, seen)
        self._kernel.counters.count_plan(plan)
        return seen

    def apply_parts(
        self, job: Job, backends: Sequence[Backend], target: Target, plan: Plan, seen: Observed
    ) -> Work[str | None]:
        """Apply the parts of other backends; return why the first that failed did so.

        :raises Superseded: a newer request for the same key came meanwhile.
        """
        failure = None
        for backend in backends:
            job.record(plan.of(*backend.owns))
            try:
                with job.timed(backend.name):
                    yield from backend.apply(target, plan, seen)
            except ApplyError as exc:
                failure = failure or str(exc)
            # Meanwhile a request that changes nothing may have begun to use the sockets.
            yield from self._turns.wait(job.key, job.turn)
        return failure

    def record(self, job: Job, operations: Sequence[Operation[Entry]]) -> Work[None]:
        """Record operations in the report of a job."""
        return self.run(job, len(operations) if job.wants_all_lines else 0, partial(job.record, operations))

    def announce(self, job: Job, handle: NamespaceHandle, plan: Plan, present: Collection[Entry]) -> Work[None]:
        """Announce changes to the neighbours: a few after the answer, many in the other thread."""
        announce = partial(self._announcements.announce_changes, handle, job.state, plan, present)
        size = len(present) if handle.cache.is_newly_adopted else len(plan.operations)
        if size <= INLINE_ENTRIES:
            self._defer(announce)
        else:
            yield from self.run(job, size, announce)

    def announce_partial(self, job: Job, plan: Plan, desired: frozenset[Entry]) -> Work[None]:
        """Announce the addresses that exist in spite of a refusal: no later plan will list them again."""
        after = yield from self.observe(job, desired)
        if after.handle is not None:
            yield from self.announce(job, after.handle, plan, after.entries)
