# SPDX-License-Identifier: Apache-2.0
"""Reads what changes without an event of the kernel: settings of namespaces and devices, each at least once a minute.

One link dump has the settings of all devices of a namespace (IFLA_AF_SPEC); those of the namespace itself are read from
/proc. One more dump has the devices in the host namespace. A state that differs is marked for observation, as after an
event.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from functools import cache

from l3agent.dataplane.drift.drift import Drift
from l3agent.dataplane.drift.link_settings import LinkSettings
from l3agent.dataplane.drift.node_devices import NodeDevices
from l3agent.dataplane.kernel import syscalls
from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.plan.kinds.base import Entry, select
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.dataplane.plan.order import LINK_KINDS
from l3agent.dataplane.plan.render import SYSCTLS
from l3agent.dataplane.work.turns import Turns
from l3agent.exceptions import ApplyError
from l3agent.model.names import DEVICE_PREFIXES
from l3agent.model.states import Key, Kind

#: Seconds that a round takes at most: less than a minute, as a busy process is late.
_ROUND_S = 56.0
#: Reads per wake-up with many states: the first ones after a pause find cold caches (8 per wake-up: 1.2 ms each on a
#: busy machine), and requests wait for all of them, some 14 ms.
_BATCH = 40
#: Seconds between two reads of single states; with few states the round is as short as that allows.
_INTERVAL_S = 1.0
#: Seconds after which reads that are due come before the next request.
_OVERDUE_S = 1.0
#: Settings of devices to come are read whenever a device is made.
_OF_NEW_DEVICES = "/conf/default/"


class Rotation:
    """Reads the applied states in turn; used by the kernel thread. Times are monotonic, in seconds."""

    def __init__(self, kernel: Kernel, drift: Drift, turns: Turns) -> None:
        self._kernel = kernel
        self._drift = drift
        self._turns = turns
        self._links: dict[Key, LinkSettings] = {}
        self._node = NodeDevices(drift)
        #: The states in the order of the round, and those of them that are still to be read, the next one last.
        self._order: list[Key] = []
        self._round: list[Key] = []
        self._batch = 1
        self._interval = _INTERVAL_S
        self._due = 0.0
        #: How many namespaces were read so far.
        self.reads = 0

    def wait(self, now: float) -> float:
        """Return the seconds until something is due."""
        return max(0.0, self._due - now)

    def is_overdue(self, now: float) -> bool:
        """Return True if requests must wait for it."""
        return now > self._due + _OVERDUE_S

    def run(self, now: float) -> None:
        """Read the states that are due, and mark the states that differ from the desired ones."""
        if not self._round:
            self._begin()
        # Late wake-ups do not add up, or a round of a busy process takes more than a minute.
        self._due = max(now, self._due + self._interval)
        for _ in range(min(self._batch, len(self._round))):
            key = self._round.pop()
            name = self._drift.applied.namespace(key)
            if name is None or self._turns.is_busy(key):
                # What is under way reads the kernel itself.
                continue
            self.reads += 1
            try:
                is_as_desired = self._is_as_desired(key, name)
            except (ApplyError, OSError):
                is_as_desired = False
            if not is_as_desired:
                self._links.pop(key, None)
                self._drift.mark(key)
        self._node.run(self._interval / _ROUND_S)

    # ---- private ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._order = next_order(self._order, self._drift.applied.watched_keys())
        self._round = self._order[::-1]
        count = len(self._round)
        if count * _INTERVAL_S <= _ROUND_S:
            self._batch, self._interval = 1, _INTERVAL_S
        else:
            self._batch, self._interval = _BATCH, _ROUND_S / math.ceil(count / _BATCH)
        if len(self._links) > count:
            self._links = {key: self._links[key] for key in self._round if key in self._links}

    def _is_as_desired(self, key: Key, name: str) -> bool:
        handle = self._kernel.find_pinned(name)
        if handle is None:
            return False
        return (
            self._are_links_as_desired(key, handle)
            and self._kernel.sysctls.are_set(handle, _settings(key[0]))
            and self._is_offload_as_desired(key, handle)
        )

    def _is_offload_as_desired(self, key: Key, handle: NamespaceHandle) -> bool:
        """Return False if a device leaves checksums to its other end and must not; no event carries that."""
        devices = [link.device for link in self._drift.applied.links(key) if not link.offload]
        return not devices or not self._kernel.call_inside(handle, lambda: any(map(syscalls.has_tx_checksums, devices)))

    def _are_links_as_desired(self, key: Key, handle: NamespaceHandle) -> bool:
        known = self._links.setdefault(key, LinkSettings())
        infos = known.read(handle.route.dump(rtnl.dump_links()))
        return not infos or _are_settings_as_desired(
            infos, self._drift.applied.desired(key), has_ipv6=handle.cache.has_ipv6
        )


def next_order(former: Iterable[Key], watched: Iterable[Key]) -> list[Key]:
    """Return the order of the next round: that of the former one, then what is new.

    A state that is read early in one round and late in the next is not read for almost two rounds. A new one was
    observed when it was applied.
    """
    left = dict.fromkeys(watched)
    return list(dict.fromkeys((*(key for key in former if key in left), *left)))


@cache
def _settings(kind: Kind) -> tuple[Sysctl, ...]:
    """Return the settings of a namespace that are read."""
    settings = () if kind == "network" else SYSCTLS[kind]
    return tuple(one for one in settings if _OF_NEW_DEVICES not in one.path)


def _are_settings_as_desired(infos: Iterable[rtnl.LinkInfo], desired: frozenset[Entry], *, has_ipv6: bool) -> bool:
    """Return True if the settings of all links of ours are as wanted; all else of links has events."""
    wanted: defaultdict[str, set[Entry]] = defaultdict(set)
    for one in (one for kind in LINK_KINDS for one in select(desired, kind)):
        if has_ipv6 or not one.needs_ipv6():
            for device in one.devices():
                wanted[device].add(one)
    for info in infos:
        if info.index == rtnl.LOOPBACK and info.has_ipv6 != has_ipv6:
            return False
        if info.name.startswith(DEVICE_PREFIXES):
            found = {one for kind in LINK_KINDS for one in kind.read_links([info], desired, has_ipv6=has_ipv6)}
            if found != wanted[info.name]:
                return False
    return True
