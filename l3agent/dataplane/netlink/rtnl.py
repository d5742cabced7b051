# SPDX-License-Identifier: Apache-2.0
"""rtnetlink: links.

Source: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h. Interface settings with a netlink attribute
are set by message, not through /proc.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct, unpack_from

from l3agent.dataplane.netlink.message import (
    CREATE,
    DUMP,
    EXCLUSIVE,
    HEADER,
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

NEWLINK, DELLINK, GETLINK = 16, 17, 18

AF_UNSPEC, AF_INET, AF_BRIDGE, AF_INET6 = 0, 2, 7, 10
IFF_UP = 1
#: Index of ``lo`` in every namespace (linux/net_namespace.h, LOOPBACK_IFINDEX).
LOOPBACK = 1
_IFF_NOARP, _IFF_MULTICAST = 0x80, 0x1000
#: RT_SCOPE_* of addresses and routes
SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_NOWHERE = 0, 253, 255

# IFLA_* (linux/if_link.h)
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _LINKINFO, _IFALIAS, _AF_SPEC = 1, 3, 4, 5, 10, 18, 20, 26
_GROUP = 27
_NET_NS_FD, _EXT_MASK, _NUM_TX_QUEUES, _NUM_RX_QUEUES, _LINK_NETNSID = 28, 29, 31, 32, 37
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_INFO_PEER = 1
_BR_FORWARD_DELAY, _BR_STP_STATE, _BR_MCAST_SNOOPING = 1, 5, 23
_INET_CONF, _INET6_CONF = 1, 2
# IPV4_DEVCONF_* (linux/ip.h): settings of a device, numbered from 1 in an array. Values: ip-sysctl.
_DEVCONF4_FORWARDING, _DEVCONF4_RP_FILTER, _DEVCONF4_ARP_IGNORE = 1, 8, 19
_RP_FILTER_STRICT, _ARP_IGNORE_ALL = 1, 8
# DEVCONF_* (linux/ipv6.h): positions in the array of device settings, and the value of a setting (ip-sysctl).
# The array begins with forwarding, hop_limit, mtu6, accept_ra, accept_redirects and autoconf.
_DEVCONF_FIRST, _DEVCONF_DISABLE_IPV6 = Struct("=6i"), 26
_ACCEPT_RA_AS_ROUTER = 2
_SKIP_STATS = 8

_IFINFO = Struct("=BxHiII")


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """A link in a dump or event.

    :param link: index of the peer of a veth pair, in the namespace of the peer; 0 if there is none.
    :param netnsid: id of the namespace of the peer in this namespace; None if it is this namespace or unknown.
    :param accept_ra: router advertisements set its default route although it forwards; None without IPv6.
    :param autoconf: router advertisements assign addresses to it.
    :param has_ipv6: the link has IPv6, and ``disable_ipv6`` is 0 (ip-sysctl).
    :param is_isolated: the stack of its namespace ignores it while it has no address, see :func:`isolate`.
    :param arp: it resolves addresses (no IFF_NOARP).
    :param multicast: it sends and receives multicast (IFF_MULTICAST).
    :param forwarding: ``forwarding`` is 1 for IPv4, and for IPv6 if the link has IPv6.
    :param arp_ignore: the setting of this name (ip-sysctl).
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
    netnsid: int | None = None
    accept_ra: bool | None = None
    autoconf: bool = False
    has_ipv6: bool = False
    is_isolated: bool = True
    arp: bool = True
    multicast: bool = True
    forwarding: bool = False
    arp_ignore: int = 0


def mac_bytes(mac: str) -> bytes:
    """Return a MAC address as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(raw: bytes) -> str:
    """Return a MAC address in text form."""
    return raw.hex(":")


def new_veth(outer: str, inner: str, *, mac: str, mtu: int | None, namespace_fd: int) -> bytes:
    """Return a request that creates a veth pair: ``outer`` here and down, ``inner`` with a MAC address in a namespace.

    The queue counts are explicit: without them the driver creates one queue per CPU and then lowers the count, and each
    lowering waits for an RCU grace period under rtnl (measured on 6.18: 4 waits per router).
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
    """Return a request that creates a bridge without forwarding delay, with a MAC address independent of its ports."""
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
    arp_and_multicast: bool = False,
) -> bytes:
    """Return a request that changes a link, which is selected by index or name.

    :param master: index of the bridge to attach it to; 0 detaches it.
    :param namespace_fd: namespace to move it to; the kernel sets it down.
    :param arp_and_multicast: enable address resolution and multicast.
    """
    flags, change = IFF_UP if up else 0, 0 if up is None else IFF_UP
    if arp_and_multicast:
        flags, change = flags | _IFF_MULTICAST, change | _IFF_MULTICAST | _IFF_NOARP
    body = _IFINFO.pack(AF_UNSPEC, 0, index, flags, change)
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


def isolate(name: str, *, alias: str | None = None) -> bytes:
    """Return a request that makes the stack of this namespace ignore IPv4 and ARP on a link without an address.

    With ``arp_ignore`` 8 the device answers for no local address. With ``rp_filter`` a device without an address
    accepts no source address (fib_validate_source of the kernel, strict and loose). IPv6 has no such message:
    ``disable_ipv6`` is written to /proc (ip-sysctl). A device that moves to another namespace gets the settings of
    that namespace.
    """
    settings = u32(_DEVCONF4_RP_FILTER, _RP_FILTER_STRICT) + u32(_DEVCONF4_ARP_IGNORE, _ARP_IGNORE_ALL)
    inet = nested(_AF_SPEC, nested(AF_INET, nested(_INET_CONF, settings)))
    marked = b"" if alias is None else text(_IFALIAS, alias)
    return message(NEWLINK, 0, _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + text(_IFNAME, name) + inet + marked)


def delete_link(*, index: int = 0, name: str | None = None, group: int = 0) -> bytes:
    """Return a request that deletes a link, or all links of a group; the peer of a veth is deleted with it."""
    which = text(_IFNAME, name) if name else u32(_GROUP, group) if group else b""
    return message(DELLINK, 0, _IFINFO.pack(AF_UNSPEC, 0, index, 0, 0) + which)


def get_link(*, index: int = 0, name: str | None = None) -> bytes:
    """Return a request for one link."""
    body = _IFINFO.pack(AF_UNSPEC, 0, index, 0, 0) + u32(_EXT_MASK, _SKIP_STATS)
    return message(GETLINK, 0, body + (text(_IFNAME, name) if name else b""))


def dump_links(*, master: int = 0) -> bytes:
    """Return a request for all links, or for the ports of one bridge (IFLA_MASTER of a dump)."""
    body = _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + u32(_EXT_MASK, _SKIP_STATS)
    return message(GETLINK, DUMP, body + (u32(_MASTER, master) if master else b""))


def parse_links(data: bytes) -> list[LinkInfo]:
    """Return the links in received bytes."""
    return [_parse_link(data, start, end) for kind, _, _, start, end in messages(data) if kind == NEWLINK]


def parse_head(data: bytes) -> tuple[int, int, str]:
    """Return family, index and name in the message of one link; the rest is not decoded."""
    family, _, index, _, _ = _IFINFO.unpack_from(data, HEADER.size)
    for what, first, last in attributes(data, HEADER.size + _IFINFO.size, len(data)):
        if what == _IFNAME:
            return family, index, _name(data, first, last)
    return family, index, ""


def _name(data: bytes, first: int, last: int) -> str:
    """Return a name. The kernel treats names as bytes; a name that is not UTF-8 is never ours."""
    return data[first : last - 1].decode(errors="replace")


def _parse_link(data: bytes, start: int, end: int) -> LinkInfo:
    _, _, index, flags, _ = _IFINFO.unpack_from(data, start)
    name = mac = alias = kind = ""
    mtu = master = link = 0
    netnsid: int | None = None
    inet6: tuple[bool | None, bool, bool] = (None, False, False)
    is_isolated, forwarding = True, False
    arp_ignore: int | None = None
    for what, first, last in attributes(data, start + _IFINFO.size, end):
        if what == _IFNAME:
            name = _name(data, first, last)
        elif what == _ADDRESS:
            mac = mac_text(data[first:last])
        elif what == _MTU:
            (mtu,) = unpack_from("=I", data, first)
        elif what == _MASTER:
            (master,) = unpack_from("=I", data, first)
        elif what == _LINK:
            (link,) = unpack_from("=I", data, first)
        elif what == _LINK_NETNSID:
            (netnsid,) = unpack_from("=i", data, first)
        elif what == _IFALIAS:
            alias = data[first : last - 1].decode(errors="replace")
        elif what == _LINKINFO:
            kind = attribute_map(data, first, last).get(_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace")
        elif what == _AF_SPEC:
            families = attribute_map(data, first, last)
            inet6, forwards_ipv6 = _parse_inet6(families.get(AF_INET6, b""))
            forwarding, rp_filter, arp_ignore = _parse_inet(families.get(AF_INET, b""))
            is_isolated = not inet6[2] and (arp_ignore is None or (bool(rp_filter) and arp_ignore == _ARP_IGNORE_ALL))
            forwarding = forwarding and forwards_ipv6
    up, arp, multicast = bool(flags & IFF_UP), not flags & _IFF_NOARP, bool(flags & _IFF_MULTICAST)
    own = index, name, mac, mtu, up, kind, master, link, alias, netnsid
    return LinkInfo(*own, *inet6, is_isolated, arp, multicast, forwarding, arp_ignore or 0)


def _parse_inet6(family: bytes) -> tuple[tuple[bool | None, bool, bool], bool]:
    """Return ``accept_ra``, ``autoconf`` and ``has_ipv6`` of a link, and its ``forwarding``, True without IPv6.

    The settings are an array of 32-bit numbers beside longer arrays of statistics.
    """
    for what, at, end in attributes(family, 0, len(family)):
        if what == _INET6_CONF and end - at > 4 * _DEVCONF_DISABLE_IPV6:
            forwarding, _, _, accept_ra, _, autoconf = _DEVCONF_FIRST.unpack_from(family, at)
            (disabled,) = unpack_from("=i", family, at + 4 * _DEVCONF_DISABLE_IPV6)
            return (accept_ra == _ACCEPT_RA_AS_ROUTER, autoconf != 0, disabled == 0), forwarding != 0
    return (None, False, False), True


def _parse_inet(family: bytes) -> tuple[bool, int, int | None]:
    """Return ``forwarding``, ``rp_filter`` and ``arp_ignore`` of a link; the last is None without IPv4."""
    settings = attribute_map(family, 0, len(family)).get(_INET_CONF, b"")
    if len(settings) < 4 * _DEVCONF4_ARP_IGNORE:
        return False, 0, None
    places = (_DEVCONF4_FORWARDING, _DEVCONF4_RP_FILTER, _DEVCONF4_ARP_IGNORE)
    (forwarding,), (rp_filter,), (arp_ignore,) = (unpack_from("=i", settings, 4 * (at - 1)) for at in places)
    return bool(forwarding), rp_filter, arp_ignore
