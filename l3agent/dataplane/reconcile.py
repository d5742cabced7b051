# SPDX-License-Identifier: Apache-2.0
"""The common path of create, update, delete, resync and repair.

Render the desired entries, observe the kernel, plan the difference, apply the plan, and observe again where applying it
may have removed other entries. A dry run stops before the first send.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any

from l3agent.dataplane.announcements import Announcements
from l3agent.dataplane.announcer import Announcer
from l3agent.dataplane.bridges import list_networks
from l3agent.dataplane.drift.applied import Snapshot
from l3agent.dataplane.drift.drift import Drift
from l3agent.dataplane.garbage import GarbageCollector
from l3agent.dataplane.ipv6 import filter_supported, log_missing
from l3agent.dataplane.job import Job
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel.traffic_counters import traffic
from l3agent.dataplane.observe import Observed
from l3agent.dataplane.ovsdb.ports import Switch
from l3agent.dataplane.plan.as_json import entries_to_json
from l3agent.dataplane.plan.commands import commands
from l3agent.dataplane.plan.diff import diff
from l3agent.dataplane.plan.drivers import InterfaceDriver
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.switch_port import SwitchPort
from l3agent.dataplane.plan.plan import Plan
from l3agent.dataplane.plan.render import changed_entries, entry_count, outermost
from l3agent.dataplane.sending import KernelStateChanged
from l3agent.dataplane.steps import Steps
from l3agent.dataplane.takeover import hand_back
from l3agent.dataplane.turns import Superseded, Turns
from l3agent.dataplane.wait import Wait
from l3agent.exceptions import ApplyError
from l3agent.model.names import NAMESPACES, ROUTER_KINDS, namespace_name, parse_namespace
from l3agent.model.states import Key, Report, State

LOG = logging.getLogger(__name__)

#: Maximum number of observations and repairs in one request; a difference after that is an error.
_MAX_ROUNDS = 3
#: Maximum number of lines of a repair in the log.
_REPAIR_LINES = 50


#: The work on a state; it is suspended where it must wait.
Work = Generator[Wait, None, Report]


class Reconciler:
    """Makes the kernel match desired states, in the kernel thread.

    :param switch: Open vSwitch, if the interface driver uses it.
    """

    def __init__(
        self,
        kernel: Kernel,
        driver: InterfaceDriver,
        announcer: Announcer,
        garbage: GarbageCollector,
        drift: Drift,
        switch: Switch | None = None,
    ) -> None:
        self._kernel = kernel
        self._switch = switch
        self.turns = Turns()
        self._driver = driver
        self._announcements = Announcements(kernel, announcer)
        self._drift = drift
        self._garbage = garbage
        self._deferred: list[Callable[[], None]] = []
        self._steps = Steps(kernel, driver, self._announcements, drift, self.turns, switch, self._defer)

    def reconcile(
        self, key: Key, state: State | None, *, dry_run: bool = False, lines: int, turn: object = None
    ) -> Work:
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
            yield from self._converge(job, dry_run)
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
            self._drift.discard_events(key)
            if is_latest and job.observed is not None:
                # Before the answer: events after it are changes by another program, and must be detected.
                self._deferred.append(partial(self._watch, key, state, *job.observed))
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
        # The ports of a removed namespace stay until the database of the switch can be reached again.
        owners = self._switch.owners() if self._switch else ()
        found["router"] += sorted(set(owners) - set(found["router"]))
        return found | {"network": list_networks(self._kernel)}

    def inspect(
        self, key: Key, state: State | None
    ) -> Generator[Wait, None, tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
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

    def release(self) -> Generator[Wait, None, dict[str, str | None]]:
        """Release the routers whose rules neutron-l3-agent has added; return the reason of a failure by id, or None."""
        yield from self.turns.wait_for_all()
        found: dict[str, str | None] = {}
        inventory = self.inventory(marked=True)
        for kind in ROUTER_KINDS:
            for one in inventory[kind]:
                failure = hand_back(self._kernel, namespace_name(kind, one))
                found[one] = found.get(one) or failure
        return found

    def traffic(self, key: Key) -> Generator[Wait, None, dict[str, object] | None]:
        """Return the counters of a namespace (see :func:`l3agent.dataplane.kernel.traffic_counters.traffic`)."""
        yield from self.turns.wait(key)
        size = entry_count(self._drift.state(key)) if self._kernel.counting else 0
        return (yield from self.turns.run(key, None, size, lambda: traffic(self._kernel, namespace_name(*key))))

    def repair(self) -> Work | None:
        """Return the work on one state that another program may have changed, None if none is due."""
        due = self._drift.next_due()
        # Work under way observes again before it ends, or buffers events while it is suspended.
        return None if due is None or due[0] in self.turns else self._repair_state(*due)

    def stats(self) -> dict[str, object]:
        """Return counters since the start of the process."""
        switch = {} if self._switch is None else {"switch": self._switch.stats()}
        return {**self._drift.stats(), **self._kernel.counters.values(), **switch}

    # ---- private ---------------------------------------------------------------------------------------------

    def _defer(self, call: Callable[[], None]) -> None:
        self._deferred.append(call)

    def _repair_state(self, key: Key, state: State) -> Work:
        turn = self.turns.begin(key)
        report = yield from self.reconcile(key, state, lines=_REPAIR_LINES, turn=turn)
        self._kernel.counters.repair_operations += report.count
        if key not in self.turns:
            # Else a request has superseded it.
            self._drift.record_repair(key, report)
        return report

    def _converge(self, job: Job, dry_run: bool) -> Generator[Wait, None, None]:
        snapshot = None
        # Ports of Open vSwitch are always observed.
        if not dry_run and self._switch is None:
            with job.timed("observe"):
                snapshot = self._find_snapshot(job.key)
        if snapshot is not None and job.state is None:
            yield from self._remove(job, snapshot)
        elif snapshot is None or job.state is None or not (yield from self._apply_in_place(job, job.state, snapshot)):
            yield from self._observe_and_repair(job, dry_run)

    def _find_snapshot(self, key: Key) -> Snapshot | None:
        """Return the snapshot of an applied state if its namespace is still pinned; no event reports an unmount."""
        snapshot = self._drift.snapshot(key)
        handle = None if snapshot is None else snapshot.seen.handle
        return snapshot if handle is not None and self._kernel.is_pinned(handle) else None

    def _remove(self, job: Job, snapshot: Snapshot) -> Generator[Wait, None, None]:
        """Remove an applied state without an observation."""
        self._drift.begin(job.key, None)
        with job.timed("plan"):
            plan = diff((), outermost(job.key, snapshot.state, self._driver))
            job.record(plan.operations)
            self._garbage.record_removals(plan, snapshot.seen.taps)
        yield from self._steps.apply_plan(job, plan, snapshot.seen)
        assert snapshot.seen.handle is not None
        self._deferred += [
            partial(self._announcements.announce_changes, snapshot.seen.handle, None, plan, ()),
            partial(self._drift.record_applied, job.key, None, frozenset(), snapshot.seen, [plan]),
        ]

    def _apply_in_place(self, job: Job, state: State, snapshot: Snapshot) -> Generator[Wait, None, bool]:
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
        self._drift.begin_change(job.key, state)
        try:
            yield from self._steps.apply_plan(job, plan, snapshot.seen)
        except ApplyError as exc:
            desired = yield from self._steps.render(job)
            yield from self._steps.announce_partial(job, plan, snapshot.seen, desired)
            if isinstance(exc, KernelStateChanged):
                return False
            raise
        handle = snapshot.seen.handle
        assert handle is not None
        yield from self._steps.announce(job, handle, plan, after)
        self._deferred.append(partial(self._drift.record_change, job.key, state, snapshot))
        return True

    def _observe_and_repair(self, job: Job, dry_run: bool) -> Generator[Wait, None, None]:
        key, state = job.key, job.state
        if not dry_run:
            self._drift.begin(key, state)
            if state is None:
                self._garbage.schedule_scan()
                if job.namespace is not None:
                    self._kernel.remove_stale(job.namespace)
        plans: list[Plan] = []
        with job.timed("plan"):
            desired = yield from self._steps.render(job)
            self._reject_conflict(key, state, desired)
            self._garbage.retain(desired)
        known = None if dry_run or self._switch else self._drift.indexes
        for look in range(_MAX_ROUNDS):
            if plans:
                # The next observation covers the events of the last plan: the kernel removes routes with a link.
                self._drift.read_events(plans)
                self._drift.discard_events(key)
            seen, plan = yield from self._steps.observe_and_plan(job, desired, known)
            if dry_run:
                yield from self._steps.record(job, plan.operations)
                if plan:
                    self._drift.invalidate([key])
                if seen.refused:
                    raise ApplyError(min(seen.refused.values()))
                return
            change, failure = self._submit(job, plan), None
            if change is not None and plan.adds(SwitchPort):
                failure = yield from self._await_change(change, job)
                change = None
                seen, plan = yield from self._steps.observe_and_plan(job, desired)
                if failure is not None:
                    # Operations that need none of the missing devices proceed, such as the removal of a floating IP.
                    plan = plan.without_devices(_missing_devices(plan, seen))
                elif plan.adds(SwitchPort):
                    continue
            yield from self._steps.record(job, plan.without_kind(SwitchPort))
            plans.append(plan)
            if plan:
                self._garbage.record_removals(plan, seen.taps)
                try:
                    yield from self._steps.apply_plan(job, plan, seen)
                except ApplyError as exc:
                    self._garbage.record_failure(plan)
                    yield from self._steps.announce_partial(job, plan, seen, desired)
                    if not isinstance(exc, KernelStateChanged) or look + 1 == _MAX_ROUNDS:
                        raise
                    known = None
                    continue
            if seen.handle is not None:
                log_missing(seen.handle, key, desired)
                yield from self._steps.announce(
                    job, seen.handle, plan, filter_supported(self._kernel, seen.handle, desired)
                )
            if change is not None:
                failure = yield from self._await_change(change, job)
            if failure is not None or seen.refused:
                raise ApplyError(failure or min(seen.refused.values()))
            if not plan.needs_reobserve() or state is None:
                self._deferred.append(partial(self._record_applied, key, state, desired, seen, plans))
                return
        differs = "; ".join(line for one in plan.operations for line in commands(one, job.namespace))
        raise ApplyError(f"the kernel still differs from the desired state after {_MAX_ROUNDS} rounds: {differs}")

    def _watch(self, key: Key, state: State | None, desired: frozenset[Entry], seen: Observed) -> None:
        """Detect changes of a state that could not be applied by events from now on."""
        if seen.handle is not None and state is not None and self._kernel.is_pinned(seen.handle):
            self._kernel.assign_nsid(seen.handle)
            self._drift.watch(key, state, desired, seen)

    def _reject_conflict(self, key: Key, state: State | None, desired: frozenset[Entry]) -> None:
        if state is not None and (conflict := self._drift.find_conflict(key, state, desired)) is not None:
            name, (kind, other) = conflict
            raise ApplyError(
                f"{name}: {kind} {other} has this device for another port or network, whose id begins with the same 11 "
                "characters"
            )

    def _record_applied(
        self, key: Key, state: State | None, desired: frozenset[Entry], seen: Observed, plans: list[Plan]
    ) -> None:
        if seen.handle is not None and state is not None:
            self._kernel.assign_nsid(seen.handle)
        self._drift.record_applied(key, state, desired, seen, plans)

    def _submit(self, job: Job, plan: Plan) -> Wait | None:
        """Submit the operations of a plan on ports of Open vSwitch."""
        ports = plan.of(SwitchPort)
        if self._switch is None or not ports:
            return None
        job.record(ports)
        return self._switch.submit(ports)

    def _await_change(self, change: Wait, job: Job) -> Generator[Wait, None, str | None]:
        """Wait for the end of a change; return why it failed.

        :raises ApplyError: a newer request for the same key arrived meanwhile.
        """
        with job.timed("switch"):
            yield change
        if not self.turns.is_latest(job.key, job.turn):
            raise ApplyError("superseded by a newer request before Open vSwitch had its ports")
        return change.error


def _missing_devices(plan: Plan, seen: Observed) -> set[str]:
    """Return the devices that a plan moves in and that do not exist."""
    links = [one.entry for one in plan.of(Link) if one.verb == "add"]
    return {link.device for link in links if link.is_ovs_internal and link.device not in seen.to_move_in}
