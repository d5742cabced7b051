# SPDX-License-Identifier: Apache-2.0
"""Access to network namespaces: their pins and open sockets.

Used by the kernel thread (:mod:`l3agent.dataplane.kernel_thread`). The offload thread enters the namespace of its task
only, which moves the calling thread and no other.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import TypeVar

from l3agent.dataplane.kernel import limits
from l3agent.dataplane.kernel.closer import DeferredCloser
from l3agent.dataplane.kernel.counters import Counters
from l3agent.dataplane.kernel.kernel_features import detect_features
from l3agent.dataplane.kernel.namespace_cache import NamespaceCache
from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.namespace_pool import NamespacePool, PooledNamespace, open_here
from l3agent.dataplane.kernel.namespace_sysctls import NamespaceSysctls
from l3agent.dataplane.kernel.netns import enter, own_namespace
from l3agent.dataplane.kernel.pins import Pins, identity
from l3agent.dataplane.kernel.sockets import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket
from l3agent.dataplane.kernel.sysctl import SysctlFiles
from l3agent.dataplane.netlink import nft, nsid, tables
from l3agent.exceptions import ApplyError
from l3agent.model.names import is_router_namespace, parse_namespace

LOG = logging.getLogger(__name__)

R = TypeVar("R")


class Kernel:
    """The host namespace (in which this process started) and the namespaces below ``netns_path``.

    :param counting: floating IPs count their traffic.
    """

    def __init__(self, netns_path: str, closer: DeferredCloser, pool: NamespacePool, *, counting: bool = False) -> None:
        self._pins = Pins(netns_path)
        self._closer = closer
        self._pool = pool
        self._home = own_namespace()
        self._handles: dict[str, NamespaceHandle] = {}
        self._sysctl_files = SysctlFiles(closer)
        self.counters = Counters()
        self.sysctls = NamespaceSysctls(self._home, self._sysctl_files, self.counters)
        self.host = NetlinkSocket(NETLINK_ROUTE)
        self.counting = counting
        self.features = detect_features(self._home, closer)
        #: New namespaces have IPv6.
        self.has_ipv6 = self.features.has_ipv6

    # ---- namespaces ------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the names of all pinned namespaces that are UTF-8; others are foreign."""
        return sorted(filter(_is_utf_8, self._pins.names()))

    def find(self, name: str) -> NamespaceHandle | None:
        """Return the handle of a namespace, opened at the first call, or None if there is no namespace."""
        handle = self._handles.get(name)
        if handle is not None and not self.is_pinned(handle):
            LOG.warning("%s was removed or replaced by another program", name)
            self._closer.close(self._handles.pop(name).close)
            handle = None
        if handle is None and (fd := self._pins.open(name)) is not None:
            handle = self._adopt(name, fd)
        return handle

    def holds_our_table(self, name: str) -> bool:
        """Return True if a name is that of a namespace with our table."""
        try:
            fd = self._pins.open(name)
            if fd is None:
                return False
            try:
                with enter(self._home, fd):
                    netfilter = NetlinkSocket(NETLINK_NETFILTER)
            finally:
                os.close(fd)
        except OSError:
            return False
        try:
            return tables.ROUTER.id.identity in nft.identities(netfilter.dump(nft.dump_tables()))
        finally:
            self._closer.close(netfilter.close)

    def find_pinned(self, name: str) -> NamespaceHandle | None:
        """Return the handle of a namespace that is open and still pinned under its name, else None."""
        handle = self._handles.get(name)
        return handle if handle is not None and self.is_pinned(handle) else None

    def is_pinned(self, handle: NamespaceHandle) -> bool:
        """Return True if its name is still pinned to this namespace."""
        return self._pins.identity(handle.name) == handle.identity

    def create(self, name: str) -> NamespaceHandle:
        """Create a namespace, for a router from the pool if possible; pin it and keep its sockets open."""
        pooled = (self._pool.acquire() if is_router_namespace(name) else None) or self._create_namespace()
        cache = NamespaceCache(preset=pooled.preset, next_index=pooled.next_index, has_ipv6=pooled.has_ipv6)
        handle = NamespaceHandle(name, pooled.fd, identity(os.fstat(pooled.fd)), pooled.route, pooled.netfilter, cache)
        self._check_room(handle)
        try:
            self._pins.add(name, pooled.fd)
        except OSError:
            self._closer.close(handle.close)
            raise
        self.has_ipv6 = pooled.has_ipv6
        self._handles[name] = handle
        return handle

    def on_idle(self) -> None:
        """Start to refill the pool and to close deferred sockets."""
        self._pool.fill()
        self._closer.on_idle()

    def remove(self, name: str) -> None:
        """Unpin a namespace and drop its handle; the kernel dismantles it when the last socket is closed."""
        handle = self._handles.pop(name, None)
        try:
            self._pins.remove(name)
        finally:
            if handle is not None:
                self._closer.close_on_idle(handle.close)

    def remove_stale(self, name: str) -> None:
        """Remove a file or directory that has the name of a namespace and is none.

        :raises OSError: it cannot be removed.
        """
        self._pins.remove_stale(name)

    def assign_nsid(self, handle: NamespaceHandle) -> None:
        """Assign an nsid to a namespace: the kernel reports no events of namespaces without one.

        The kernel assigns it by itself when the first link leads out of the namespace.
        """
        if handle.cache.nsid is None:
            _, answer = self.host.query([nsid.new_nsid(handle.fd), nsid.get_nsid(handle.fd)])
            handle.cache.record_nsid(nsid.parse_nsid(answer))

    def our_nsids(self) -> frozenset[int]:
        """Return the nsids of all our namespaces, as seen from the host namespace."""
        names = [name for name in self.names() if parse_namespace(name) is not None]
        return frozenset(number for name in names if (number := self._nsid_of(name)) is not None)

    def packet_socket(self, handle: NamespaceHandle) -> socket.socket:
        """Return a new packet socket of a namespace; it receives nothing."""
        with enter(self._home, handle.fd):
            return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)

    def call_inside(self, handle: NamespaceHandle, call: Callable[[], R]) -> R:
        """Return the result of a call in a namespace."""
        with enter(self._home, handle.fd):
            return call()

    # ---- private ---------------------------------------------------------------------------------------------

    def _nsid_of(self, name: str) -> int | None:
        handle = self._handles.get(name)
        if handle is not None and handle.cache.nsid is not None:
            return handle.cache.nsid
        fd = self._pins.open(name)
        if fd is None:
            return None
        try:
            return nsid.parse_nsid(self.host.query([nsid.get_nsid(fd)])[0])
        finally:
            os.close(fd)

    def _create_namespace(self) -> PooledNamespace:
        self._sysctl_files.renew()
        with enter(self._home, None):
            return open_here()

    def _check_room(self, handle: NamespaceHandle) -> None:
        if not limits.leaves_room(handle.fd):
            self._closer.close(handle.close)
            raise ApplyError(
                f"{handle.name}: {limits.descriptor_limit()} open descriptors (RLIMIT_NOFILE) are all in use; "
                "raise LimitNOFILE of l3-dataplane, or spread the routers over more nodes"
            )

    def _adopt(self, name: str, fd: int) -> NamespaceHandle:
        try:
            with enter(self._home, fd):
                route, netfilter = NetlinkSocket(NETLINK_ROUTE), NetlinkSocket(NETLINK_NETFILTER)
        except OSError:
            os.close(fd)
            raise
        cache = NamespaceCache(is_adopted=True)
        handle = NamespaceHandle(name, fd, identity(os.fstat(fd)), route, netfilter, cache, is_found=True)
        self._check_room(handle)
        self._handles[name] = handle
        return handle


def _is_utf_8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
