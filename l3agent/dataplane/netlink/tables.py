# SPDX-License-Identifier: Apache-2.0
"""The tables of this project, as data. What is in them is ours.

The rules are equal in all routers; only the elements of maps and sets differ, so adding a floating IP adds two elements
in one atomic batch and rewrites no chain.

NAT rules see only the first packet of each tracked connection. Chain ``guard`` sees every packet after NAT. It drops
packets that would leave with the address of a tenant: packets in state INVALID (bare TCP flags, ICMP without a request,
bad checksums), untracked packets, and packets of connections that began before source NAT applied to them. If source
NAT is disabled, ``guarded`` is empty. Most packets match its second rule, which needs no lookup.

Each feature that not every router uses has a table of its own, which exists only where the feature is used.
"""

from __future__ import annotations

from ipaddress import IPv4Network

from l3agent.dataplane.netlink import nf_tables as nf
from l3agent.dataplane.netlink.nft_expressions import (
    HasBits,
    InNetwork,
    Lookup,
    Nat,
    SetMark,
    Verdict,
)
from l3agent.dataplane.netlink.nft_fields import IIFNAME, IP_DADDR, IP_SADDR, OIFNAME, STATUS
from l3agent.dataplane.netlink.nft_sets import NftSet, TableId
from l3agent.dataplane.netlink.nft_types import IFNAME, IPV4_ADDR
from l3agent.dataplane.netlink.ruleset import NftChain, NftTable

_ROUTER, _TRAFFIC = TableId("ip", "l3agent"), TableId("ip", "l3agent-traffic")

#: Floating IP -> fixed address, and the reverse.
FLOATING_DNAT = NftSet(_ROUTER, "floating_dnat", (IPV4_ADDR,), (IPV4_ADDR,))
FLOATING_SNAT = NftSet(_ROUTER, "floating_snat", (IPV4_ADDR,), (IPV4_ADDR,))
#: Gateway device, and internal device -> external address of the router.
GATEWAY_SNAT = NftSet(_ROUTER, "gateway_snat", (IFNAME,), (IPV4_ADDR,))
HAIRPIN_SNAT = NftSet(_ROUTER, "hairpin_snat", (IFNAME,), (IPV4_ADDR,))
#: The gateway device.
EXTERNAL = NftSet(_ROUTER, "external", (IFNAME,))
#: Journal of conntrack entries to delete: cause and two addresses.
PENDING_FLUSH = NftSet(_ROUTER, "pending_flush", (IFNAME, IPV4_ADDR, IPV4_ADDR))
#: The gateway device, if source NAT is enabled, and the sources that need no translation there.
GUARDED = NftSet(_ROUTER, "guarded", (IFNAME,))
GATEWAY_ADDRESSES = NftSet(_ROUTER, "gateway_addresses", (IPV4_ADDR,))
#: The gateway device, and the floating IPs that count their traffic.
TRAFFIC_EXTERNAL = NftSet(_TRAFFIC, "external", (IFNAME,))
TRAFFIC_IN = NftSet(_TRAFFIC, "traffic_in", (IPV4_ADDR,), counter=True)
TRAFFIC_OUT = NftSet(_TRAFFIC, "traffic_out", (IPV4_ADDR,), counter=True)

_TO_FIXED_ADDRESS = (Nat(nf.NFT_NAT_DNAT, (IP_DADDR,), FLOATING_DNAT),)
_DROP, _ACCEPT = Verdict(nf.NF_DROP), Verdict(nf.NF_ACCEPT)

ROUTER = NftTable(
    _ROUTER,
    sets=(
        *(FLOATING_DNAT, FLOATING_SNAT, GATEWAY_SNAT, HAIRPIN_SNAT),
        *(EXTERNAL, PENDING_FLUSH, GUARDED, GATEWAY_ADDRESSES),
    ),
    chains=(
        NftChain("prerouting", "nat", nf.NF_INET_PRE_ROUTING, nf.NF_IP_PRI_NAT_DST, (_TO_FIXED_ADDRESS,)),
        NftChain("output", "nat", nf.NF_INET_LOCAL_OUT, nf.NF_IP_PRI_NAT_DST, (_TO_FIXED_ADDRESS,)),
        NftChain(
            *("postrouting", "nat", nf.NF_INET_POST_ROUTING, nf.NF_IP_PRI_NAT_SRC),
            (
                # No translation between tenant networks.
                (Lookup((OIFNAME,), EXTERNAL, invert=True), HasBits(STATUS, nf.IPS_DST_NAT, nf.NFT_CMP_EQ), _ACCEPT),
                (Nat(nf.NFT_NAT_SNAT, (IP_SADDR,), FLOATING_SNAT),),
                (Nat(nf.NFT_NAT_SNAT, (OIFNAME,), GATEWAY_SNAT),),
                # Replies must return through the router.
                (HasBits(STATUS, nf.IPS_DST_NAT, nf.NFT_CMP_NEQ), Nat(nf.NFT_NAT_SNAT, (IIFNAME,), HAIRPIN_SNAT)),
            ),
        ),
        NftChain(
            # The first priority after source NAT.
            *("guard", "filter", nf.NF_INET_POST_ROUTING, nf.NF_IP_PRI_NAT_SRC + 1),
            (
                # RFC 3927 2.7.
                (InNetwork(IP_DADDR, IPv4Network("169.254.0.0/16")), Lookup((OIFNAME,), EXTERNAL), _DROP),
                (HasBits(STATUS, nf.IPS_SRC_NAT | nf.IPS_DST_NAT, nf.NFT_CMP_NEQ), _ACCEPT),
                (Lookup((OIFNAME,), GUARDED), Lookup((IP_SADDR,), GATEWAY_ADDRESSES, invert=True), _DROP),
            ),
        ),
    ),
)

#: Counts the traffic of floating IPs: before destination NAT, and after source NAT.
TRAFFIC = NftTable(
    _TRAFFIC,
    sets=(TRAFFIC_EXTERNAL, TRAFFIC_IN, TRAFFIC_OUT),
    chains=(
        NftChain(
            *("count_in", "filter", nf.NF_INET_PRE_ROUTING, nf.NF_IP_PRI_RAW),
            ((Lookup((IIFNAME,), TRAFFIC_EXTERNAL), Lookup((IP_DADDR,), TRAFFIC_IN)),),
        ),
        NftChain(
            *("count_out", "filter", nf.NF_INET_POST_ROUTING, nf.NF_IP_PRI_CONNTRACK_HELPER),
            ((Lookup((OIFNAME,), TRAFFIC_EXTERNAL), Lookup((IP_SADDR,), TRAFFIC_OUT)),),
        ),
    ),
)

#: Sets the packet mark of Neutron for "no address scope". Rules of Neutron drop packets without this mark, and the
#: dropping rules may precede the marking rules for a moment: at the hand-back our table has this chain as well.
HAND_OVER = NftChain(
    *("hand_over", "filter", nf.NF_INET_PRE_ROUTING, nf.NF_IP_PRI_MANGLE - 1),
    ((SetMark(0xFFFF, 1024 << 16),),),
)

#: All tables, and their families and names as messages contain them.
DECLARED = (ROUTER, TRAFFIC)
IDENTITIES = frozenset(table.id.identity for table in DECLARED)


def of_router(*, counting: bool) -> tuple[NftTable, ...]:
    """Return the tables of a router.

    :param counting: floating IPs count their traffic.
    """
    return DECLARED if counting else (ROUTER,)
