# SPDX-License-Identifier: Apache-2.0
"""nf_tables: the table of a router and its elements.

The rules are the same in every router; what differs are elements of maps and sets, so adding a floating IP is two
elements in one atomic batch and no chain is ever rewritten. What the rules say, as nft prints it::

    table ip l3agent {
      map floating_dnat { type ipv4_addr : ipv4_addr; }      # floating -> fixed
      map floating_snat { type ipv4_addr : ipv4_addr; }      # fixed -> floating
      map gateway_snat { type ifname : ipv4_addr; }          # gateway device -> address of the router outside
      map hairpin_snat { type ifname : ipv4_addr; }          # internal device -> address of the router outside
      set external { type ifname; }                          # the gateway device
      set pending_flush { type ifname . ipv4_addr . ipv4_addr; }  # what was removed, its flows still to be dropped
      chain prerouting { type nat hook prerouting priority dstnat; dnat to ip daddr map @floating_dnat }
      chain output { type nat hook output priority dstnat; dnat to ip daddr map @floating_dnat }
      chain postrouting { type nat hook postrouting priority srcnat;
        oifname != @external ct status & dnat == 0 accept    # between tenant networks nothing is translated
        snat to ip saddr map @floating_snat fully-random
        snat to oifname map @gateway_snat fully-random
        ct status & dnat != 0 snat to iifname map @hairpin_snat fully-random  # answers must come back through here
      }
    }

Source: linux/netfilter/nf_tables.h, linux/netfilter/nf_nat.h, nft(8). The type numbers of keys are those that nft
prints names for; the kernel does not read them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from struct import pack

from l3agent.dataplane.netlink.message import (
    APPEND,
    CREATE,
    DUMP,
    attribute,
    attribute_map,
    attributes,
    be32,
    message,
    messages,
    nested,
    numbered,
    text,
)

TABLE = "l3agent"

_SUBSYSTEM = 10 << 8
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN, _NEWRULE, _GETRULE, _DELRULE = 0, 1, 2, 3, 4, 6, 7, 8
_NEWSET, _GETSET, _NEWSETELEM, _GETSETELEM, _DELSETELEM, _NEWGEN, _GETGEN = 9, 10, 12, 13, 14, 15, 16
#: nfgenmsg of family ip (NFPROTO_IPV4).
_FAMILY_IP = b"\x02\x00\x00\x00"
_BATCH_BEGIN, _BATCH_END = 16, 17
#: nfgenmsg of a batch names the subsystem (NFNL_SUBSYS_NFTABLES, network byte order).
_BATCH = b"\x00\x00\x00\x0a"

_TYPE_IPADDR, _TYPE_IFNAME = 7, 41
_CONCATENATION_BITS = 6
_IFNAMSIZ = 16
_SET_IS_MAP = 8
_HOST_ORDER, _NETWORK_ORDER = 1, 2

_HOOK_PREROUTING, _HOOK_OUTPUT, _HOOK_POSTROUTING = 0, 3, 4
_PRIORITY_DSTNAT, _PRIORITY_SRCNAT = -100, 100
#: NF_IP_PRI_MANGLE is -150.
_PRIORITY_BEFORE_MANGLE = -151
_HAND_OVER = "hand_over"
_VERDICT_ACCEPT = 1

_REGISTER_VERDICT, _REGISTER = 0, 1
_META_MARK, _META_IIFNAME, _META_OIFNAME = 3, 6, 7
_CT_STATUS = 2
#: IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
_STATUS_DST_NAT = 1 << 5
_NETWORK_HEADER = 1
_SADDR, _DADDR = 12, 16
_CMP_EQ, _CMP_NEQ = 0, 1
_LOOKUP_INVERT = 1
_NAT_SNAT, _NAT_DNAT = 0, 1
#: NF_NAT_RANGE_PROTO_RANDOM_FULLY: source ports are drawn at random, so that two senders seldom clash.
_RANDOM_FULLY = 1 << 4

#: Every map and set: name -> (type of the key, its bytes, whether values are addresses).
SETS: dict[str, tuple[int, int, bool]] = {
    "floating_dnat": (_TYPE_IPADDR, 4, True),
    "floating_snat": (_TYPE_IPADDR, 4, True),
    "gateway_snat": (_TYPE_IFNAME, _IFNAMSIZ, True),
    "hairpin_snat": (_TYPE_IFNAME, _IFNAMSIZ, True),
    "external": (_TYPE_IFNAME, _IFNAMSIZ, False),
    "pending_flush": (
        (_TYPE_IFNAME << 2 * _CONCATENATION_BITS) | (_TYPE_IPADDR << _CONCATENATION_BITS) | _TYPE_IPADDR,
        _IFNAMSIZ + 8,
        False,
    ),
}


def device_key(device: str) -> bytes:
    """Return a device name as a key of type ifname."""
    return device.encode().ljust(_IFNAMSIZ, b"\0")


def batch(parts: Iterable[bytes], first: int) -> tuple[bytes, int]:
    """Return an atomic batch, numbered from ``first`` on, and the number whose acknowledgement ends it.

    The first number is that of the batch as a whole.
    """
    body = bytearray(b"".join((message(_BATCH_BEGIN, 0, _BATCH), *parts)))
    last = numbered(body, first)
    return bytes(body) + message(_BATCH_END, 0, _BATCH), last


# ---- the table -------------------------------------------------------------------------------------------------


def delete_table() -> bytes:
    """Delete the table with all that is in it."""
    return _request(_DELTABLE, text(1, TABLE))


@cache
def new_table() -> tuple[bytes, ...]:
    """Make the table: maps, sets, chains and rules, without elements. The same bytes for every router."""
    sets = [_new_set(name, number) for number, name in enumerate(SETS, start=1)]
    chains = [
        _new_chain("prerouting", _HOOK_PREROUTING, _PRIORITY_DSTNAT),
        _new_chain("output", _HOOK_OUTPUT, _PRIORITY_DSTNAT),
        _new_chain("postrouting", _HOOK_POSTROUTING, _PRIORITY_SRCNAT),
    ]
    translate_destination = (_payload(_DADDR), _lookup("floating_dnat", value=True), _nat(_NAT_DNAT))
    rules = [
        _new_rule("prerouting", *translate_destination),
        _new_rule("output", *translate_destination),
        _new_rule(
            "postrouting",
            _meta(_META_OIFNAME),
            _lookup("external", invert=True),
            *_destination_translated(_CMP_EQ),
            _accept(),
        ),
        _new_rule("postrouting", _payload(_SADDR), _lookup("floating_snat", value=True), _nat(_NAT_SNAT)),
        _new_rule("postrouting", _meta(_META_OIFNAME), _lookup("gateway_snat", value=True), _nat(_NAT_SNAT)),
        _new_rule(
            "postrouting",
            *_destination_translated(_CMP_NEQ),
            _meta(_META_IIFNAME),
            _lookup("hairpin_snat", value=True),
            _nat(_NAT_SNAT),
        ),
    ]
    return (_request(_NEWTABLE, text(1, TABLE), CREATE), *sets, *chains, *rules)


def mark_as_without_scope() -> list[bytes]:
    """Have a chain of our table mark packets as Neutron does where there is no address scope (1024 << 16).

    Its rules drop what has no such mark, and those that drop may come a moment before those that mark.
    """
    place = nested(4, be32(1, _HOOK_PREROUTING), attribute(2, pack(">i", _PRIORITY_BEFORE_MANGLE)))
    chain = text(1, TABLE) + text(3, _HAND_OVER) + place + be32(5, _VERDICT_ACCEPT) + text(7, "filter")
    kept, added = (nested(4, attribute(1, pack("=I", 0xFFFF))), nested(5, attribute(1, pack("=I", 1024 << 16))))
    masked = _expression("bitwise", be32(1, _REGISTER), be32(2, _REGISTER), be32(3, 4), kept, added)
    written = _expression("meta", be32(2, _META_MARK), be32(3, _REGISTER))
    return [
        _request(_NEWCHAIN, chain, CREATE),
        _request(_DELRULE, text(1, TABLE) + text(2, _HAND_OVER)),
        _new_rule(_HAND_OVER, _meta(_META_MARK), masked, written),
    ]


def _request(kind: int, body: bytes, flags: int = 0) -> bytes:
    return message(_SUBSYSTEM | kind, flags, _FAMILY_IP + body)


def _new_set(name: str, number: int) -> bytes:
    key_type, key_length, has_value = SETS[name]
    body = text(1, TABLE) + text(2, name) + be32(3, _SET_IS_MAP if has_value else 0)
    body += be32(4, key_type) + be32(5, key_length)
    if has_value:
        body += be32(6, _TYPE_IPADDR) + be32(7, 4)
    # libnftnl's notes for nft: in which byte order to print keys (set user data; type, length, value).
    order = _HOST_ORDER if key_type == _TYPE_IFNAME else _NETWORK_ORDER
    notes = pack("=BBI", 0, 4, order) + (pack("=BBI", 1, 4, _NETWORK_ORDER) if has_value else b"")
    return _request(_NEWSET, body + be32(10, number) + attribute(13, notes), CREATE)


def _new_chain(name: str, hook: int, priority: int) -> bytes:
    place = nested(4, be32(1, hook), attribute(2, pack(">i", priority)))
    return _request(
        _NEWCHAIN, text(1, TABLE) + text(3, name) + place + be32(5, _VERDICT_ACCEPT) + text(7, "nat"), CREATE
    )


def _new_rule(chain: str, *expressions: bytes) -> bytes:
    return _request(_NEWRULE, text(1, TABLE) + text(2, chain) + nested(4, *expressions), CREATE | APPEND)


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *parts))


def _payload(offset: int) -> bytes:
    return _expression("payload", be32(1, _REGISTER), be32(2, _NETWORK_HEADER), be32(3, offset), be32(4, 4))


def _meta(key: int) -> bytes:
    return _expression("meta", be32(1, _REGISTER), be32(2, key))


def _lookup(name: str, *, value: bool = False, invert: bool = False) -> bytes:
    parts = [text(1, name), be32(2, _REGISTER)]
    if value:
        parts.append(be32(3, _REGISTER))
    if invert:
        parts.append(be32(5, _LOOKUP_INVERT))
    return _expression("lookup", *parts)


def _destination_translated(comparison: int) -> tuple[bytes, ...]:
    """Compare the DNAT bit of the connection with zero."""
    zero = pack("=I", 0)
    return (
        _expression("ct", be32(1, _REGISTER), be32(2, _CT_STATUS)),
        _expression(
            "bitwise",
            be32(1, _REGISTER),
            be32(2, _REGISTER),
            be32(3, 4),
            nested(4, attribute(1, pack("=I", _STATUS_DST_NAT))),
            nested(5, attribute(1, zero)),
        ),
        _expression("cmp", be32(1, _REGISTER), be32(2, comparison), nested(3, attribute(1, zero))),
    )


def _nat(kind: int) -> bytes:
    parts = [be32(1, kind), be32(2, _FAMILY_IP[0]), be32(3, _REGISTER)]
    if kind == _NAT_SNAT:
        parts.append(be32(7, _RANDOM_FULLY))
    return _expression("nat", *parts)


def _accept() -> bytes:
    return _expression("immediate", be32(1, _REGISTER_VERDICT), nested(2, nested(2, be32(1, _VERDICT_ACCEPT))))


# ---- elements --------------------------------------------------------------------------------------------------


def new_elements(name: str, elements: Iterable[tuple[bytes, bytes | None]]) -> bytes:
    """Add elements, (key, value) pairs, to a map; value None for a set."""
    return _request(_NEWSETELEM, _elements(name, elements), CREATE)


def delete_elements(name: str, keys: Iterable[bytes]) -> bytes:
    """Delete elements by key; a key that is not there fails the whole batch."""
    return _request(_DELSETELEM, _elements(name, ((key, None) for key in keys)))


def _elements(name: str, elements: Iterable[tuple[bytes, bytes | None]]) -> bytes:
    listed = (
        nested(1, nested(1, attribute(1, key)), b"" if value is None else nested(2, attribute(1, value)))
        for key, value in elements
    )
    return text(1, TABLE) + text(2, name) + nested(3, *listed)


# ---- reading back ----------------------------------------------------------------------------------------------


def get_generation() -> bytes:
    """Ask for the generation of all rules of the namespace: whoever changes one, the answer changes."""
    return _request(_GETGEN, b"")


def parse_generation(data: bytes) -> int | None:
    """Return the generation in an answer; None when there is none (NFTA_GEN_ID)."""
    for kind, _, _, start, end in messages(data):
        raw = attribute_map(data, start + 4, end).get(1) if kind == _SUBSYSTEM | _NEWGEN else None
        if raw is not None:
            return int.from_bytes(raw, "big")
    return None


def dump_tables() -> bytes:
    """Ask for the tables of the family; all but ours are left out by :func:`fingerprint`."""
    return message(_SUBSYSTEM | _GETTABLE, DUMP, _FAMILY_IP)


def dump_chains() -> bytes:
    """Ask for the chains of the family; those of other tables are left out by :func:`fingerprint`."""
    return message(_SUBSYSTEM | _GETCHAIN, DUMP, _FAMILY_IP)


def dump_sets() -> bytes:
    """Ask for the sets of our table."""
    return message(_SUBSYSTEM | _GETSET, DUMP, _FAMILY_IP + text(1, TABLE))


def dump_rules() -> bytes:
    """Ask for the rules of our table."""
    return message(_SUBSYSTEM | _GETRULE, DUMP, _FAMILY_IP + text(1, TABLE))


def dump_elements(name: str) -> bytes:
    """Ask for the elements of one map or set of our table."""
    return message(_SUBSYSTEM | _GETSETELEM, DUMP, _FAMILY_IP + text(1, TABLE) + text(2, name))


#: What of a table (its flags), a chain, a set and a rule is the same in every router; handles, use counts and user data
#: are not.
_LASTING = {
    _NEWTABLE: (2,),
    _NEWCHAIN: (3, 4, 5, 7),
    _NEWSET: (2, 3, 4, 5, 6, 7),
    _NEWRULE: (2, 4),
}


def fingerprint(*dumps: bytes) -> frozenset[tuple[int, int, bytes]]:
    """Return what the dumps of tables, chains, sets and rules say of our table, comparable between routers.

    Rules carry their place in the chain, so that order counts. Empty when there is no table.
    """
    table = TABLE.encode() + b"\0"
    found: set[tuple[int, int, bytes]] = set()
    place = 0
    for data in dumps:
        for kind, _, _, start, end in messages(data):
            wanted = _LASTING.get(kind & 0xFF) if kind >> 8 == _SUBSYSTEM >> 8 else None
            parts = attribute_map(data, start + 4, end)
            if wanted is None or parts.get(1) != table:
                continue
            place = place + 1 if kind & 0xFF == _NEWRULE else 0
            found.add((kind & 0xFF, place, b"\xff".join(parts.get(one, b"") for one in wanted)))
    return frozenset(found)


def parse_elements(data: bytes) -> dict[bytes, bytes | None]:
    """Return the elements in received bytes: key -> value, None in a set."""
    found: dict[bytes, bytes | None] = {}
    for kind, _, _, start, end in messages(data):
        if kind != _SUBSYSTEM | _NEWSETELEM:
            continue
        for what, first, last in attributes(data, start + 4, end):
            if what == 3:
                found.update(_parse_element(data, one, after) for _, one, after in attributes(data, first, last))
    return found


def _parse_element(data: bytes, start: int, end: int) -> tuple[bytes, bytes | None]:
    """Return key and value; the element that catches all has the empty key."""
    parts = attribute_map(data, start, end)
    key = attribute_map(parts[1], 0, len(parts[1]))[1] if 1 in parts else b""
    value = attribute_map(parts[2], 0, len(parts[2])).get(1) if 2 in parts else None
    return key, value
