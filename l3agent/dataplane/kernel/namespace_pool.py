# SPDX-License-Identifier: Apache-2.0
"""Namespaces created in advance: creating an empty namespace is half of the time to build a router.

They have no name before they are used, so unused ones vanish with the process.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from l3agent.dataplane.kernel.closer import DeferredCloser
from l3agent.dataplane.kernel.netns import enter, own_namespace
from l3agent.dataplane.kernel.sockets import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket
from l3agent.dataplane.kernel.sysctl import SysctlFiles
from l3agent.dataplane.netlink import rtnl, ruleset, tables
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.dataplane.plan.kinds.table import Table
from l3agent.exceptions import ApplyError

LOG = logging.getLogger(__name__)

#: Seconds until the next attempt after a namespace could not be created.
_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class PooledNamespace:
    """A namespace without a name: its descriptor, its sockets, and its entries.

    :param next_index: index of the next device (the kernel counts up), None if unknown.
    :param has_ipv6: new devices have IPv6.
    """

    fd: int
    route: NetlinkSocket
    netfilter: NetlinkSocket
    preset: frozenset[Entry] = frozenset()
    next_index: int | None = None
    has_ipv6: bool = True

    def close(self) -> None:
        """Close everything; may wait for grace periods."""
        self.route.close()
        self.netfilter.close()
        os.close(self.fd)


class NamespacePool:
    """Keeps namespaces ready for routers; a thread of its own creates them.

    :param size: number of namespaces; 0 disables the pool.
    :param settings: sysctls written in each namespace.
    :param counting: whether floating IPs count their traffic.
    """

    def __init__(
        self, size: int, settings: frozenset[Sysctl], closer: DeferredCloser, *, counting: bool = False
    ) -> None:
        self._size = size
        self._sysctls = settings
        self._tables = tables.of_router(counting=counting)
        self._home = own_namespace()
        self._closer = closer
        self._sysctl_files = SysctlFiles(closer)
        self._ready: deque[PooledNamespace] = deque()
        self._refill = threading.Event()
        if size:
            self._refill.set()
            threading.Thread(target=self._run, name="pool", daemon=True).start()

    def acquire(self) -> PooledNamespace | None:
        """Return a namespace, which then belongs to the caller; None if none is ready."""
        try:
            pooled = self._ready.popleft()
        except IndexError:
            return None
        if len(self._ready) == self._size // 2:
            self._refill.set()
        return pooled

    def fill(self) -> None:
        """Start to refill the pool; for idle times."""
        if len(self._ready) < self._size:
            self._refill.set()

    # ---- private ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        gate = threading.Event()
        while self._refill.wait():
            self._refill.clear()
            try:
                while len(self._ready) < self._size:
                    self._ready.append(self._create())
            except (OSError, ApplyError) as exc:
                LOG.warning("cannot create a namespace in advance: %s; next attempt in %g s", exc, _PAUSE_S)
                gate.wait(_PAUSE_S)
                self._refill.set()

    def _create(self) -> PooledNamespace:
        self._sysctl_files.renew()
        with enter(self._home, None):
            pooled = _open_here()
            preset: set[Entry] = {one for one in self._sysctls if self._write_sysctl(one)}
        try:
            pooled.route.batch(rtnl.set_link(index=rtnl.LOOPBACK, up=True))
            pooled.netfilter.nft_batch([one for table in self._tables for one in ruleset.new_table(table)])
            links = rtnl.parse_links(pooled.route.dump(rtnl.dump_links()))
        except Exception:
            self._closer.close(pooled.close)
            raise
        last = max(info.index for info in links)
        return PooledNamespace(
            pooled.fd,
            pooled.route,
            pooled.netfilter,
            frozenset((*preset, *map(Table, self._tables))),
            next_index=last + 1,
            has_ipv6=_has_ipv6(links),
        )

    def _write_sysctl(self, sysctl: Sysctl) -> bool:
        try:
            self._sysctl_files.write(sysctl)
        except OSError:
            # The user of the namespace writes it again and reports the error.
            return False
        return True


def open_here() -> PooledNamespace:
    """Return the namespace that the calling thread is in, with sockets of it.

    The loopback device has IPv6 if new devices have: it is disabled on both where the kernel was started with
    ``ipv6.disable`` or ``ipv6.disable_ipv6``, and where the namespace inherited ``disable_ipv6`` (ip-sysctl).
    """
    pooled = _open_here()
    try:
        (answer,) = pooled.route.query([rtnl.get_link(index=rtnl.LOOPBACK)])
        return replace(pooled, has_ipv6=_has_ipv6(rtnl.parse_links(answer)))
    except ApplyError:
        pooled.close()
        raise


def _open_here() -> PooledNamespace:
    fd = own_namespace()
    try:
        return PooledNamespace(fd, NetlinkSocket(NETLINK_ROUTE), NetlinkSocket(NETLINK_NETFILTER))
    except OSError:
        os.close(fd)
        raise


def _has_ipv6(links: Iterable[rtnl.LinkInfo]) -> bool:
    return any(info.index == rtnl.LOOPBACK and info.has_ipv6 for info in links)
