# SPDX-License-Identifier: Apache-2.0
"""The nf_tables table of a router.

The rules are equal in all routers; only the elements of maps and sets differ, so adding a floating IP adds two elements
in one atomic batch and rewrites no chain. The table in the syntax of nft(8)::

    table ip l3agent {
      map floating_dnat { type ipv4_addr : ipv4_addr; }      # floating -> fixed
      map floating_snat { type ipv4_addr : ipv4_addr; }      # fixed -> floating
      map gateway_snat { type ifname : ipv4_addr; }          # gateway device -> address of the router outside
      map hairpin_snat { type ifname : ipv4_addr; }          # internal device -> address of the router outside
      set external { type ifname; }                          # the gateway device
      set pending_flush { type ifname . ipv4_addr . ipv4_addr; }  # journal of conntrack entries to delete
      chain prerouting { type nat hook prerouting priority dstnat; dnat to ip daddr map @floating_dnat }
      chain output { type nat hook output priority dstnat; dnat to ip daddr map @floating_dnat }
      chain postrouting { type nat hook postrouting priority srcnat;
        oifname != @external ct status & dnat == 0 accept    # no translation between tenant networks
        snat to ip saddr map @floating_snat fully-random
        snat to oifname map @gateway_snat fully-random
        ct status & dnat != 0 snat to iifname map @hairpin_snat fully-random  # replies must return through the router
      }
      set guarded { type ifname; }                           # the gateway device, if source NAT is enabled
      set gateway_addresses { type ipv4_addr; }              # sources that need no translation there
      chain guard { type filter hook postrouting priority srcnat + 1;
        ip daddr 169.254.0.0/16 oifname @external drop       # RFC 3927 2.7
        ct status snat,dnat accept
        oifname @guarded ip saddr != @gateway_addresses drop
      }
    }

NAT rules see only the first packet of each tracked connection. Chain ``guard`` sees every packet after NAT. It drops
packets that would leave with the address of a tenant: packets in state INVALID (bare TCP flags, ICMP without a request,
bad checksums), untracked packets, and packets of connections that began before source NAT applied to them. If source
NAT is disabled, ``guarded`` is empty.

If traffic is counted, the table also contains the following, and each floating IP is in both sets::

    set traffic_in { type ipv4_addr; counter; }
    set traffic_out { type ipv4_addr; counter; }
    chain count_in { type filter hook prerouting priority raw; iifname @external ip daddr @traffic_in }
    chain count_out { type filter hook postrouting priority 300; oifname @external ip saddr @traffic_out }

Source: linux/netfilter/nf_tables.h, linux/netfilter/nf_nat.h, nft(8). nft prints names for the type numbers of keys,
which the kernel does not interpret.
"""

from __future__ import annotations

from functools import cache
from struct import pack

from l3agent.dataplane.netlink.message import APPEND, CREATE, attribute, be32, nested, text
from l3agent.dataplane.netlink.nft import (
    DELRULE,
    DELTABLE,
    FAMILY_IP,
    IFNAMSIZ,
    NEWCHAIN,
    NEWRULE,
    NEWSET,
    NEWTABLE,
    TABLE,
    request,
)

_TYPE_IPADDR, _TYPE_IFNAME = 7, 41
_CONCATENATION_BITS = 6
_SET_IS_MAP = 8
_HOST_ORDER, _NETWORK_ORDER = 1, 2

_HOOK_PREROUTING, _HOOK_OUTPUT, _HOOK_POSTROUTING = 0, 3, 4
_PRIORITY_DSTNAT, _PRIORITY_SRCNAT = -100, 100
#: The first priority after source NAT.
_PRIORITY_GUARD = _PRIORITY_SRCNAT + 1
#: NF_IP_PRI_RAW, before destination NAT; and a priority after source NAT.
_PRIORITY_RAW, _PRIORITY_LATE = -300, 300
#: NF_IP_PRI_MANGLE is -150.
_PRIORITY_BEFORE_MANGLE = -151
_HAND_OVER = "hand_over"
_VERDICT_DROP, _VERDICT_ACCEPT = 0, 1

_REGISTER_VERDICT, _REGISTER = 0, 1
_META_MARK, _META_IIFNAME, _META_OIFNAME = 3, 6, 7
_CT_STATUS = 2
#: IPS_SRC_NAT and IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
_STATUS_SRC_NAT, _STATUS_DST_NAT = 1 << 4, 1 << 5
#: The first two bytes of link-local IPv4 addresses, 169.254.0.0/16 (RFC 3927).
_LINK_LOCAL = b"\xa9\xfe"
_NETWORK_HEADER = 1
_SADDR, _DADDR = 12, 16
_CMP_EQ, _CMP_NEQ = 0, 1
_LOOKUP_INVERT = 1
_NAT_SNAT, _NAT_DNAT = 0, 1
#: NF_NAT_RANGE_PROTO_RANDOM_FULLY: random source ports, so that two senders rarely collide.
_RANDOM_FULLY = 1 << 4

_SETS: dict[str, tuple[int, int, bool]] = {
    "floating_dnat": (_TYPE_IPADDR, 4, True),
    "floating_snat": (_TYPE_IPADDR, 4, True),
    "gateway_snat": (_TYPE_IFNAME, IFNAMSIZ, True),
    "hairpin_snat": (_TYPE_IFNAME, IFNAMSIZ, True),
    "external": (_TYPE_IFNAME, IFNAMSIZ, False),
    "pending_flush": (
        (_TYPE_IFNAME << 2 * _CONCATENATION_BITS) | (_TYPE_IPADDR << _CONCATENATION_BITS) | _TYPE_IPADDR,
        IFNAMSIZ + 8,
        False,
    ),
    "guarded": (_TYPE_IFNAME, IFNAMSIZ, False),
    "gateway_addresses": (_TYPE_IPADDR, 4, False),
}
#: Sets whose elements count matching packets.
TRAFFIC_IN, TRAFFIC_OUT = "traffic_in", "traffic_out"
_COUNTING = dict.fromkeys((TRAFFIC_IN, TRAFFIC_OUT), (_TYPE_IPADDR, 4, False))


def sets(*, counting: bool) -> dict[str, tuple[int, int, bool]]:
    """Return all maps and sets: name -> (type of the key, bytes of the key, True for a map to addresses).

    :param counting: include the sets that count traffic.
    """
    return _SETS | _COUNTING if counting else _SETS


def delete_table() -> bytes:
    """Return a request that deletes the table with its content."""
    return request(DELTABLE, text(1, TABLE))


@cache
def new_table(*, counting: bool = False) -> tuple[bytes, ...]:
    """Return requests that create the table: maps, sets, chains and rules, without elements; equal for all routers.

    :param counting: floating IPs count their traffic.
    """
    made = [
        _new_set(name, number, *kind) for number, (name, kind) in enumerate(sets(counting=counting).items(), start=1)
    ]
    chains = [
        _new_chain("nat", "prerouting", _HOOK_PREROUTING, _PRIORITY_DSTNAT),
        _new_chain("nat", "output", _HOOK_OUTPUT, _PRIORITY_DSTNAT),
        _new_chain("nat", "postrouting", _HOOK_POSTROUTING, _PRIORITY_SRCNAT),
        _new_chain("filter", "guard", _HOOK_POSTROUTING, _PRIORITY_GUARD),
    ]
    translate_destination = (_payload(_DADDR), _lookup("floating_dnat", value=True), _nat(_NAT_DNAT))
    rules = [
        _new_rule("prerouting", *translate_destination),
        _new_rule("output", *translate_destination),
        _new_rule(
            "postrouting",
            _meta(_META_OIFNAME),
            _lookup("external", invert=True),
            *_nat_status(_STATUS_DST_NAT, _CMP_EQ),
            _verdict(_VERDICT_ACCEPT),
        ),
        _new_rule("postrouting", _payload(_SADDR), _lookup("floating_snat", value=True), _nat(_NAT_SNAT)),
        _new_rule("postrouting", _meta(_META_OIFNAME), _lookup("gateway_snat", value=True), _nat(_NAT_SNAT)),
        _new_rule(
            "postrouting",
            *_nat_status(_STATUS_DST_NAT, _CMP_NEQ),
            _meta(_META_IIFNAME),
            _lookup("hairpin_snat", value=True),
            _nat(_NAT_SNAT),
        ),
        *_guard(),
    ]
    if counting:
        chains += [
            _new_chain("filter", "count_in", _HOOK_PREROUTING, _PRIORITY_RAW),
            _new_chain("filter", "count_out", _HOOK_POSTROUTING, _PRIORITY_LATE),
        ]
        rules += [
            _new_rule("count_in", _meta(_META_IIFNAME), _lookup("external"), _payload(_DADDR), _lookup(TRAFFIC_IN)),
            _new_rule("count_out", _meta(_META_OIFNAME), _lookup("external"), _payload(_SADDR), _lookup(TRAFFIC_OUT)),
        ]
    return (request(NEWTABLE, text(1, TABLE), CREATE), *made, *chains, *rules)


def mark_packets_without_scope() -> list[bytes]:
    """Return requests for a chain that sets the packet mark of Neutron for "no address scope" (1024 << 16).

    Rules of Neutron drop packets without this mark, and the dropping rules may precede the marking rules for a moment.
    """
    kept, added = (nested(4, attribute(1, pack("=I", 0xFFFF))), nested(5, attribute(1, pack("=I", 1024 << 16))))
    masked = _expression("bitwise", be32(1, _REGISTER), be32(2, _REGISTER), be32(3, 4), kept, added)
    written = _expression("meta", be32(2, _META_MARK), be32(3, _REGISTER))
    return [
        _new_chain("filter", _HAND_OVER, _HOOK_PREROUTING, _PRIORITY_BEFORE_MANGLE),
        request(DELRULE, text(1, TABLE) + text(2, _HAND_OVER)),
        _new_rule(_HAND_OVER, _meta(_META_MARK), masked, written),
    ]


def _guard() -> list[bytes]:
    """Return the rules of chain ``guard``; most packets match the second rule, which needs no lookup."""
    return [
        _new_rule(
            "guard",
            _payload(_DADDR, len(_LINK_LOCAL)),
            _compare(_CMP_EQ, _LINK_LOCAL),
            _meta(_META_OIFNAME),
            _lookup("external"),
            _verdict(_VERDICT_DROP),
        ),
        _new_rule("guard", *_nat_status(_STATUS_SRC_NAT | _STATUS_DST_NAT, _CMP_NEQ), _verdict(_VERDICT_ACCEPT)),
        _new_rule(
            "guard",
            _meta(_META_OIFNAME),
            _lookup("guarded"),
            _payload(_SADDR),
            _lookup("gateway_addresses", invert=True),
            _verdict(_VERDICT_DROP),
        ),
    ]


def _new_set(name: str, number: int, key_type: int, key_length: int, has_value: bool) -> bytes:
    body = text(1, TABLE) + text(2, name) + be32(3, _SET_IS_MAP if has_value else 0)
    body += be32(4, key_type) + be32(5, key_length)
    if has_value:
        body += be32(6, _TYPE_IPADDR) + be32(7, 4)
    # User data of the set for nft (libnftnl; type, length, value): byte order of printed keys.
    order = _HOST_ORDER if key_type == _TYPE_IFNAME else _NETWORK_ORDER
    user_data = pack("=BBI", 0, 4, order) + (pack("=BBI", 1, 4, _NETWORK_ORDER) if has_value else b"")
    body += be32(10, number) + attribute(13, user_data)
    if name in _COUNTING:
        # Expression of each new element (NFTA_SET_EXPR).
        body += nested(17, text(1, "counter"), nested(2))
    return request(NEWSET, body, CREATE)


def _new_chain(kind: str, name: str, hook: int, priority: int) -> bytes:
    place = nested(4, be32(1, hook), attribute(2, pack(">i", priority)))
    body = text(1, TABLE) + text(3, name) + place + be32(5, _VERDICT_ACCEPT) + text(7, kind)
    return request(NEWCHAIN, body, CREATE)


def _new_rule(chain: str, *expressions: bytes) -> bytes:
    return request(NEWRULE, text(1, TABLE) + text(2, chain) + nested(4, *expressions), CREATE | APPEND)


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *parts))


def _payload(offset: int, length: int = 4) -> bytes:
    return _expression("payload", be32(1, _REGISTER), be32(2, _NETWORK_HEADER), be32(3, offset), be32(4, length))


def _meta(key: int) -> bytes:
    return _expression("meta", be32(1, _REGISTER), be32(2, key))


def _lookup(name: str, *, value: bool = False, invert: bool = False) -> bytes:
    parts = [text(1, name), be32(2, _REGISTER)]
    if value:
        parts.append(be32(3, _REGISTER))
    if invert:
        parts.append(be32(5, _LOOKUP_INVERT))
    return _expression("lookup", *parts)


def _nat_status(bits: int, comparison: int) -> tuple[bytes, ...]:
    """Return expressions that compare NAT status bits of the connection with zero; untracked packets never match."""
    zero = pack("=I", 0)
    return (
        _expression("ct", be32(1, _REGISTER), be32(2, _CT_STATUS)),
        _expression(
            "bitwise",
            be32(1, _REGISTER),
            be32(2, _REGISTER),
            be32(3, 4),
            nested(4, attribute(1, pack("=I", bits))),
            nested(5, attribute(1, zero)),
        ),
        _compare(comparison, zero),
    )


def _compare(comparison: int, value: bytes) -> bytes:
    return _expression("cmp", be32(1, _REGISTER), be32(2, comparison), nested(3, attribute(1, value)))


def _nat(kind: int) -> bytes:
    parts = [be32(1, kind), be32(2, FAMILY_IP[0]), be32(3, _REGISTER)]
    if kind == _NAT_SNAT:
        parts.append(be32(7, _RANDOM_FULLY))
    return _expression("nat", *parts)


def _verdict(verdict: int) -> bytes:
    return _expression("immediate", be32(1, _REGISTER_VERDICT), nested(2, nested(2, be32(1, verdict))))
