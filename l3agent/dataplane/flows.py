# SPDX-License-Identifier: Apache-2.0
"""Drop the flows of something that was removed, and no others."""

from __future__ import annotations

from l3agent.dataplane.netlink import conntrack
from l3agent.dataplane.plan import PendingFlush
from l3agent.dataplane.sockets import NetlinkSocket

#: ENOENT: no flow matched.
_NO_SUCH_FLOW = frozenset((2,))


def drop(netfilter: NetlinkSocket, edge: PendingFlush) -> None:
    """Drop the flows of a mapping or an interface that went.

    For a mapping the kernel looks for them itself. It compares whole addresses only, so those of an interface are
    looked for here; that takes some ms, for the table of flows is one for the whole machine.
    """
    match edge.what:
        case "floating_dnat":
            requests = conntrack.flush_floating_ip(edge.left, edge.right)
        case "gateway_snat":
            requests = [conntrack.flush_source(edge.left, turned=False)]
        case "hairpin_snat":
            requests = [conntrack.flush_source(edge.left, turned=True)]
        case "address":
            requests = conntrack.flush_address(edge.left)
        case "interface":
            requests = conntrack.flush_network(netfilter.dump(conntrack.dump_flows()), edge.network)
        case _:
            # Somebody else's element; it is taken out of the journal.
            requests = []
    netfilter.batch(b"".join(requests), ignore=_NO_SUCH_FLOW)
