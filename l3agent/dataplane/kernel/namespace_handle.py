# SPDX-License-Identifier: Apache-2.0
"""Open sockets and files of one network namespace."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from l3agent.dataplane.kernel.namespace_cache import NamespaceCache
from l3agent.dataplane.kernel.setting_files import SettingFiles
from l3agent.dataplane.kernel.sockets import NetlinkSocket
from l3agent.dataplane.netlink import nft, rtnl


@dataclass(frozen=True, eq=False, slots=True)
class NamespaceHandle:
    """Open netlink sockets of one namespace; fixed until it is closed, apart from the cache.

    :param identity: device and inode of the namespace file.
    :param cache: known content of the namespace.
    :param is_found: it existed before this process: neutron-l3-agent may have created it.
    :param settings: open files of settings.
    """

    name: str
    fd: int
    identity: tuple[int, int]
    route: NetlinkSocket
    netfilter: NetlinkSocket
    cache: NamespaceCache
    is_found: bool = False
    settings: SettingFiles = field(default_factory=SettingFiles)

    def read_links(self) -> list[rtnl.LinkInfo]:
        """Return the links of the namespace."""
        return self.cache.parse_links(self.route.dump(rtnl.dump_links()))

    def generation(self) -> int | None:
        """Return a number that changes with every change of any rule of the namespace."""
        return nft.parse_generation(self.netfilter.query([nft.get_generation()])[0])

    def close(self) -> None:
        """Close everything; may wait for grace periods."""
        self.settings.close()
        self.route.close()
        self.netfilter.close()
        os.close(self.fd)
