# SPDX-License-Identifier: Apache-2.0
"""Where the IPv6 default route comes from: the subnet, the options, or the routers outside."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Any

import pytest

from l3agent.testing import wait_until
from tests.support.payloads import a_fixed_ip, a_gateway, a_router, a_subnet
from tests.support.processes import Dataplane
from tests.support.states import desired_namespace

NAMESPACE = f"qrouter-{a_router()['id']}"
DEVICE = "qg-b0000000-00"
OUTSIDE = "outside"
SEVERAL = (OUTSIDE, "beside", "behind")
# A router advertisement (RFC 4861 4.2: a router for 1800 s) of a prefix for everybody's addresses and everything on
# link (4.6.2), sent to all nodes; the kernel fills in the checksum. A device that came up a moment ago may refuse it.
_ADVERTISE = """
import socket, struct, time
advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
prefix = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 3600, 3600, 0, socket.inet_pton(socket.AF_INET6, "2001:db8:f::"))
sender = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
deadline = time.monotonic() + 20
while True:
    try:
        sender.sendto(advertisement + prefix, ("ff02::1", 0, 0, socket.if_nametoindex("eth0")))
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.1)
"""


@pytest.mark.feature("router.ipv6-gateway")
def test_the_ipv6_gateway_of_the_options_is_the_default_route_in_the_kernel(dataplane: Dataplane) -> None:
    bring(dataplane, a_router(), ipv6_gateway=IPv6Address("fe80::1"))
    (route,) = default_routes(dataplane)
    assert (route["gateway"], route["dev"]) == ("fe80::1", DEVICE)
    assert setting(dataplane, "accept_ra") != "2"


@pytest.mark.feature("router.ipv6-gateway")
def test_without_any_ipv6_gateway_the_routers_outside_say_who_they_are(dataplane: Dataplane) -> None:
    router = a_router()
    bring(dataplane, router)
    assert (setting(dataplane, "accept_ra"), setting(dataplane, "autoconf")) == ("2", "0")
    addresses = dataplane.sandbox.json(f"ip -j -6 addr show dev {DEVICE}", netns=NAMESPACE)
    advertised = neighbour(dataplane)
    wait_until(lambda: advertise(dataplane) or default_routes(dataplane), timeout=30)
    (route,) = default_routes(dataplane)
    assert (route["gateway"], route["dev"], route["protocol"]) == (advertised, DEVICE, "ra")
    # Only the server gives addresses, so nothing is to be put right.
    assert dataplane.sandbox.json(f"ip -j -6 addr show dev {DEVICE}", netns=NAMESPACE) == addresses
    bring(dataplane, router, changes=False)


@pytest.mark.feature("router.ipv6-gateway")
def test_a_gateway_that_the_server_names_takes_the_place_of_the_advertised_one(dataplane: Dataplane) -> None:
    bring(dataplane, a_router())
    neighbour(dataplane)
    wait_until(lambda: advertise(dataplane) or default_routes(dataplane), timeout=30)
    bring(dataplane, with_ipv6_gateway("2001:db8:ffff::1"))
    for _ in range(2):
        (route,) = default_routes(dataplane)
        assert route["gateway"] == "2001:db8:ffff::1"
        advertise(dataplane)
    assert setting(dataplane, "accept_ra") == "0"


@pytest.mark.feature("router.ipv6-gateway")
def test_what_neutron_leaves_listening_listens_no_more_when_the_server_names_one(dataplane: Dataplane) -> None:
    """neutron-l3-agent sets accept_ra and leaves autoconf as the kernel makes it."""
    wanted = with_ipv6_gateway("2001:db8:ffff::1")
    bring(dataplane, wanted)
    neighbour(dataplane)
    addresses = dataplane.sandbox.json(f"ip -j -6 addr show dev {DEVICE}", netns=NAMESPACE)
    dataplane.kill()
    settings = [f"net.ipv6.conf.{DEVICE}.{name}" for name in ("autoconf=1", "accept_ra=2")]
    dataplane.sandbox.run(["sysctl", "-qw", *settings], netns=NAMESPACE)
    wait_until(lambda: advertise(dataplane) or len(default_routes(dataplane)) == 2, timeout=30)
    assert dataplane.sandbox.json(f"ip -j -6 addr show dev {DEVICE}", netns=NAMESPACE) != addresses
    dataplane.start()
    bring(dataplane, wanted)
    for _ in range(2):
        (route,) = default_routes(dataplane)
        assert route["gateway"] == "2001:db8:ffff::1"
        assert dataplane.sandbox.json(f"ip -j -6 addr show dev {DEVICE}", netns=NAMESPACE) == addresses
        advertise(dataplane)
    assert setting(dataplane, "accept_ra") == "0"


def test_of_several_advertised_routers_none_stays_when_the_server_names_one(dataplane: Dataplane) -> None:
    bring(dataplane, a_router())
    # One of them is replaced by ours, one is deleted: it takes three to see whether all are.
    for name in SEVERAL:
        neighbour(dataplane, name)
    wait_until(lambda: all_advertise(dataplane) or len(default_routes(dataplane)) == len(SEVERAL), timeout=30)
    bring(dataplane, with_ipv6_gateway("2001:db8:ffff::1"))
    (route,) = default_routes(dataplane)
    assert route["gateway"] == "2001:db8:ffff::1"


def test_tenants_cannot_make_themselves_the_default_route(dataplane: Dataplane) -> None:
    bring(dataplane, a_router())
    assert setting(dataplane, "accept_ra", dataplane_device(dataplane)) != "2"


def bring(
    dataplane: Dataplane, router: Mapping[str, Any], *, ipv6_gateway: IPv6Address | None = None, changes: bool = True
) -> None:
    """Bring a router about, and see that nothing is left to do afterwards."""
    state = desired_namespace(router, ipv6_gateway=ipv6_gateway)
    for expected in (changes, False):
        (report,) = dataplane.reconcile((("router", router["id"]), state))
        assert report.error is None
        assert bool(report.operations) is expected, report.operations


def with_ipv6_gateway(address: str) -> dict[str, Any]:
    ours = [a_fixed_ip("203.0.113.10", 24), a_fixed_ip("2001:db8:ffff::10", 64)]
    subnets = [a_subnet("203.0.113.0/24"), a_subnet("2001:db8:ffff::/64", gateway_ip=address)]
    return a_router(gw_port=a_gateway(fixed_ips=ours, subnets=subnets))


def neighbour(dataplane: Dataplane, name: str = OUTSIDE) -> str:
    """Put a router outside; return its link-local address."""
    sandbox = dataplane.sandbox
    bridge = sandbox.json(f"ip -j link show {'tap' + DEVICE[3:]}")[0]["master"]
    sandbox.run(["ip", "netns", "add", name])
    sandbox.run(["ip", "link", "add", f"{name}0", "type", "veth", "peer", "name", "eth0", "netns", name])
    sandbox.run(["ip", "link", "set", f"{name}0", "master", bridge, "up"])
    sandbox.run(["sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0"], netns=name)
    sandbox.run(["ip", "link", "set", "eth0", "up"], netns=name)

    def link_local() -> str:
        found = sandbox.json("ip -j -6 addr show dev eth0 scope link", netns=name)
        return "".join(str(info["local"]) for link in found for info in link.get("addr_info", []))

    return wait_until(link_local, timeout=20)


def advertise(dataplane: Dataplane, name: str = OUTSIDE) -> None:
    dataplane.sandbox.run([sys.executable, "-c", _ADVERTISE], netns=name)


def all_advertise(dataplane: Dataplane) -> None:
    for name in SEVERAL:
        advertise(dataplane, name)


def default_routes(dataplane: Dataplane) -> list[dict[str, Any]]:
    routes: list[dict[str, Any]] = dataplane.sandbox.json("ip -j -6 route show default", netns=NAMESPACE)
    return routes


def setting(dataplane: Dataplane, name: str, device: str = DEVICE) -> str:
    return dataplane.sandbox.run(["sysctl", "-n", f"net.ipv6.conf.{device}.{name}"], netns=NAMESPACE).strip()


def dataplane_device(dataplane: Dataplane) -> str:
    links = dataplane.sandbox.json("ip -j link", netns=NAMESPACE)
    return next(str(link["ifname"]) for link in links if link["ifname"].startswith("qr-"))
