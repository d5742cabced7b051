# SPDX-License-Identifier: Apache-2.0
"""rtnetlink: links, addresses and routes.

Source: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h. Interface settings that have an attribute
are set by message, not through /proc.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_network
from struct import Struct, unpack_from

from l3agent.dataplane.netlink.message import (
    CREATE,
    DUMP,
    EXCLUSIVE,
    REPLACE,
    attribute,
    attribute_map,
    attributes,
    message,
    messages,
    nested,
    text,
    u8,
    u32,
)
from l3agent.model.states import Address, Interface, Network, NextHop

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26

AF_UNSPEC, AF_INET, AF_BRIDGE, AF_INET6 = 0, 2, 7, 10
IFF_UP = 1

# IFLA_* (linux/if_link.h)
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _LINKINFO, _IFALIAS, _AF_SPEC = 1, 3, 4, 5, 10, 18, 20, 26
_GROUP = 27
_NET_NS_FD, _EXT_MASK, _NUM_TX_QUEUES, _NUM_RX_QUEUES, _LINK_NETNSID = 28, 29, 31, 32, 37
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_INFO_PEER = 1
_BR_FORWARD_DELAY, _BR_STP_STATE, _BR_MCAST_SNOOPING = 1, 5, 23
_INET6_CONF, _INET6_ADDR_GEN_MODE = 2, 8
# DEVCONF_* (linux/ipv6.h): places in the array of a device's settings, and the value of one (ip-sysctl).
_DEVCONF_ACCEPT_RA, _DEVCONF_AUTOCONF = 3, 5
_ACCEPT_RA_AS_ROUTER = 2
_ADDR_GEN_NONE = 1
_SKIP_STATS = 8

# IFA_* (linux/if_addr.h)
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFA_F_NODAD = 0x02

# RTA_* and what goes with it (linux/rtnetlink.h)
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 5, 6, 9, 15
_TABLE_MAIN = 254
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_UNICAST = 1
#: Our routes are told from everybody else's by this number, free in iproute2's rt_protos.
ROUTE_PROTOCOL = 201
#: neutron-l3-agent's are of the protocol "static" (RTPROT_STATIC).
PROTOCOL_STATIC = 4
#: RTPROT_RA
PROTOCOL_RA = 9

_IFINFO = Struct("=BxHiII")
_IFADDR = Struct("=BBBBI")
_RTMSG = Struct("=BBBBBBBBI")
_RTNEXTHOP = Struct("=HBBi")


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What the kernel says of a link.

    :param link: index of the other end of a veth pair, in the namespace of that end; 0 where there is none.
    :param accept_ra: it takes its default route, and no address, from router advertisements; None without IPv6.
    """

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    kind: str
    master: int
    link: int
    alias: str
    accept_ra: bool | None = None


# ---- links -----------------------------------------------------------------------------------------------------


def mac_bytes(mac: str) -> bytes:
    """Return a MAC address as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(raw: bytes) -> str:
    """Return a MAC address as people write it."""
    return raw.hex(":")


def new_veth(outer: str, inner: str, *, mac: str, mtu: int | None, namespace_fd: int) -> bytes:
    """Make a veth pair: ``outer`` stays here and down, ``inner`` is born in another namespace with its MAC address.

    The queue counts are explicit: without them the driver makes one queue per CPU and then lowers the count, and each
    lowering waits for an RCU grace period under rtnl (measured on 6.18: 4 waits a router).
    """
    queues = u32(_NUM_TX_QUEUES, 1) + u32(_NUM_RX_QUEUES, 1)
    size = u32(_MTU, mtu) if mtu else b""
    peer = (
        _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0)
        + text(_IFNAME, inner)
        + attribute(_ADDRESS, mac_bytes(mac))
        + u32(_NET_NS_FD, namespace_fd)
        + size
        + queues
    )
    info = nested(_LINKINFO, text(_INFO_KIND, "veth"), nested(_INFO_DATA, nested(_VETH_INFO_PEER, peer)))
    body = _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + text(_IFNAME, outer) + size + queues + info
    return message(NEWLINK, CREATE | EXCLUSIVE, body)


def new_bridge(name: str, mac: str) -> bytes:
    """Make a bridge that forwards at once and whose MAC address does not follow its ports."""
    data = nested(_INFO_DATA, u32(_BR_STP_STATE, 0), u32(_BR_FORWARD_DELAY, 0), u8(_BR_MCAST_SNOOPING, 0))
    body = (
        _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0)
        + text(_IFNAME, name)
        + attribute(_ADDRESS, mac_bytes(mac))
        + nested(_LINKINFO, text(_INFO_KIND, "bridge"), data)
    )
    return message(NEWLINK, CREATE | EXCLUSIVE, body)


def set_link(
    *,
    index: int = 0,
    name: str | None = None,
    up: bool | None = None,
    master: int | None = None,
    mac: str | None = None,
    mtu: int | None = None,
    alias: str | None = None,
    group: int | None = None,
    namespace_fd: int | None = None,
) -> bytes:
    """Change a link, named by its index or its name.

    :param master: 0 takes it out of its bridge.
    :param namespace_fd: where to move it; it is down then.
    """
    change = 0 if up is None else IFF_UP
    body = _IFINFO.pack(AF_UNSPEC, 0, index, IFF_UP if up else 0, change)
    if name is not None:
        body += text(_IFNAME, name)
    if master is not None:
        body += u32(_MASTER, master)
    if mac is not None:
        body += attribute(_ADDRESS, mac_bytes(mac))
    if mtu is not None:
        body += u32(_MTU, mtu)
    if alias is not None:
        body += text(_IFALIAS, alias)
    if group is not None:
        body += u32(_GROUP, group)
    if namespace_fd is not None:
        body += u32(_NET_NS_FD, namespace_fd)
    return message(NEWLINK, 0, body)


def no_link_local(name: str) -> bytes:
    """Keep the kernel from giving a link an IPv6 address by itself (addr_gen_mode none); must come before "up"."""
    mode = nested(_AF_SPEC, nested(AF_INET6, u8(_INET6_ADDR_GEN_MODE, _ADDR_GEN_NONE)))
    return message(NEWLINK, 0, _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + text(_IFNAME, name) + mode)


def delete_link(*, index: int = 0, name: str | None = None, group: int = 0) -> bytes:
    """Delete a link, or all of a group together; a veth takes its other end along."""
    which = text(_IFNAME, name) if name else u32(_GROUP, group) if group else b""
    return message(DELLINK, 0, _IFINFO.pack(AF_UNSPEC, 0, index, 0, 0) + which)


def get_link(*, index: int = 0, name: str | None = None) -> bytes:
    """Ask for one link."""
    body = _IFINFO.pack(AF_UNSPEC, 0, index, 0, 0) + u32(_EXT_MASK, _SKIP_STATS)
    return message(GETLINK, 0, body + (text(_IFNAME, name) if name else b""))


def dump_links() -> bytes:
    """Ask for all links."""
    return message(GETLINK, DUMP, _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + u32(_EXT_MASK, _SKIP_STATS))


def parse_links(data: bytes) -> list[LinkInfo]:
    """Return the links in received bytes."""
    return [_parse_link(data, start, end) for kind, _, _, start, end in messages(data) if kind == NEWLINK]


def _parse_link(data: bytes, start: int, end: int) -> LinkInfo:
    _, _, index, flags, _ = _IFINFO.unpack_from(data, start)
    name = mac = alias = kind = ""
    mtu = master = link = 0
    accept_ra = None
    for what, first, last in attributes(data, start + _IFINFO.size, end):
        if what == _IFNAME:
            # Names are bytes to the kernel; those that are no text are never ours.
            name = data[first : last - 1].decode(errors="replace")
        elif what == _ADDRESS:
            mac = mac_text(data[first:last])
        elif what == _MTU:
            (mtu,) = unpack_from("=I", data, first)
        elif what == _MASTER:
            (master,) = unpack_from("=I", data, first)
        elif what == _LINK:
            (link,) = unpack_from("=I", data, first)
        elif what == _IFALIAS:
            alias = data[first : last - 1].decode(errors="replace")
        elif what == _LINKINFO:
            kind = attribute_map(data, first, last).get(_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace")
        elif what == _AF_SPEC:
            accept_ra = _parse_accept_ra(attribute_map(data, first, last).get(AF_INET6, b""))
    return LinkInfo(index, name, mac, mtu, bool(flags & IFF_UP), kind, master, link, alias, accept_ra)


def _parse_accept_ra(family: bytes) -> bool | None:
    """Read two settings from those of a device, which the kernel lists as an array of 32-bit numbers."""
    settings = attribute_map(family, 0, len(family)).get(_INET6_CONF, b"")
    if len(settings) <= 4 * _DEVCONF_AUTOCONF:
        return None
    (accept_ra,), (autoconf,) = (unpack_from("=i", settings, 4 * at) for at in (_DEVCONF_ACCEPT_RA, _DEVCONF_AUTOCONF))
    return bool(accept_ra == _ACCEPT_RA_AS_ROUTER and autoconf == 0)


# ---- addresses -------------------------------------------------------------------------------------------------


def new_address(index: int, interface: Interface) -> bytes:
    """Put an address on a link: IPv4 with its broadcast address, IPv6 without duplicate address detection.

    With detection an IPv6 address stays unusable for seconds (RFC 4862 5.4); the server hands addresses out once. A
    network of one or two addresses has no broadcast address (RFC 3021).
    """
    body = _address_body(index, interface, _IFA_F_NODAD if interface.version == 6 else 0)
    if isinstance(interface, IPv4Interface) and interface.network.prefixlen < 31:
        body += attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    return message(NEWADDR, CREATE | REPLACE, body)


def delete_address(index: int, interface: Interface) -> bytes:
    """Take an address off a link."""
    return message(DELADDR, 0, _address_body(index, interface, 0))


def _address_body(index: int, interface: Interface, flags: int) -> bytes:
    packed = interface.ip.packed
    family = AF_INET if interface.version == 4 else AF_INET6
    scope = _SCOPE_LINK if interface.version == 6 and interface.ip.is_link_local else _SCOPE_UNIVERSE
    head = _IFADDR.pack(family, interface.network.prefixlen, flags, scope, index)
    return head + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)


def dump_addresses() -> bytes:
    """Ask for all addresses of the namespace."""
    return message(GETADDR, DUMP, _IFADDR.pack(AF_UNSPEC, 0, 0, 0, 0))


def parse_addresses(data: bytes) -> list[tuple[int, Interface]]:
    """Return (index of the link, address) pairs in received bytes."""
    found: list[tuple[int, Interface]] = []
    for kind, _, _, start, end in messages(data):
        if kind != NEWADDR:
            continue
        family, prefix, _, _, index = _IFADDR.unpack_from(data, start)
        parts = attribute_map(data, start + _IFADDR.size, end)
        raw = parts.get(_IFA_LOCAL) or parts.get(_IFA_ADDRESS)
        if raw is None or family not in (AF_INET, AF_INET6):
            continue
        found.append((index, IPv4Interface((raw, prefix)) if family == AF_INET else IPv6Interface((raw, prefix))))
    return found


# ---- routes ----------------------------------------------------------------------------------------------------


def new_route(destination: Network, hops: Iterable[tuple[int, Address | None]]) -> bytes:
    """Make or replace the route to a destination; ``hops`` are (index of the link, next hop or None for on link)."""
    listed = sorted(hops, key=lambda hop: (hop[0], hop[1].packed if hop[1] else b""))
    on_link = destination.version == 4 and all(via is None for _, via in listed)
    body = _route_head(destination, ROUTE_PROTOCOL, _SCOPE_LINK if on_link else _SCOPE_UNIVERSE)
    if len(listed) == 1:
        index, via = listed[0]
        body += u32(_RTA_OIF, index) + (attribute(_RTA_GATEWAY, via.packed) if via else b"")
    else:
        body += nested(_RTA_MULTIPATH, *(_next_hop(index, via) for index, via in listed))
    return message(NEWROUTE, CREATE | REPLACE, body)


def delete_route(destination: Network) -> bytes:
    """Delete our route to a destination, whatever its next hops."""
    return message(DELROUTE, 0, _route_head(destination, ROUTE_PROTOCOL, 255 if destination.version == 4 else 0))


def delete_static_route(destination: Network) -> bytes:
    """Delete the route to a destination that neutron-l3-agent made."""
    return message(DELROUTE, 0, _route_head(destination, PROTOCOL_STATIC, 255 if destination.version == 4 else 0))


def delete_default_of_ra(index: int, via: Address) -> bytes:
    """Delete the IPv6 default route that the kernel took from the advertisement of one router on a link.

    Without ``via`` it would delete one of them, whichever comes first.
    """
    body = _route_head(ip_network("::/0"), PROTOCOL_RA, 0) + u32(_RTA_OIF, index)
    return message(DELROUTE, 0, body + attribute(_RTA_GATEWAY, via.packed))


def _route_head(destination: Network, protocol: int, scope: int) -> bytes:
    family = AF_INET if destination.version == 4 else AF_INET6
    head = _RTMSG.pack(family, destination.prefixlen, 0, 0, _TABLE_MAIN, protocol, scope, _UNICAST, 0)
    return head + (attribute(_RTA_DST, destination.network_address.packed) if destination.prefixlen else b"")


def _next_hop(index: int, via: Address | None) -> bytes:
    gateway = attribute(_RTA_GATEWAY, via.packed) if via else b""
    return _RTNEXTHOP.pack(_RTNEXTHOP.size + len(gateway), 0, 0, index) + gateway


def dump_routes(version: int) -> bytes:
    """Ask for the main table of one IP version (4 or 6); strict checking makes the kernel filter it."""
    family = AF_INET if version == 4 else AF_INET6
    return message(GETROUTE, DUMP, _RTMSG.pack(family, 0, 0, 0, _TABLE_MAIN, 0, 0, 0, 0))


def parse_routes(
    data: bytes, names: dict[int, str], protocol: int = ROUTE_PROTOCOL
) -> dict[Network, frozenset[NextHop]]:
    """Return our routes, or those of another protocol, in received bytes, their next hops by device name."""
    found: dict[Network, frozenset[NextHop]] = {}
    for kind, _, _, start, end in messages(data):
        if kind != NEWROUTE:
            continue
        family, prefix, _, _, table, made_by, _, route_type, _ = _RTMSG.unpack_from(data, start)
        if made_by != protocol or table != _TABLE_MAIN or route_type != _UNICAST:
            continue
        parts = attribute_map(data, start + _RTMSG.size, end)
        raw = parts.get(_RTA_DST) or bytes(4 if family == AF_INET else 16)
        destination = ip_network((raw, prefix))
        hops = _parse_hops(parts, names)
        # IPv6 lists each next hop of a multipath route as a route of its own in old kernels: join them.
        found[destination] = found.get(destination, frozenset()) | hops
    return found


def _parse_hops(parts: dict[int, bytes], names: dict[int, str]) -> frozenset[NextHop]:
    multipath = parts.get(_RTA_MULTIPATH)
    if multipath is None:
        (index,) = unpack_from("=I", parts[_RTA_OIF]) if _RTA_OIF in parts else (0,)
        return frozenset((NextHop(names.get(index, f"index {index}"), _gateway(parts)),))
    hops, offset = set(), 0
    while offset + _RTNEXTHOP.size <= len(multipath):
        length, _, _, index = _RTNEXTHOP.unpack_from(multipath, offset)
        inside = attribute_map(multipath, offset + _RTNEXTHOP.size, offset + length)
        hops.add(NextHop(names.get(index, f"index {index}"), _gateway(inside)))
        offset += (length + 3) & ~3
    return frozenset(hops)


def _gateway(parts: dict[int, bytes]) -> IPv4Address | IPv6Address | None:
    raw = parts.get(_RTA_GATEWAY)
    return None if raw is None else ip_address(raw)
