# SPDX-License-Identifier: Apache-2.0
"""Access to network namespaces: their pins, settings and open sockets.

Used by the kernel thread only (:mod:`l3agent.dataplane.kernel_thread`): entering a namespace moves the calling thread.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from l3agent.dataplane.kernel import limits
from l3agent.dataplane.kernel.closer import DeferredCloser
from l3agent.dataplane.kernel.counters import Counters
from l3agent.dataplane.kernel.flows import supports_deletion_filter
from l3agent.dataplane.kernel.namespace_pool import NamespacePool, PooledNamespace, open_here
from l3agent.dataplane.kernel.netns import enter, own_namespace
from l3agent.dataplane.kernel.pins import Pins, identity
from l3agent.dataplane.kernel.sockets import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket
from l3agent.dataplane.kernel.sysctl import SysctlFiles
from l3agent.dataplane.netlink import nft, nsid, rtnl, ruleset, tables
from l3agent.dataplane.netlink.nft_sets import TableId
from l3agent.dataplane.netlink.ruleset import NftTable
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.observation import Dump
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.dataplane.plan.order import RARE_DUMPS, KindDump
from l3agent.exceptions import ApplyError
from l3agent.model.names import is_router_namespace, parse_namespace

LOG = logging.getLogger(__name__)

R = TypeVar("R")
#: More than the text of any setting that is read.
_SETTING_BYTES = 64


@dataclass
class NamespaceHandle:
    """Open netlink sockets of one namespace.

    :param is_found: it existed before this process: neutron-l3-agent may have created it.
    :param is_newly_adopted: it existed before, and nothing was announced from it yet.
    :param identity: device and inode of the namespace file.
    :param nsid: the id that marks events of the namespace; None before it was queried.
    :param next_index: index of the next device created inside, None if unknown.
    :param preset: entries that the namespace had when it left the pool, until its first plan is applied.
    :param has_ipv6: its loopback device had IPv6 when the links were read last.
    :param is_ipv6_logged: the lack of IPv6 was logged.
    :param settings: open files of settings, by path below /proc/sys.
    :param rules: generation and entries of the rules at the last read.
    :param rare_dumps: the dumps that few states need and that may have entries here.
    """

    name: str
    fd: int
    identity: tuple[int, int]
    route: NetlinkSocket
    netfilter: NetlinkSocket
    nsid: int | None = None
    next_index: int | None = None
    is_found: bool = False
    is_newly_adopted: bool = False
    preset: frozenset[Entry] = frozenset()
    has_ipv6: bool = True
    is_ipv6_logged: bool = False
    settings: dict[str, int] = field(default_factory=dict)
    rules: tuple[int | None, frozenset[Entry]] | None = None
    rare_dumps: set[KindDump] = field(default_factory=set)
    _links: tuple[bytes, list[rtnl.LinkInfo]] | None = None
    _dumps: dict[Dump, tuple[bytes, dict[int, str], frozenset[Any]]] = field(default_factory=dict)

    def read_links(self) -> list[rtnl.LinkInfo]:
        """Return the links of the namespace; parse them only if they differ from those read last."""
        data = self.route.dump(rtnl.dump_links())
        if self._links is None or self._links[0] != data:
            self._links = data, rtnl.parse_links(data)
        return self._links[1]

    def read(self, dump: Dump, names: dict[int, str], data: bytes) -> frozenset[Any]:
        """Return the entries in a dump; parse it only if it differs from the last one.

        :param names: names of the devices by index.
        :param data: the received bytes.
        """
        known = self._dumps.get(dump)
        if known is None or known[:2] != (data, names):
            known = self._dumps[dump] = data, names, dump.parse(data, names)
        return known[2]

    def generation(self) -> int | None:
        """Return a number that changes with every change of any rule of the namespace."""
        return nft.parse_generation(self.netfilter.query([nft.get_generation()])[0])

    def clear_cache(self) -> None:
        """Drop the dumps that were read: from now on events report changes."""
        self._dumps.clear()
        self._links = self.rules = None

    def close_settings(self) -> None:
        """Close the files of settings."""
        while self.settings:
            os.close(self.settings.popitem()[1])

    def close(self) -> None:
        """Close everything; may wait for grace periods."""
        self.close_settings()
        self.route.close()
        self.netfilter.close()
        os.close(self.fd)


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
        self.host = NetlinkSocket(NETLINK_ROUTE)
        self.counting = counting
        #: New namespaces have IPv6.
        self.has_ipv6 = True
        self._unknown_settings: set[str] = set()
        #: Conntrack entries can be deleted by a filter.
        self.deletes_by_filter = True
        #: Fingerprint of each declared table.
        self.intact_tables = self._read_reference_tables()

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
        handle = self._make_handle(name, pooled)
        self._check_room(handle)
        try:
            self._pins.add(name, pooled.fd)
        except OSError:
            self._closer.close(handle.close)
            raise
        handle.preset, handle.next_index = pooled.preset, pooled.next_index
        handle.has_ipv6 = self.has_ipv6 = pooled.has_ipv6
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
        if handle.nsid is None:
            _, answer = self.host.query([nsid.new_nsid(handle.fd), nsid.get_nsid(handle.fd)])
            handle.nsid = nsid.parse_nsid(answer)

    def our_nsids(self) -> frozenset[int]:
        """Return the nsids of all our namespaces, as seen from the host namespace."""
        names = [name for name in self.names() if parse_namespace(name) is not None]
        return frozenset(number for name in names if (number := self._nsid_of(name)) is not None)

    def packet_socket(self, handle: NamespaceHandle) -> socket.socket:
        """Return a new packet socket of a namespace; it receives nothing."""
        with enter(self._home, handle.fd):
            return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)

    def read_sysctls(self, handle: NamespaceHandle, wanted: Collection[Sysctl]) -> set[Entry]:
        """Return current settings of a namespace; an unknown one counts as desired."""
        if not wanted:
            return set()
        self._sysctl_files.renew()
        with enter(self._home, handle.fd):
            return {self._read_setting(one) for one in wanted}

    def has_sysctls(self, handle: NamespaceHandle, wanted: Sequence[Sysctl]) -> bool:
        """Return True if settings of a namespace have the desired values or are unknown to this kernel.

        Their files stay open where descriptors are plenty: entering the namespace and opening them takes ten times as
        long as reading them.
        """
        missing = [one.path for one in wanted if one.path not in handle.settings]
        if missing:
            self._open_settings(handle, missing)
        try:
            return all(
                os.pread(handle.settings[one.path], _SETTING_BYTES, 0).rstrip() == one.value.encode()
                for one in wanted
                if one.path in handle.settings
            )
        except OSError:
            # The setting is gone with its module.
            handle.close_settings()
            raise
        finally:
            if missing and not all(map(limits.are_plenty, handle.settings.values())):
                handle.close_settings()

    def call_inside(self, handle: NamespaceHandle, call: Callable[[], R]) -> R:
        """Return the result of a call in a namespace."""
        with enter(self._home, handle.fd):
            return call()

    def write_sysctls(self, handle: NamespaceHandle, wanted: list[Sysctl]) -> None:
        """Write settings of a namespace or of its devices.

        A setting that the kernel does not have (conntrack not loaded, no IPv6) is logged once and counts as written.
        """
        with self.counters.batch("sysctl"), enter(self._home, handle.fd):
            for sysctl in wanted:
                try:
                    self._sysctl_files.write(sysctl)
                except FileNotFoundError:
                    self._log_unknown(sysctl.path)
                except OSError as exc:
                    raise ApplyError(f"sysctl {sysctl.path}={sysctl.value}: {exc.strerror}") from exc

    def disable_ipv6(self, device: str) -> None:
        """Disable IPv6 on a device of the node's own namespace; it loses addresses and routes.

        :raises ApplyError: the kernel refuses it.
        """
        path = f"net/ipv6/conf/{device}/disable_ipv6"
        try:
            self._sysctl_files.write(Sysctl(path, "1"))
        except FileNotFoundError:
            # No IPv6: switched off on the node, its MTU is too small, or the device is gone.
            pass
        except OSError as exc:
            raise ApplyError(f"sysctl {path}=1: {exc.strerror}") from exc

    # ---- private ---------------------------------------------------------------------------------------------

    def _log_unknown(self, path: str) -> None:
        if path not in self._unknown_settings:
            self._unknown_settings.add(path)
            LOG.warning("this kernel has no %s; it is left out", path)

    def _nsid_of(self, name: str) -> int | None:
        handle = self._handles.get(name)
        if handle is not None and handle.nsid is not None:
            return handle.nsid
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

    def _make_handle(self, name: str, pooled: PooledNamespace) -> NamespaceHandle:
        return NamespaceHandle(name, pooled.fd, identity(os.fstat(pooled.fd)), pooled.route, pooled.netfilter)

    def _adopt(self, name: str, fd: int) -> NamespaceHandle:
        try:
            with enter(self._home, fd):
                handle = self._make_handle(
                    name, PooledNamespace(fd, NetlinkSocket(NETLINK_ROUTE), NetlinkSocket(NETLINK_NETFILTER))
                )
        except OSError:
            os.close(fd)
            raise
        self._check_room(handle)
        handle.is_found = handle.is_newly_adopted = True
        # A former process may have made any.
        handle.rare_dumps = set(RARE_DUMPS)
        self._handles[name] = handle
        return handle

    def _open_settings(self, handle: NamespaceHandle, paths: Iterable[str]) -> None:
        self._sysctl_files.renew()
        with enter(self._home, handle.fd):
            for path in paths:
                with suppress(FileNotFoundError):
                    handle.settings[path] = self._sysctl_files.open(path, os.O_RDONLY)

    def _read_setting(self, sysctl: Sysctl) -> Sysctl:
        """Return the current value of a setting; one unknown to this kernel counts as desired."""
        try:
            return self._sysctl_files.read(sysctl)
        except FileNotFoundError:
            return sysctl

    def _read_reference_tables(self) -> dict[TableId, nft.Fingerprint]:
        """Return the fingerprint of each intact table: write them into a scratch namespace and read them back.

        The namespace also serves to detect the features of this kernel.
        """
        with enter(self._home, None):
            scratch = open_here()
        try:
            self.has_ipv6 = scratch.has_ipv6
            self.deletes_by_filter = supports_deletion_filter(scratch.netfilter)
            scratch.netfilter.nft_batch([one for table in tables.DECLARED for one in ruleset.new_table(table)])
            names = scratch.netfilter.dump(nft.dump_tables())
            return {table.id: read_fingerprint(scratch.netfilter, table, names) for table in tables.DECLARED}
        finally:
            self._closer.close(scratch.close)


def read_fingerprint(netfilter: NetlinkSocket, table: NftTable, names: bytes) -> nft.Fingerprint:
    """Return the fingerprint of a table in a namespace, without elements.

    :param names: the dump of tables.
    """
    return nft.fingerprint(table, names, *map(netfilter.dump, nft.dump_content(table)))


def _is_utf_8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
