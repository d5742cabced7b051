# SPDX-License-Identifier: Apache-2.0
"""Open sockets and files of one network namespace, and what was read through them last."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from l3agent.dataplane.kernel.sockets import NetlinkSocket
from l3agent.dataplane.netlink import nft, rtnl
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.observation import Dump
from l3agent.dataplane.plan.order import KindDump


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
