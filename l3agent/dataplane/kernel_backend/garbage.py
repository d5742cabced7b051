# SPDX-License-Identifier: Apache-2.0
"""Garbage-collects left-over taps and empty bridges when idle."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping

from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel_backend.bridges import filter_unused, unused_bridges
from l3agent.dataplane.kernel_backend.ownership import is_our_tap
from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.plan.kinds.base import Entry, select
from l3agent.dataplane.plan.kinds.bridge import Bridge
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.physical_port import PhysicalPort
from l3agent.dataplane.plan.plan import Plan

#: Seconds after a removal during which a bridge may still lose its last port: namespaces go in the background.
_BRIDGE_CHECK_S = 5.0
#: Seconds between two scans of all bridges, for bridges whose last port another program removed, or that went with a
#: namespace that outlived the process that removed it.
_SCAN_INTERVAL_S = 600.0
#: Seconds that the kernel has to dismantle a namespace; then its taps are deleted.
_TEARDOWN_S = 2.0
#: Links per call: together they wait for as many RCU grace periods as a single one, tens of ms.
_MAX_BATCH = 128
#: Group of links (ip-link(8)) that are deleted in the same call that puts them there.
_DELETION_GROUP = 0x6C336167
_NO_SUCH_DEVICE = frozenset((19,))


class GarbageCollector:
    """Records where left-overs may be, and removes them.

    :param uses: returns True if an applied state has a port of a bridge.
    """

    def __init__(self, kernel: Kernel, uses: Callable[[str], bool]) -> None:
        self._kernel = kernel
        self._uses = uses
        now = time.monotonic()
        #: Times of the scans of all bridges: for left-overs of a former process, and for the effects of its removals.
        self._scans = [now, now + _BRIDGE_CHECK_S, now + _SCAN_INTERVAL_S]
        #: Bridges that may lose their last port, and until when.
        self._bridges_to_check: dict[str, float] = {}
        #: Taps of removed namespaces: when they must be gone, and their indexes where these are known.
        self._taps_to_delete: dict[str, tuple[float, int | None]] = {}

    def retain(self, desired: Collection[Entry]) -> None:
        """Keep the taps of desired links."""
        for link in select(desired, Link) if self._taps_to_delete else ():
            self._taps_to_delete.pop(link.tap, None)

    def record_removals(self, plan: Plan, taps: Mapping[str, int]) -> None:
        """Record what a plan removes.

        :param taps: index of the outer end of each link, where it was observed.
        """
        links = [one.previous or one.entry for one in plan.of(Link) if one.verb != "add"]
        ports = [one.previous or one.entry for one in plan.of(PhysicalPort) if one.verb != "add"]
        self._schedule_check([*(link.bridge for link in links), *(port.bridge for port in ports)])
        if any(one.verb == "remove" for one in plan.of(Namespace)):
            names = [link.tap for link in links if not link.is_ovs_internal]
            until = time.monotonic() + _TEARDOWN_S
            self._taps_to_delete |= {name: (until, taps.get(name)) for name in names}

    def record_failure(self, plan: Plan) -> None:
        """Record that a plan failed: the bridges that it creates may stay without a port."""
        self._schedule_check(one.entry.name for one in plan.of(Bridge))

    def schedule_scan(self) -> None:
        """Schedule a scan of all bridges for the removal of an unknown state, which may have lost its ports before."""
        soon = time.monotonic() + _BRIDGE_CHECK_S
        if self._scans[0] > soon:
            self._scans.insert(0, soon)

    def next_run(self) -> float:
        """Return the monotonic time from which a tap or a bridge may be left over."""
        return 0.0 if self._taps_to_delete or self._bridges_to_check else self._scans[0]

    def collect(self) -> bool:
        """Remove taps of removed namespaces, or bridges without ports; return True if there were any.

        A process inside a namespace, such as an operator's shell, keeps it alive after its removal. The next process
        finds what is left when this one dies, at the latest in a periodic scan.
        """
        left = (self._leftover_taps() or self._unused_bridges())[:_MAX_BATCH]
        if left:
            grouped = (rtnl.set_link(name=name, group=_DELETION_GROUP) for name in left)
            # One call, so that no crash leaves a link in the group that may be used again.
            batch = b"".join((*grouped, rtnl.delete_link(group=_DELETION_GROUP)))
            self._kernel.host.batch(batch, ignore=_NO_SUCH_DEVICE)
            for name in left:
                self._bridges_to_check.pop(name, None)
        return bool(left)

    def _schedule_check(self, bridges: Iterable[str | None]) -> None:
        self._bridges_to_check |= dict.fromkeys(filter(None, bridges), time.monotonic() + _BRIDGE_CHECK_S)

    def _unused_bridges(self) -> list[str]:
        now = time.monotonic()
        if self._scans[0] <= now:
            del self._scans[0]
            self._scans = self._scans or [now + _SCAN_INTERVAL_S]
            self._schedule_check(unused_bridges(self._kernel))
        # Most bridges have other ports of ours, and keep them.
        unused = filter_unused(self._kernel, {name for name in self._bridges_to_check if not self._uses(name)})
        self._bridges_to_check = {
            name: until for name, until in self._bridges_to_check.items() if until > now or name in unused
        }
        return unused

    def _leftover_taps(self) -> list[str]:
        """Return the taps that should be gone by now and exist; drop the others."""
        now = time.monotonic()
        due = [tap for tap, (when, _) in self._taps_to_delete.items() if when < now][:_MAX_BATCH]
        answers = zip(due, self._kernel.host.query([rtnl.get_link(name=tap) for tap in due]), strict=True)
        # Another program may have taken the name since.
        there = [
            tap
            for tap, answer in answers
            if any(is_our_tap(info, self._taps_to_delete[tap][1]) for info in rtnl.parse_links(answer))
        ]
        for tap in set(due).difference(there):
            del self._taps_to_delete[tap]
        return there
