# SPDX-License-Identifier: Apache-2.0
"""Lines an operator would type. That they do the same is in tests/functional/test_dataplane_typed.py."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_interface, ip_network

import pytest

from l3agent.dataplane.netlink import tables
from l3agent.dataplane.netlink.nft_types import device_key
from l3agent.dataplane.plan.commands import commands
from l3agent.dataplane.plan.kinds.address import DeviceAddress
from l3agent.dataplane.plan.kinds.base import Entry, Operation
from l3agent.dataplane.plan.kinds.bridge import Bridge
from l3agent.dataplane.plan.kinds.element import Element
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.neutron import NeutronRoute, NeutronRules
from l3agent.dataplane.plan.kinds.pending_flush import PendingFlush
from l3agent.dataplane.plan.kinds.physical_port import PhysicalPort
from l3agent.dataplane.plan.kinds.route import KernelRoute
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.dataplane.plan.kinds.table import Table
from l3agent.model.states import NextHop

LINK = Link("qr-a", "fa:16:3e:00:00:01", 1450, True, "tapa", "brqn")
A, B = IPv4Address("10.0.0.7"), IPv4Address("10.0.0.8")


@pytest.mark.parametrize(
    ("verb", "entry", "was", "expected"),
    [
        ("add", Namespace("ns"), None, ["ip netns add ns", "ip -n ns link set lo up"]),
        ("change", Namespace("ns"), Namespace("ns", loopback=False), ["ip -n ns link set lo up"]),
        ("remove", Namespace("ns"), None, ["ip netns delete ns"]),
        ("add", Sysctl("net/ipv4/ip_forward", "1"), None, ["ip netns exec ns sysctl -w net.ipv4.ip_forward=1"]),
        ("change", Bridge("brqn", "n"), Bridge("brqn", "n", up=False), ["ip link set brqn up"]),
        ("remove", PhysicalPort("eth1", "brqn", "n"), None, ["ip link set eth1 nomaster"]),
        (
            "add",
            PhysicalPort("eth1", "brqn", "n"),
            None,
            ["ip link set brqn alias l3agent:network:n:card:eth1", "ip link set eth1 master brqn up"],
        ),
        (
            "add",
            LINK,
            None,
            [
                "ip link add tapa mtu 1450 type veth peer name qr-a address fa:16:3e:00:00:01 mtu 1450 netns ns",
                "sysctl -e -w net.ipv4.conf.tapa.rp_filter=1 net.ipv4.conf.tapa.arp_ignore=8 "
                "net.ipv6.conf.tapa.disable_ipv6=1",
                "ip link set tapa alias l3agent:port master brqn up",
                "ip -n ns link set qr-a up",
            ],
        ),
        (
            "change",
            LINK,
            Link("qr-a", "02:00:00:00:00:01", 1500, True, "tapa", "brqn"),
            [
                "ip link set tapa master brqn mtu 1450 up",
                "ip -n ns link set qr-a address fa:16:3e:00:00:01 mtu 1450 up",
            ],
        ),
        ("remove", LINK, None, ["ip -n ns link delete qr-a"]),
        (
            "add",
            DeviceAddress("qr-a", ip_interface("10.0.0.1/24")),
            None,
            ["ip -n ns address add 10.0.0.1/24 broadcast 10.0.0.255 dev qr-a"],
        ),
        (
            "add",
            DeviceAddress("qg-b", ip_interface("203.0.113.5/32")),
            None,
            ["ip -n ns address add 203.0.113.5/32 dev qg-b"],
        ),
        (
            "change",
            DeviceAddress("qr-a", ip_interface("10.0.0.1/24")),
            DeviceAddress("qr-a", ip_interface("10.0.0.1/16")),
            [
                "ip -n ns address add 10.0.0.1/24 broadcast 10.0.0.255 dev qr-a",
                "ip -n ns address delete 10.0.0.1/16 dev qr-a",
            ],
        ),
        (
            "change",
            DeviceAddress("qr-a", ip_interface("2001:db8::1/64")),
            DeviceAddress("qr-a", ip_interface("2001:db8::1/48")),
            [
                "ip -n ns address delete 2001:db8::1/48 dev qr-a",
                "ip -n ns address add 2001:db8::1/64 nodad dev qr-a",
            ],
        ),
        (
            "add",
            KernelRoute(ip_network("172.30.0.0/24"), frozenset({NextHop("qr-a", B), NextHop("qr-a", A)})),
            None,
            [
                "ip -n ns route replace 172.30.0.0/24 protocol 201"
                " nexthop via 10.0.0.7 dev qr-a nexthop via 10.0.0.8 dev qr-a"
            ],
        ),
        (
            "remove",
            KernelRoute(ip_network("::/0"), frozenset({NextHop("qr-a", None)})),
            None,
            ["ip -6 -n ns route delete ::/0 protocol 201"],
        ),
        ("remove", Table(), None, ["ip netns exec ns nft 'delete table ip l3agent'"]),
        (
            "change",
            Element(tables.FLOATING_DNAT, A.packed, B.packed),
            Element(tables.FLOATING_DNAT, A.packed, A.packed),
            [
                "ip netns exec ns nft 'delete element ip l3agent floating_dnat { 10.0.0.7 };"
                " add element ip l3agent floating_dnat { 10.0.0.7 : 10.0.0.8 }'"
            ],
        ),
        (
            "remove",
            Element(tables.EXTERNAL, device_key("qg-b")),
            None,
            ["ip netns exec ns nft 'delete element ip l3agent external { \"qg-b\" }'"],
        ),
        (
            "remove",
            PendingFlush("floating_dnat", A, B),
            None,
            [
                "ip netns exec ns conntrack -D --orig-dst 10.0.0.7 --reply-src 10.0.0.8",
                "ip netns exec ns conntrack -D --orig-src 10.0.0.8 --reply-dst 10.0.0.7",
                "ip netns exec ns nft"
                " 'delete element ip l3agent pending_flush { \"floating_dnat\" . 10.0.0.7 . 10.0.0.8 }'",
            ],
        ),
        (
            "remove",
            PendingFlush("untranslated", A),
            None,
            [
                "ip netns exec ns conntrack -D --orig-dst 10.0.0.7 --reply-src 10.0.0.7",
                "ip netns exec ns nft"
                " 'delete element ip l3agent pending_flush { \"untranslated\" . 10.0.0.7 . 0.0.0.0 }'",
            ],
        ),
        (
            "remove",
            PendingFlush("without_nat", IPv4Address("10.0.0.0"), IPv4Address("255.255.255.0")),
            None,
            [
                "ip netns exec ns conntrack -L -o save --orig-src 10.0.0.0/24 | sed -n '/ -[gn] /!s/^-A/-D/p'"
                " | while read -r one; do to=${one#* -d };"
                " ip netns exec ns ip route get ${to%% *} | grep -q ' dev qg-' && echo \"$one\"; done"
                " | ip netns exec ns conntrack -R -",
                "ip netns exec ns nft"
                " 'delete element ip l3agent pending_flush { \"without_nat\" . 10.0.0.0 . 255.255.255.0 }'",
            ],
        ),
        (
            "add",
            PendingFlush("gateway_snat", A),
            None,
            ["ip netns exec ns nft 'add element ip l3agent pending_flush { \"gateway_snat\" . 10.0.0.7 . 0.0.0.0 }'"],
        ),
        (
            "remove",
            PendingFlush("gateway_snat", A),
            None,
            [
                "ip netns exec ns conntrack -L --src-nat 10.0.0.7 -o save | sed -n '/ -g /!s/^-A/-D/p'"
                " | ip netns exec ns conntrack -R -",
                "ip netns exec ns nft"
                " 'delete element ip l3agent pending_flush { \"gateway_snat\" . 10.0.0.7 . 0.0.0.0 }'",
            ],
        ),
        (
            "remove",
            PendingFlush("address", A),
            None,
            [
                "ip netns exec ns conntrack -D --orig-dst 10.0.0.7",
                "ip netns exec ns conntrack -D --reply-dst 10.0.0.7",
                "ip netns exec ns nft 'delete element ip l3agent pending_flush { \"address\" . 10.0.0.7 . 0.0.0.0 }'",
            ],
        ),
        (
            "remove",
            NeutronRoute(ip_network("2001:db8::/48")),
            None,
            ["ip -6 -n ns route delete 2001:db8::/48 protocol static"],
        ),
        (
            "remove",
            NeutronRules("ip", "nat", rules=(("PREROUTING", 7),), chains=("neutron-a", "neutron-b")),
            None,
            [
                "ip netns exec ns nft 'delete rule ip nat PREROUTING handle 7;"
                " flush chain ip nat neutron-a; flush chain ip nat neutron-b;"
                " delete chain ip nat neutron-a; delete chain ip nat neutron-b'"
            ],
        ),
        (
            "remove",
            PendingFlush("hairpin_snat", A),
            None,
            [
                "ip netns exec ns conntrack -D --src-nat 10.0.0.7 --dst-nat",
                "ip netns exec ns nft"
                " 'delete element ip l3agent pending_flush { \"hairpin_snat\" . 10.0.0.7 . 0.0.0.0 }'",
            ],
        ),
        (
            "remove",
            PendingFlush("interface", IPv4Address("10.0.0.0"), IPv4Address("255.255.255.0")),
            None,
            [
                "ip netns exec ns conntrack -D --orig-src 10.0.0.0/24",
                "ip netns exec ns conntrack -D --orig-dst 10.0.0.0/24",
                "ip netns exec ns nft"
                " 'delete element ip l3agent pending_flush { \"interface\" . 10.0.0.0 . 255.255.255.0 }'",
            ],
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_an_operation_is_the_lines_one_would_type(
    verb: str, entry: Entry, was: Entry | None, expected: list[str]
) -> None:
    assert commands(Operation(verb, entry, was), "ns") == expected  # type: ignore[arg-type]
