# SPDX-License-Identifier: Apache-2.0
"""The tables of this project, as data. What is in them is ours.

The rules are equal in all routers; only the elements of maps and sets differ, so adding a floating IP adds two elements
in one atomic batch and rewrites no chain.

NAT rules see only the first packet of each tracked connection. Chain ``guard`` sees every packet after NAT. It drops
packets that would leave with the address of a tenant: packets in state INVALID (bare TCP flags, ICMP without a request,
bad checksums), untracked packets, and packets of connections that began before source NAT applied to them. If source
NAT is disabled, ``guarded`` is empty. Most packets match its second rule, which needs no lookup.

Names of sets are unique over all tables, so that an element names its table by its set.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

from l3agent.dataplane.netlink import nf_tables as nf
from l3agent.dataplane.netlink.nft_expressions import (
    IIFNAME,
    IP_DADDR,
    IP_SADDR,
    OIFNAME,
    STATUS,
    HasBits,
    InNetwork,
    Lookup,
    Nat,
    NftSet,
    SetMark,
    Verdict,
)
from l3agent.dataplane.netlink.nft_types import IFNAME, IPV4_ADDR
from l3agent.dataplane.netlink.ruleset import NftChain, NftTable

#: Floating IP -> fixed address, and the reverse.
FLOATING_DNAT = NftSet("floating_dnat", (IPV4_ADDR,), (IPV4_ADDR,))
FLOATING_SNAT = NftSet("floating_snat", (IPV4_ADDR,), (IPV4_ADDR,))
#: Gateway device, and internal device -> external address of the router.
GATEWAY_SNAT = NftSet("gateway_snat", (IFNAME,), (IPV4_ADDR,))
HAIRPIN_SNAT = NftSet("hairpin_snat", (IFNAME,), (IPV4_ADDR,))
#: The gateway device.
EXTERNAL = NftSet("external", (IFNAME,))
#: Journal of conntrack entries to delete: cause and two addresses.
PENDING_FLUSH = NftSet("pending_flush", (IFNAME, IPV4_ADDR, IPV4_ADDR))
#: The gateway device, if source NAT is enabled, and the sources that need no translation there.
GUARDED = NftSet("guarded", (IFNAME,))
GATEWAY_ADDRESSES = NftSet("gateway_addresses", (IPV4_ADDR,))
#: Floating IPs, if traffic is counted.
TRAFFIC_IN = NftSet("traffic_in", (IPV4_ADDR,), counter=True)
TRAFFIC_OUT = NftSet("traffic_out", (IPV4_ADDR,), counter=True)

_TO_FIXED_ADDRESS = (Nat(nf.NFT_NAT_DNAT, (IP_DADDR,), FLOATING_DNAT),)
_DROP, _ACCEPT = Verdict(nf.NF_DROP), Verdict(nf.NF_ACCEPT)

ROUTER = NftTable(
    "ip",
    "l3agent",
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

#: The same table if floating IPs count their traffic: before destination NAT, and after source NAT.
COUNTING_ROUTER = replace(
    ROUTER,
    sets=(*ROUTER.sets, TRAFFIC_IN, TRAFFIC_OUT),
    chains=(
        *ROUTER.chains,
        NftChain(
            *("count_in", "filter", nf.NF_INET_PRE_ROUTING, nf.NF_IP_PRI_RAW),
            ((Lookup((IIFNAME,), EXTERNAL), Lookup((IP_DADDR,), TRAFFIC_IN)),),
        ),
        NftChain(
            *("count_out", "filter", nf.NF_INET_POST_ROUTING, nf.NF_IP_PRI_CONNTRACK_HELPER),
            ((Lookup((OIFNAME,), EXTERNAL), Lookup((IP_SADDR,), TRAFFIC_OUT)),),
        ),
    ),
)

#: Sets the packet mark of Neutron for "no address scope". Rules of Neutron drop packets without this mark, and the
#: dropping rules may precede the marking rules for a moment: at the hand-back our table has this chain as well.
HAND_OVER = NftChain(
    *("hand_over", "filter", nf.NF_INET_PRE_ROUTING, nf.NF_IP_PRI_MANGLE - 1),
    ((SetMark(0xFFFF, 1024 << 16),),),
)

#: All tables by name, without and with counters of floating IPs.
_DECLARED = tuple({table.name: table for table in found} for found in ((ROUTER,), (COUNTING_ROUTER,)))
_SETS = {one.name: (table, one) for table in _DECLARED[True].values() for one in table.sets}
#: Family and name of each of our tables, as messages contain them.
IDENTITIES = frozenset((table.nfgenmsg[0], table.name.encode() + b"\0") for table in _DECLARED[True].values())


def declared(*, counting: bool) -> dict[str, NftTable]:
    """Return the tables that this process may write in a namespace, by name.

    :param counting: floating IPs count their traffic.
    """
    return _DECLARED[counting]


def find_set(name: str) -> tuple[NftTable, NftSet]:
    """Return a set by name, with its table: of the variants of a table, the larger one."""
    return _SETS[name]
