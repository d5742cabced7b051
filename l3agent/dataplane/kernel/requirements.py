# SPDX-License-Identifier: Apache-2.0
"""Checks of the kernel features that the data plane needs; the caller is in a namespace of its own.

Each check sends the messages of the data plane, so a kernel that passes accepts them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from l3agent.dataplane.kernel import syscalls
from l3agent.dataplane.kernel.flows import supports_deletion_filter
from l3agent.dataplane.kernel.netns import own_namespace
from l3agent.dataplane.kernel.sockets import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket
from l3agent.dataplane.netlink import conntrack, nft_elements, nsid, rtnl, ruleset, tables
from l3agent.exceptions import ApplyError

#: linux/netlink.h
_SOL_NETLINK, _LISTEN_ALL_NSID = 270, 8
_MAC = "fa:16:3e:00:00:01"
_FLOATING, _FIXED = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")


def run_checks() -> list[tuple[str, str, str]]:
    """Return name, state of the finding (see :mod:`l3agent.cli.findings`) and text of each check.

    The text of a failure has the reason and advice; that of a note describes the fallback.
    """
    return [(name, *_run_check(check, advice)) for name, check, advice in _CHECKS]


def _run_check(check: Callable[[], str | None], advice: str) -> tuple[str, str]:
    try:
        note = check()
    except (ApplyError, OSError) as exc:
        return "fail", f"{exc}; {advice}"
    return ("note", note) if note else ("ok", "works")


def _veth() -> None:
    route = NetlinkSocket(NETLINK_ROUTE)
    home = own_namespace()
    route.batch(rtnl.new_veth("l3trial0", "l3trial1", mac=_MAC, mtu=1500, namespace_fd=home))


def _bridge() -> None:
    NetlinkSocket(NETLINK_ROUTE).batch(rtnl.new_bridge("l3trial2", _MAC))


def _maps() -> None:
    element = nft_elements.new_elements(tables.FLOATING_DNAT, [(_FLOATING.packed, _FIXED.packed)])
    NetlinkSocket(NETLINK_NETFILTER).nft_batch([*ruleset.new_table(tables.ROUTER), element])


def _conntrack_deletion() -> str | None:
    netfilter = NetlinkSocket(NETLINK_NETFILTER)
    netfilter.dump(conntrack.dump_entries())
    if supports_deletion_filter(netfilter):
        return None
    return "no filter in this kernel (Linux 6.11 has one); each change of floating IPs dumps the router's entries once"


def _all_namespaces() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as listener:
        listener.bind((0, 0))
        listener.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)


def _nsids() -> None:
    home = own_namespace()
    number = nsid.parse_nsid(NetlinkSocket(NETLINK_ROUTE).query([nsid.new_nsid(home), nsid.get_nsid(home)])[1])
    if number is None:
        raise ApplyError("the kernel assigns no nsid to namespaces")


def _settings() -> None:
    root = Path(f"/proc/self/fd/{syscalls.mount_proc()}/sys/net")
    for path in ("ipv4/ip_forward", "netfilter/nf_conntrack_tcp_be_liberal"):
        if not (root / path).exists():
            raise ApplyError(f"no sysctl net/{path}")


_CHECKS: tuple[tuple[str, Callable[[], str | None], str], ...] = (
    ("veth pairs", _veth, "`modprobe veth`"),
    ("bridges", _bridge, "`modprobe bridge`"),
    ("nf_tables with maps and NAT", _maps, "`modprobe nf_tables nft_nat`; Linux 5.8 or newer is needed"),
    ("deletion of conntrack entries", _conntrack_deletion, "`modprobe nf_conntrack_netlink`"),
    ("events of all namespaces", _all_namespaces, "without NET_BROADCAST drift is repaired only at a full sync"),
    ("ids of namespaces", _nsids, "without them drift is repaired only at a full sync"),
    ("settings of namespaces", _settings, "`modprobe nf_conntrack`"),
)
