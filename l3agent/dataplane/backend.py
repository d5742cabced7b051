# SPDX-License-Identifier: Apache-2.0
"""Backends: each holds the entries of some kinds. The kernel is one, the database of a switch another.

A plan has the entries of all backends. Code above this file does not depend on which backends are configured:

    observe   in the order of the backends, the kernel first: others need the links that it has
    apply     parts that make what the kernel's part needs (devices), the kernel's part, the other parts
    events    changes that each backend reports; the drift detection compares them with the applied states

All methods run in the kernel thread and block for no other process: work that has to wait for one yields a
:class:`~l3agent.dataplane.work.wait.Wait`, and the kernel thread serves other states until it is done.
"""

from __future__ import annotations

import select
from collections.abc import Generator, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Protocol, TypeVar

from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.observation import Notice
from l3agent.dataplane.plan.plan import Plan
from l3agent.dataplane.work.slices import Run
from l3agent.dataplane.work.wait import Wait
from l3agent.model.states import Key

T = TypeVar("T")
#: Work that is suspended where it must wait.
Work = Generator[Wait, None, T]


@dataclass(frozen=True)
class Observed:
    """Observed state of one key.

    :param devices: index of each link inside the namespace, foreign ones too.
    :param bridges: index of each observed bridge.
    :param taps: index of the outer end of each of our links.
    :param to_move_in: devices in the host namespace to move into the namespace.
    :param refused: desired devices that cannot be created, and why: a foreign device has their name.
    """

    entries: Set[Entry] = frozenset()
    handle: NamespaceHandle | None = None
    devices: Mapping[str, int] = field(default_factory=dict)
    bridges: Mapping[str, int] = field(default_factory=dict)
    taps: Mapping[str, int] = field(default_factory=dict)
    to_move_in: Set[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)

    def with_entries(self, entries: Iterable[Entry]) -> Observed:
        """Return the observation with more entries."""
        return replace(self, entries=self.entries | set(entries))

    def without_entries(self) -> Observed:
        """Return the observation without entries, which follow from the state once that is applied."""
        return replace(self, entries=frozenset()) if self.entries else self


@dataclass(frozen=True, slots=True)
class Target:
    """A state to observe or change.

    :param namespace: name of its namespace, None for a state in the node's own.
    :param desired: its desired entries; they select the objects outside of its namespace.
    :param run: runs long parts in another thread.
    :param known: indexes of links of the node's namespace from events. With them, nothing is queried there for a state
        without a namespace yet: a device in the way is detected when the creation of ours fails.
    """

    key: Key
    namespace: str | None
    desired: frozenset[Entry]
    run: Run
    known: Mapping[str, int] | None = None


class Backend(Protocol):
    """Holds the entries of some kinds."""

    @property
    def name(self) -> str:
        """Name of the backend in the timings of reports and in counters."""

    @property
    def owns(self) -> frozenset[type[Entry]]:
        """The kinds of its entries."""

    @property
    def descriptors(self) -> Sequence[int]:
        """Descriptors that become readable with an event, or when a wait is over."""

    def precedes_kernel(self, plan: Plan) -> bool:
        """Return True if its part of a plan makes what the kernel's part needs; else it follows that part."""

    def observe(self, target: Target, seen: Observed) -> Work[Observed]:
        """Return an observation with its entries added.

        :raises ApplyError: the target cannot be served.
        """

    def apply(self, target: Target, plan: Plan, seen: Observed) -> Work[Observed]:
        """Apply its part of a plan; return the observation with what the part has made.

        :raises ApplyError: the first refusal; other operations may have succeeded.
        """

    def events(self) -> Iterable[Notice]:
        """Return the changes since the last call."""

    def owners(self) -> Iterable[str]:
        """Return the ids of the routers that have entries here and may have no namespace."""

    def stats(self) -> dict[str, object]:
        """Return its counters since the start of the process."""


class Backends:
    """The configured backends.

    :ivar kernel: always there; its part of a plan comes between those of the others.
    :ivar owned_by_others: the kinds of the other backends.
    :ivar descriptors: they become readable with an event, or when a wait is over.
    """

    def __init__(self, kernel: Backend, others: Sequence[Backend] = ()) -> None:
        self.kernel = kernel
        self._others = tuple(others)
        self._all = (kernel, *others)
        self.descriptors = [one for backend in self._all for one in backend.descriptors]
        self._poll = select.poll()
        for descriptor in self.descriptors:
            self._poll.register(descriptor, select.POLLIN)
        self.owned_by_others = frozenset[type[Entry]]().union(*(one.owns for one in others))

    def observe(self, target: Target) -> Work[Observed]:
        """Return the observed state of a target.

        :raises ApplyError: it cannot be served.
        """
        seen = Observed()
        for backend in self._all:
            seen = yield from backend.observe(target, seen)
        return seen

    def before_kernel(self, plan: Plan) -> list[Backend]:
        """Return the backends whose part of a plan precedes the kernel's."""
        return [one for one in self._others if plan.has_kind(one.owns) and one.precedes_kernel(plan)]

    def after_kernel(self, plan: Plan) -> list[Backend]:
        """Return the backends whose part of a plan follows the kernel's."""
        return [one for one in self._others if plan.has_kind(one.owns) and not one.precedes_kernel(plan)]

    def events(self) -> Iterable[Notice]:
        """Return the changes since the last call."""
        # Most calls find none; one poll covers all backends.
        return chain.from_iterable(backend.events() for backend in self._all) if self._poll.poll(0) else ()

    def owners(self) -> set[str]:
        """Return the ids of the routers that have entries and may have no namespace."""
        return {one for backend in self._all for one in backend.owners()}

    def stats(self) -> dict[str, object]:
        """Return the counters of all backends."""
        return {name: value for backend in self._all for name, value in backend.stats().items()}
