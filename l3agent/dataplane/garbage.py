# SPDX-License-Identifier: Apache-2.0
"""Garbage-collects left-over taps and empty bridges when idle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.observe import unused_bridges, unused_of
from l3agent.dataplane.ownership import is_our_tap
from l3agent.dataplane.plan.diff import Plan
from l3agent.dataplane.plan.entries import (
    Bridge,
    Entry,
    Link,
    Namespace,
    PhysicalPort,
)

#: Seconds after a removal during which a bridge may still lose its last port: namespaces go in the background.
_TIDY_S = 5.0
#: Seconds between two looks at all bridges when nothing is known of any: for those that lost their last port by other
#: hands, or by a namespace that outlived the process that removed it.
_NOW_AND_THEN_S = 600.0
#: Seconds that the kernel may take to take a namespace apart; then its taps are deleted one by one.
_APART_S = 2.0
#: How many links go in one call: together they wait for as many RCU grace periods as one alone does, tens of ms.
_TOGETHER = 128
#: Group of links (ip-link(8)) that are deleted in the same call that puts them there.
_GOING = 0x6C336167
_NO_SUCH_DEVICE = frozenset((19,))


class GarbageCollector:
    """Remembers where something may be left over, and removes it.

    :param uses: tells of a bridge whether something that stands has a port of it.
    """

    def __init__(self, kernel: Kernel, uses: Callable[[str], bool]) -> None:
        self._kernel = kernel
        self._uses = uses
        now = time.monotonic()
        #: When to look at all bridges: for what a process before this one left, and for what its removals lead to.
        self._looks = [now, now + _TIDY_S, now + _NOW_AND_THEN_S]
        #: Bridges that may lose their last port, and until when.
        self._emptying: dict[str, float] = {}
        #: Taps of removed namespaces: when they must be gone, and their indexes where these are known.
        self._leaving: dict[str, tuple[float, int | None]] = {}

    def note_wanted(self, desired: Iterable[Entry]) -> None:
        """A tap that is wanted again stays."""
        for entry in desired if self._leaving else ():
            if isinstance(entry, Link):
                self._leaving.pop(entry.tap, None)

    def note_removals(self, plan: Plan, taps: Mapping[str, int]) -> None:
        """Record what a plan removes.

        :param taps: index of the outer end of each link, as far as it was observed.
        """
        former = [one.was or one.entry for one in plan.of(Link, PhysicalPort) if one.verb != "add"]
        self._expect(entry.bridge for entry in former if isinstance(entry, Link | PhysicalPort))
        if any(one.verb == "remove" for one in plan.of(Namespace)):
            names = [entry.tap for entry in former if isinstance(entry, Link) and not entry.is_ovs_internal]
            until = time.monotonic() + _APART_S
            self._leaving |= {name: (until, taps.get(name)) for name in names}

    def note_failure(self, plan: Plan) -> None:
        """Something of a plan was refused: the bridges that it makes may stay without a port."""
        self._expect(one.entry.name for one in plan.of(Bridge) if isinstance(one.entry, Bridge))

    def look_soon(self) -> None:
        """Something goes of which only is known what was found: somebody may have taken its ports off before."""
        soon = time.monotonic() + _TIDY_S
        if self._looks[0] > soon:
            self._looks.insert(0, soon)

    def untidy_from(self) -> float:
        """Return from when on there may be a tap or a bridge left over (monotonic seconds)."""
        return 0.0 if self._leaving or self._emptying else self._looks[0]

    def tidy(self) -> bool:
        """Remove taps of namespaces that are kept alive, or bridges without ports; tell whether there were any.

        A process inside a namespace, such as an operator's shell, keeps it alive after its removal. Whatever is left
        when this process dies is found by the next one, now and then at the latest.
        """
        left = (self._left_behind() or self._unused())[:_TOGETHER]
        if left:
            grouped = (rtnl.set_link(name=name, group=_GOING) for name in left)
            # One call, so that no crash leaves a link in the group that may be used again.
            batch = b"".join((*grouped, rtnl.delete_link(group=_GOING)))
            self._kernel.host.batch(batch, ignore=_NO_SUCH_DEVICE)
            for name in left:
                self._emptying.pop(name, None)
        return bool(left)

    def _expect(self, bridges: Iterable[str | None]) -> None:
        self._emptying |= dict.fromkeys(filter(None, bridges), time.monotonic() + _TIDY_S)

    def _unused(self) -> list[str]:
        now = time.monotonic()
        if self._looks[0] <= now:
            del self._looks[0]
            self._looks = self._looks or [now + _NOW_AND_THEN_S]
            self._expect(unused_bridges(self._kernel))
        # Most bridges have other ports of ours, and keep them.
        unused = unused_of(self._kernel, {name for name in self._emptying if not self._uses(name)})
        self._emptying = {name: until for name, until in self._emptying.items() if until > now or name in unused}
        return unused

    def _left_behind(self) -> list[str]:
        """Return the taps that should be gone by now and are there, and forget those that are not."""
        now = time.monotonic()
        due = [tap for tap, (when, _) in self._leaving.items() if when < now][:_TOGETHER]
        answers = zip(due, self._kernel.host.ask([rtnl.get_link(name=tap) for tap in due]), strict=True)
        # Another program may have taken the name since.
        there = [
            tap
            for tap, answer in answers
            if any(is_our_tap(info, self._leaving[tap][1]) for info in rtnl.parse_links(answer))
        ]
        for tap in set(due).difference(there):
            del self._leaving[tap]
        return there
