# SPDX-License-Identifier: Apache-2.0
"""The steps of the work on one state: render, observe, plan, apply, announce; each in slices where it is long."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from l3agent.dataplane.announcements import Announcements
from l3agent.dataplane.apply import apply_plan
from l3agent.dataplane.drift.drift import Drift
from l3agent.dataplane.ipv6 import filter_supported
from l3agent.dataplane.job import Job
from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.observe import Observed, observe
from l3agent.dataplane.ovsdb.ports import Switch
from l3agent.dataplane.plan.diff import diff
from l3agent.dataplane.plan.drivers import InterfaceDriver
from l3agent.dataplane.plan.kinds.base import Entry, Operation
from l3agent.dataplane.plan.plan import Plan
from l3agent.dataplane.plan.render import entries, entry_count
from l3agent.dataplane.slices import INLINE_ENTRIES
from l3agent.dataplane.turns import Turns
from l3agent.dataplane.wait import Wait

R = TypeVar("R")


class Steps:
    """The steps; used by the kernel thread, which does other work while a long one runs in another thread.

    :param defer: schedules a call for the time after the answer.
    """

    def __init__(
        self,
        kernel: Kernel,
        driver: InterfaceDriver,
        announcements: Announcements,
        drift: Drift,
        turns: Turns,
        switch: Switch | None,
        defer: Callable[[Callable[[], None]], None],
    ) -> None:
        self._kernel = kernel
        self._driver = driver
        self._entries = partial(entries, driver=driver, counting=kernel.counting)
        self._announcements = announcements
        self._drift = drift
        self._turns = turns
        self._switch = switch
        self._defer = defer

    def run(self, job: Job, size: int, call: Callable[[], R]) -> Generator[Wait, None, R]:
        """Run a call, in another thread when it handles many entries; events that come meanwhile are kept."""
        if size > INLINE_ENTRIES and job.turn is not None:
            self._drift.buffer_events(job.key)
        return self._turns.run(job.key, job.turn, size, call)

    def render(self, job: Job) -> Generator[Wait, None, frozenset[Entry]]:
        """Return the desired entries of the state of a job."""
        return self.run(job, entry_count(job.state), partial(self._entries, job.key, job.state))

    def observe_and_plan(
        self, job: Job, desired: frozenset[Entry], known: Mapping[str, int] | None = None
    ) -> Generator[Wait, None, tuple[Observed, Plan]]:
        """Return the observed state, and the plan from it to the desired one."""
        with job.timed("observe"):
            seen = yield from self.observe(job, desired, known)
        job.observed = desired, seen
        with job.timed("plan"):
            wanted = filter_supported(self._kernel, seen.handle, desired)
            plan = yield from self.run(job, len(wanted) + len(seen.entries), lambda: diff(wanted, seen.entries))
            return seen, plan.without_devices(seen.refused) if seen.refused else plan

    def observe(
        self, job: Job, desired: frozenset[Entry], known: Mapping[str, int] | None = None
    ) -> Generator[Wait, None, Observed]:
        """Return the observed state."""
        kind, state_id = job.key
        network = self._driver.bridge(state_id) if kind == "network" else None
        return observe(self._kernel, self._switch, job.key, desired, partial(self.run, job), network, known)

    def apply_plan(self, job: Job, plan: Plan, seen: Observed) -> Generator[Wait, None, None]:
        """Apply a plan to the kernel; raise the errors of :func:`l3agent.dataplane.apply.apply_plan`."""
        with job.timed("apply"):
            yield from apply_plan(self._kernel, plan, seen, job.namespace, partial(self.run, job))
        self._kernel.counters.count_plan(plan)

    def record(self, job: Job, operations: Sequence[Operation[Entry]]) -> Generator[Wait, None, None]:
        """Record operations in the report of a job."""
        return self.run(job, len(operations) if job.wants_all_lines else 0, partial(job.record, operations))

    def announce(
        self, job: Job, handle: NamespaceHandle, plan: Plan, present: Collection[Entry]
    ) -> Generator[Wait, None, None]:
        """Announce changes to the neighbours: a few after the answer, many in the other thread."""
        announce = partial(self._announcements.announce_changes, handle, job.state, plan, present)
        size = len(present) if handle.cache.is_newly_adopted else len(plan.operations)
        if size <= INLINE_ENTRIES:
            self._defer(announce)
        else:
            yield from self.run(job, size, announce)

    def announce_partial(
        self, job: Job, plan: Plan, seen: Observed, desired: frozenset[Entry]
    ) -> Generator[Wait, None, None]:
        """Announce the addresses that exist in spite of a refusal: no later plan will list them again."""
        if seen.handle is not None:
            after = yield from self.observe(job, desired)
            yield from self.announce(job, seen.handle, plan, after.entries)
