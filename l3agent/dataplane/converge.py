# SPDX-License-Identifier: Apache-2.0
"""The path of one state from its request to the kernel: from a snapshot if there is one, else from an observation.

snapshot of the applied state?
  yes: same state ............ nothing to do
       absent state .......... remove what the state implies
       ports are the same .... plan from state to state, apply
  no, or the plan may remove more than its entries:
       observe, plan, apply; observe again if applying may have removed other entries
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from l3agent.dataplane.backend import Backends, Observed, Work
from l3agent.dataplane.drift.applied import Snapshot
from l3agent.dataplane.drift.drift import Drift
from l3agent.dataplane.job import Job
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel_backend.garbage import GarbageCollector
from l3agent.dataplane.kernel_backend.ipv6 import filter_supported, log_missing
from l3agent.dataplane.kernel_backend.sending import KernelStateChanged
from l3agent.dataplane.plan.commands import commands
from l3agent.dataplane.plan.diff import diff
from l3agent.dataplane.plan.drivers import InterfaceDriver
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.plan import Plan
from l3agent.dataplane.plan.render import changed_entries, entry_count, outermost
from l3agent.dataplane.steps import Steps
from l3agent.exceptions import ApplyError
from l3agent.model.states import Key, State

#: Maximum number of observations and repairs in one request; a difference after that is an error.
_MAX_ROUNDS = 3


class Converger:
    """Brings the backends to one desired state at a time; used by the kernel thread.

    :param defer: schedules a call for the time after the answer.
    """

    def __init__(
        self,
        kernel: Kernel,
        backends: Backends,
        driver: InterfaceDriver,
        garbage: GarbageCollector,
        drift: Drift,
        steps: Steps,
        defer: Callable[[Callable[[], None]], None],
    ) -> None:
        self._kernel = kernel
        self._backends = backends
        self._driver = driver
        self._garbage = garbage
        self._drift = drift
        self._steps = steps
        self._defer = defer

    def plan(self, job: Job) -> Work[None]:
        """Record the plan of a job; nothing changes.

        :raises ApplyError: a foreign device has the name of a desired one.
        """
        desired = yield from self._render(job)
        seen, plan = yield from self._steps.observe_and_plan(job, desired)
        yield from self._steps.record(job, plan.operations)
        if plan:
            self._drift.invalidate([job.key])
        if seen.refused:
            raise ApplyError(min(seen.refused.values()))

    def converge(self, job: Job) -> Work[None]:
        """Apply the state of a job.

        :raises ApplyError: a part of it was refused; what does not depend on that part is applied.
        """
        with job.timed("observe"):
            snapshot = self._find_snapshot(job.key)
        if snapshot is not None and job.state is None:
            yield from self._remove(job, snapshot)
        elif snapshot is None or job.state is None or not (yield from self._apply_in_place(job, job.state, snapshot)):
            yield from self._observe_and_repair(job)

    # ---- from a snapshot -------------------------------------------------------------------------------------

    def _find_snapshot(self, key: Key) -> Snapshot | None:
        """Return the snapshot of an applied state if its namespace is still pinned; no event reports an unmount."""
        snapshot = self._drift.snapshot(key)
        handle = None if snapshot is None else snapshot.seen.handle
        return snapshot if handle is not None and self._kernel.is_pinned(handle) else None

    def _remove(self, job: Job, snapshot: Snapshot) -> Work[None]:
        """Remove an applied state without an observation."""
        self._drift.begin(job.key, None)
        with job.timed("plan"):
            plan = diff((), outermost(job.key, snapshot.state, self._driver))
        failure = yield from self._apply(job, frozenset(), plan, snapshot.seen)
        self._defer(partial(self._record_applied, job, [plan]))
        if failure is not None:
            raise ApplyError(failure)

    def _apply_in_place(self, job: Job, state: State, snapshot: Snapshot) -> Work[bool]:
        """Change an applied state to the desired one without an observation; return False if it needs one."""
        if state == snapshot.state:
            return True
        with job.timed("plan"):
            render = partial(
                changed_entries, job.key, snapshot.state, state, self._driver, counting=self._kernel.counting
            )
            # Where only floating IPs differ, comparing takes a twentieth of the time of all entries.
            states = yield from self._steps.run(job, (entry_count(snapshot.state) + entry_count(state)) // 20, render)
            if states is None:
                return False
            before, after = (filter_supported(self._kernel, snapshot.seen.handle, one) for one in states)
            plan = yield from self._steps.run(job, len(before) + len(after), lambda: diff(after, before))
        if plan.needs_reobserve():
            return False
        job.record(plan.operations)
        self._drift.applied.begin_change(job.key, state)
        try:
            seen = yield from self._steps.apply_kernel_part(job, self._steps.target(job, after), plan, snapshot.seen)
        except ApplyError as exc:
            desired = yield from self._steps.render(job)
            yield from self._steps.announce_partial(job, plan, desired)
            if isinstance(exc, KernelStateChanged):
                return False
            raise
        assert seen.handle is not None
        yield from self._steps.announce(job, seen.handle, plan, after)
        self._defer(partial(self._drift.record_change, job.key, state, snapshot))
        return True

    # ---- from an observation ---------------------------------------------------------------------------------

    def _observe_and_repair(self, job: Job) -> Work[None]:
        self._begin(job)
        plans: list[Plan] = []
        desired = yield from self._render(job)
        known = self._drift.indexes
        for number in range(_MAX_ROUNDS):
            is_last = number + 1 == _MAX_ROUNDS
            if plans:
                # The next observation covers the events of the last plan: the kernel removes routes with a link.
                self._drift.read_events(plans)
                self._drift.discard_events(job.key)
            seen, plan = yield from self._steps.observe_and_plan(job, desired, known)
            failure = None
            if early := self._backends.before_kernel(plan):
                failure = yield from self._steps.apply_parts(job, early, self._steps.target(job, desired), plan, seen)
                seen, plan = yield from self._steps.observe_and_plan(job, desired)
                if failure is not None:
                    # Operations that need none of the missing devices proceed, such as the removal of a floating IP.
                    plan = plan.without_devices(_missing_devices(plan, seen))
                elif self._backends.before_kernel(plan):
                    continue
            plans.append(plan)
            try:
                later = yield from self._apply(job, desired, plan, seen)
                failure = failure or later
            except KernelStateChanged:
                if is_last:
                    raise
                known = None
                continue
            if failure is not None or seen.refused:
                raise ApplyError(failure or min(seen.refused.values()))
            if not plan.needs_reobserve() or job.state is None:
                self._defer(partial(self._record_applied, job, plans))
                return
        differs = "; ".join(line for one in plan.operations for line in commands(one, job.namespace))
        raise ApplyError(f"the kernel still differs from the desired state after {_MAX_ROUNDS} rounds: {differs}")

    def _begin(self, job: Job) -> None:
        self._drift.begin(job.key, job.state)
        if job.state is None:
            self._garbage.schedule_scan()
            if job.namespace is not None:
                self._kernel.remove_stale(job.namespace)

    def _render(self, job: Job) -> Work[frozenset[Entry]]:
        """Return the desired entries.

        :raises ApplyError: another object has the name of one of its devices.
        """
        with job.timed("plan"):
            desired = yield from self._steps.render(job)
            conflict = None if job.state is None else self._drift.applied.find_conflict(job.key, job.state, desired)
            if conflict is not None:
                name, (kind, other) = conflict
                raise ApplyError(
                    f"{name}: {kind} {other} has this device for another port or network, whose id begins with the "
                    "same 11 characters"
                )
            self._garbage.retain(desired)
            return desired

    # ---- both ------------------------------------------------------------------------------------------------

    def _apply(self, job: Job, desired: frozenset[Entry], plan: Plan, seen: Observed) -> Work[str | None]:
        """Apply the kernel's part of a plan and the later parts; return the first failure of the later parts.

        :raises ApplyError: the kernel refused an operation.
        """
        steps, target = self._steps, self._steps.target(job, desired)
        yield from steps.record(job, plan.without_kinds(self._backends.owned_by_others))
        last = self._backends.after_kernel(plan)
        if plan:
            self._garbage.record_removals(plan, seen.taps)
            try:
                seen = yield from steps.apply_kernel_part(job, target, plan, seen)
            except ApplyError:
                self._garbage.record_failure(plan)
                yield from steps.announce_partial(job, plan, desired)
                # What goes, goes, whatever else is refused.
                yield from steps.apply_parts(job, last, target, plan, seen)
                raise
        job.observed = desired, seen
        if seen.handle is not None:
            log_missing(seen.handle, job.key, desired)
            yield from steps.announce(job, seen.handle, plan, filter_supported(self._kernel, seen.handle, desired))
        return (yield from steps.apply_parts(job, last, target, plan, seen)) if last else None

    def _record_applied(self, job: Job, plans: Sequence[Plan]) -> None:
        assert job.observed is not None
        desired, seen = job.observed
        if seen.handle is not None and job.state is not None:
            self._kernel.assign_nsid(seen.handle)
        self._drift.record_applied(job.key, job.state, desired, seen, plans)


def _missing_devices(plan: Plan, seen: Observed) -> set[str]:
    """Return the devices that a plan moves in and that do not exist."""
    links = [one.entry for one in plan.of(Link) if one.verb == "add"]
    return {link.device for link in links if link.is_ovs_internal and link.device not in seen.to_move_in}
