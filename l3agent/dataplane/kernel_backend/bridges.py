# SPDX-License-Identifier: Apache-2.0
"""The bridges of the host namespace that l3agent manages, by their alias: those without ports, and their networks."""

from __future__ import annotations

from collections.abc import Collection

from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel_backend.observe import query_links
from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.plan.kinds.bridge import parse_bridge_alias

#: Maximum number of bridges queried individually; each takes two calls.
_MAX_SINGLE_QUERIES = 32


def unused_bridges(kernel: Kernel) -> list[str]:
    """Return the names of our bridges without ports."""
    links = rtnl.parse_links(kernel.host.dump(rtnl.dump_links()))
    used = {info.master for info in links}
    return [info.name for info in links if parse_bridge_alias(info.alias) is not None and info.index not in used]


def filter_unused(kernel: Kernel, names: Collection[str]) -> list[str]:
    """Return our bridges without ports among the named ones; more than a few are found by one dump of all links."""
    if len(names) > _MAX_SINGLE_QUERIES:
        return [name for name in unused_bridges(kernel) if name in names]
    bridges = (info for info in query_links(kernel, [rtnl.get_link(name=name) for name in names]) if info is not None)
    ours = [info for info in bridges if parse_bridge_alias(info.alias) is not None]
    return [info.name for info in ours if not rtnl.parse_links(kernel.host.dump(rtnl.dump_links(master=info.index)))]


def list_networks(kernel: Kernel) -> list[str]:
    """Return the ids of the networks whose bridges are marked as ours."""
    links = rtnl.parse_links(kernel.host.dump(rtnl.dump_links()))
    return sorted(ours[0] for info in links if (ours := parse_bridge_alias(info.alias)) is not None)
