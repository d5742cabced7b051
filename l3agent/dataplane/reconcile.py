# SPDX-License-Identifier: Apache-2.0
"""The one path: create, update, delete, resync and repair are this with different states.

Render what is wanted, observe what is there, plan the difference, carry it out, look again where carrying out may have
taken something along. A dry run stops before the first send.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from l3agent.dataplane import show
from l3agent.dataplane.announcer import Announcer
from l3agent.dataplane.apply import carry_out
from l3agent.dataplane.drift import Drift
from l3agent.dataplane.drivers import InterfaceDriver
from l3agent.dataplane.kernel import Kernel, NamespaceHandle
from l3agent.dataplane.observe import observe, our_networks
from l3agent.dataplane.plan import DeviceAddress, Entry, Link, Plan, diff
from l3agent.dataplane.render import entries
from l3agent.dataplane.takeover import hand_back
from l3agent.dataplane.tidy import Tidier
from l3agent.exceptions import ApplyError
from l3agent.model.names import HOST_NAMESPACE, ROUTER_NAMESPACE, namespace_name
from l3agent.model.states import Key, Report, RouterState, State

LOG = logging.getLogger(__name__)

#: How often a state is looked at and mended in one request before the difference that stays is an error.
_LOOKS = 3


class Reconciler:
    """Makes the kernel match desired states, one at a time, in the lane thread."""

    def __init__(
        self, kernel: Kernel, driver: InterfaceDriver, announcer: Announcer, tidier: Tidier, drift: Drift
    ) -> None:
        self._kernel = kernel
        self._driver = driver
        self._announcer = announcer
        self._drift = drift
        self._tidier = tidier

    def reconcile(self, key: Key, state: State | None, *, dry_run: bool = False) -> Report:
        """Bring one state about, or tell what that would take; errors are in the report, never raised."""
        kind, state_id = key
        operations: list[str] = []
        timings: dict[str, float] = {}
        error: str | None = None
        try:
            self._converge(key, state, dry_run, operations, timings)
        except ApplyError as exc:
            error = str(exc)
        except OSError as exc:
            LOG.exception("%s %s", kind, state_id)
            error = f"{exc.strerror or exc}{': ' + str(exc.filename) if exc.filename else ''}"
        except Exception as exc:
            # A defect of ours in one state must not end the lane that serves all others.
            LOG.exception("%s %s", kind, state_id)
            error = f"internal error: {type(exc).__name__}: {exc}"
        return Report(kind, state_id, tuple(operations), error, timings)

    def inventory(self, *, marked: bool = False) -> dict[str, list[str]]:
        """Return the ids of what exists in the kernel and is ours, by kind.

        :param marked: leave out routers whose namespace does not hold our table: another agent may have made them.
        """
        names = self._kernel.names()
        routers = [name for name in names if name.startswith(ROUTER_NAMESPACE)]
        return {
            "router": [
                name.removeprefix(ROUTER_NAMESPACE)
                for name in routers
                if not marked or self._kernel.holds_our_table(name)
            ],
            "host": [name.removeprefix(HOST_NAMESPACE) for name in names if name.startswith(HOST_NAMESPACE)],
            "network": our_networks(self._kernel),
        }

    def look(self, key: Key, state: State | None) -> tuple[frozenset[Entry], frozenset[Entry]]:
        """Return what the kernel should hold for a state, and what it holds."""
        kind, state_id = key
        desired = entries(key, state, self._driver)
        namespace = None if kind == "network" else namespace_name(kind, state_id)
        network = self._driver.network(state_id).name if kind == "network" else None
        if namespace is not None:
            self._kernel.read_sysctls_again(namespace, desired)
        return desired, frozenset(observe(self._kernel, namespace, desired, network).entries)

    def let_be(self, keys: Iterable[Key]) -> None:
        """Repair these no more, until they are brought again."""
        for key in keys:
            self._drift.begin(key, None)

    def release(self) -> dict[str, str | None]:
        """Hand routers back to neutron-l3-agent, those whose rules it has put in; return by id why not, or None."""
        routers = self.inventory(marked=True)["router"]
        return {one: hand_back(self._kernel, namespace_name("router", one)) for one in routers}

    def repair(self) -> bool:
        """Look at one state that somebody else may have changed, and mend it; tell whether there was one."""
        due = self._drift.take()
        if due is None:
            return False
        key, state = due
        report = self.reconcile(key, state)
        self._kernel.counters.repair_operations += len(report.operations)
        self._drift.done(key, report)
        return True

    def stats(self) -> dict[str, object]:
        """Return counters since the start of the process."""
        return {**self._drift.stats(), **self._kernel.counters.values()}

    # ---- private ---------------------------------------------------------------------------------------------

    def _converge(
        self, key: Key, state: State | None, dry_run: bool, operations: list[str], timings: dict[str, float]
    ) -> None:
        kind, state_id = key
        namespace = None if kind == "network" else namespace_name(kind, state_id)
        network = self._driver.network(state_id).name if kind == "network" else None
        if not dry_run:
            self._drift.begin(key, state)
        plans: list[Plan] = []
        with _timed(timings, "plan"):
            desired = entries(key, state, self._driver)
            self._tidier.note_wanted(desired)
        for _ in range(_LOOKS):
            with _timed(timings, "observe"):
                seen = observe(self._kernel, namespace, desired, network)
            with _timed(timings, "plan"):
                plan = diff(desired, seen.entries)
                operations += [line for one in plan.operations for line in show.lines(one, namespace)]
            if dry_run:
                return
            plans.append(plan)
            if plan:
                self._tidier.note_removals(plan)
                try:
                    with _timed(timings, "apply"):
                        carry_out(self._kernel, plan, seen, namespace)
                    self._kernel.counters.carried_out(plan)
                except ApplyError:
                    self._tidier.expect()
                    if seen.handle is not None:
                        # What came about all the same is news to the neighbours, and no later plan will name it again.
                        after = observe(self._kernel, namespace, desired, network)
                        self._announce(seen.handle, state, plan, after.entries)
                    raise
            if seen.handle is not None:
                self._announce(seen.handle, state, plan, desired)
            if not plan.may_disturb() or state is None:
                self._drift.settled(key, state, desired, seen, plans)
                return
        raise ApplyError(f"the kernel keeps differing from what was asked: {'; '.join(_names(plan, namespace))}")

    def _announce(self, handle: NamespaceHandle, state: State | None, plan: Plan, present: Iterable[Entry]) -> None:
        """Announce what is new and present; at first sight of a namespace that was found, announce all of it."""
        if not isinstance(state, RouterState):
            self._announcer.withdraw(handle.name)
            return
        if not plan and not handle.adopted:
            return
        adopted, handle.adopted = handle.adopted, False
        open_packet = partial(self._kernel.packet_socket, handle)
        there = set(map(_place, present))
        moved, fresh = _news(plan)
        for one in plan.of(DeviceAddress):
            if one.verb == "remove" and isinstance(one.entry, DeviceAddress):
                self._announcer.withdraw(handle.name, one.entry.device, one.entry.interface.ip)
        outside = [] if state.gateway is None else [fip.floating for fip in state.floating_ips]
        for port in state.all_ports():
            addresses = {interface.ip for interface in port.addresses} | set(outside if port is state.gateway else ())
            news = there if adopted or port.device in moved else there & fresh
            wanted = [one for one in addresses if (port.device, one) in news]
            self._announcer.announce(handle.name, port.device, port.mac, wanted, open_packet=open_packet)


def _news(plan: Plan) -> tuple[set[str], set[object]]:
    """Return the devices that got another MAC address or network, and the places of new addresses."""
    links = [one.entry for one in plan.of(Link) if one.verb == "change"]
    addresses = [one.entry for one in plan.of(DeviceAddress) if one.verb != "remove"]
    return {link.device for link in links if isinstance(link, Link)}, set(map(_place, addresses))


def _place(entry: Entry) -> object:
    return (entry.device, entry.interface.ip) if isinstance(entry, DeviceAddress) else None


def _names(plan: Plan, namespace: str | None) -> list[str]:
    return [line for one in plan.operations for line in show.lines(one, namespace)]


@contextmanager
def _timed(timings: dict[str, float], phase: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        timings[phase] = timings.get(phase, 0.0) + time.perf_counter() - started
