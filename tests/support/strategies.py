# SPDX-License-Identifier: Apache-2.0
"""What hypothesis draws from: payloads that are damaged, and states that are right."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_interface, ip_network
from operator import itemgetter
from typing import Any

from hypothesis import strategies as st

from l3agent.model.names import GATEWAY_DEVICE, HOST_DEVICE, INTERNAL_DEVICE, device_name
from l3agent.model.states import (
    MAIN_TABLE,
    FloatingIP,
    Interface,
    NamespaceState,
    Neighbour,
    NetworkState,
    NextHop,
    PolicyRule,
    Port,
    Route,
)
from tests.support.payloads import a_fixed_ip, a_floating_ip, a_gateway, a_port, a_router, a_subnet, legacy_payload

# Damaged payloads

_ADDRESSES = [
    "0.0.0.0", "10.0.0.1", "10.0.0.0", "10.0.0.255", "127.0.0.1", "169.254.1.1", "203.0.113.53", "224.0.0.1",
    "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "ff02::1", "2001:db8:1::",
    "::ffff:10.0.0.1", "1.2.3", "1.2.3.4.5", "10.0.0.1/24", "0x7f.1",
    "\u0663.\u0663.\u0663.\u0663", "2001:db8::g", "2001:db8:ffff::1da",
]  # fmt: skip
_NETWORKS = [
    "0.0.0.0/0", "::/0", "10.0.0.0/24", "10.0.0.0/8", "10.0.0.1/24", "203.0.113.0/24", "224.0.0.0/4", "127.0.0.0/8",
    "fe80::/64", "ff00::/8", "2001:db8:1::/64", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/24/24", "10.0.0.0/255.0.0.0",
    "/",
]  # fmt: skip
_WORDS = [
    "", "network:router_interface", "network:router_gateway", "network:router_ha_interface", "network:dhcp",
    "compute:nova", "fa:16:3e:00:00:01", "01:00:5e:00:00:01", "00:00:00:00:00:00", "../../../../etc/passwd", "a/b",
    "..", "aaaaaaaa\0aaaa", "qrouter-x" * 40, "03dbf1c2-f799-4cb3-bbac-6a264f0e0375", "03dbf1c2-f7ff", "true", "\ud800",
]  # fmt: skip
_NUMBERS = [-1, 0, 1, 24, 31, 32, 33, 64, 67, 68, 128, 129, 1279, 1280, 1500, 65535, 65536, 2**31, 2**64, 10**40]

texts = st.sampled_from(_ADDRESSES + _NETWORKS + _WORDS) | st.text(max_size=40)
scalars = (
    st.none() | st.booleans() | st.sampled_from(_NUMBERS) | st.integers() | st.floats() | texts | st.binary(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged_payloads(draw: st.DrawFn) -> Any:
    """A payload with one to six of its parts, at any depth, taken away, doubled, or replaced by something else."""
    payload = draw(st.sampled_from([legacy_payload(), _crowded_router()]))
    root = {"payload": copy.deepcopy(payload)}
    for _ in range(draw(st.integers(1, 6))):
        if found := list(places(root)):
            damage(draw, *draw(st.sampled_from(found)))
    return root.get("payload")


def damage(draw: st.DrawFn, holder: Any, key: Any) -> None:
    """Take a value away, double it, or put another in its place."""
    match draw(st.sampled_from(["replace", "replace", "remove", "double", "transplant"])):
        case "replace":
            holder[key] = draw(values)
        case "remove":
            del holder[key]
        case "double" if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        case "double" | "transplant":
            other, other_key = draw(st.sampled_from(list(places({"payload": legacy_payload()}))))
            holder[key] = other[other_key]


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a tree as its holder and its key."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from places(node[key])


def _crowded_router() -> dict[str, Any]:
    """Return a router that has some of everything."""
    several = [a_fixed_ip("10.1.0.1", 24), a_fixed_ip("10.1.1.1", 24), a_fixed_ip("2001:db8:2::1", 64)]
    gateway = a_gateway(
        fixed_ips=[a_fixed_ip("203.0.113.10", 24), a_fixed_ip("2001:db8:ffff::10", 64)],
        subnets=[
            a_subnet("203.0.113.0/24", gateway_ip="192.0.2.1"),
            a_subnet("2001:db8:ffff::/64", gateway_ip="fe80::1"),
        ],
        extra_subnets=[a_subnet("198.51.100.0/24"), a_subnet("10.0.0.0/8")],
    )
    return a_router(
        gw_port=gateway,
        enable_snat=True,
        external_gateway_info={"enable_snat": True},
        _interfaces=[a_port(1), a_port(2, fixed_ips=several, subnets=[a_subnet("10.1.0.0/24")])],
        routes=[{"destination": "172.30.0.0/24", "nexthop": f"10.0.0.{n}"} for n in (77, 78)],
        _floatingips=[a_floating_ip(f"203.0.113.{n}", f"10.0.0.{n}") for n in (100, 101)],
    )


# States

uuids = st.uuids().map(str)
macs = st.integers(0, 2**40 - 1).map(lambda n: ":".join(["02", *(f"{n:010x}"[i : i + 2] for i in range(0, 10, 2))]))
ipv4 = st.integers(0x0B000001, 0xDFFFFFFE).map(IPv4Address).filter(lambda address: not address.is_loopback)
interfaces4: st.SearchStrategy[Interface] = st.builds(
    lambda address, length: IPv4Interface((address, length)), ipv4, st.integers(8, 32)
)
interfaces6: st.SearchStrategy[Interface] = st.builds(
    lambda low, length: IPv6Interface(((0x20010DB8 << 96) + low, length)), st.integers(1, 2**64), st.integers(32, 128)
)


@st.composite
def ports(draw: st.DrawFn, prefix: str = INTERNAL_DEVICE) -> Port:
    port_id = draw(uuids)
    return Port(
        id=port_id,
        network_id=draw(uuids),
        device=HOST_DEVICE if prefix == HOST_DEVICE else device_name(prefix, port_id),
        mac=draw(macs),
        mtu=draw(st.none() | st.integers(1280, 65535)),
        addresses=draw(st.frozensets(interfaces4 | interfaces6, max_size=4)),
    )


@st.composite
def routes(draw: st.DrawFn, devices: list[str]) -> Route:
    interface = draw(interfaces4 | interfaces6)
    family = interfaces4 if interface.version == 4 else interfaces6
    vias = st.none() | family.map(lambda other: ip_interface(other).ip)
    hops = st.builds(NextHop, st.sampled_from(devices), vias)
    table = draw(st.just(MAIN_TABLE) | tables)
    return Route(ip_network(interface.network), draw(st.frozensets(hops, min_size=1, max_size=3)), table)


# The kernel's own tables are 253 to 255, and its own rules have the priorities 0, 32766 and 32767.
tables = st.integers(1, 252) | st.integers(256, 2**32 - 1)


@st.composite
def policy_rules(draw: st.DrawFn, devices: list[str]) -> PolicyRule:
    source = draw(st.none() | (interfaces4 | interfaces6).map(lambda one: ip_network(one.network)))
    incoming = st.sampled_from(devices)
    device = draw(incoming if source is None else st.none() | incoming)
    return PolicyRule(draw(st.integers(1, 32765) | st.integers(32768, 2**32 - 1)), draw(tables), source, device)


def neighbours(devices: list[str]) -> st.SearchStrategy[frozenset[Neighbour]]:
    """Permanent neighbours, with one MAC address for each address at a device."""
    ips = (interfaces4 | interfaces6).map(lambda one: one.ip)
    keys = st.tuples(st.sampled_from(devices), ips)
    return st.dictionaries(keys, macs, max_size=3).map(
        lambda found: frozenset(Neighbour(*key, mac) for key, mac in found.items())
    )


@st.composite
def router_states(draw: st.DrawFn) -> NamespaceState:
    internal = draw(st.frozensets(ports(), max_size=3))
    gateway = draw(st.none() | ports(GATEWAY_DEVICE))
    devices = [port.device for port in internal] + ([gateway.device] if gateway else [])
    nat_address = draw(st.none() | ipv4) if gateway else None
    # No address of either side twice, and no floating one that the router has itself: payloads with such are refused.
    sides = (itemgetter(0), itemgetter(1))
    drawn = draw(st.lists(st.tuples(ipv4, ipv4), max_size=4, unique_by=sides)) if gateway else []
    own = {interface.ip for port in (*internal, *([gateway] if gateway else ())) for interface in port.addresses}
    floating = [pair for pair in drawn if pair[0] not in own]
    return NamespaceState(
        "router",
        draw(uuids),
        ports=internal,
        gateway=gateway,
        routes=draw(st.frozensets(routes(devices), max_size=4)) if devices else frozenset(),
        floating_ips=frozenset(FloatingIP(*pair) for pair in floating),
        nat_address=nat_address,
        snat=nat_address is not None and draw(st.booleans()),
    )


network_states = st.builds(NetworkState, uuids, st.none() | st.just("eth1"))
host_states = st.builds(
    NamespaceState,
    st.just("host"),
    st.just("vm1"),
    ports(HOST_DEVICE).map(lambda one: frozenset({one})),
    routes=st.frozensets(routes([HOST_DEVICE]), max_size=3),
)
