# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from l3agent.demo.samples import sample
from l3agent.exceptions import ConfigError
from l3agent.standalone.entities import ExtraRoute, Topology
from l3agent.standalone.topology import load

NETWORKS = """\
networks:
  public:
    external: true
    subnets:
      pub4: {cidr: 203.0.113.0/24}
      pub6: {cidr: 2001:db8:ffff::/64}
  blue: {subnets: {blue4: {cidr: 10.0.0.0/24}, blue6: {cidr: 2001:db8:1::/64}}}
  red: {subnets: {red4: {cidr: 10.0.0.0/24, gateway: null}}}
"""


def read(tmp_path: Path, text: str) -> Topology:
    path = tmp_path / "topology.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    """Return the problems of a text, without the path of the file."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    lines = str(caught.value).splitlines()
    prefix = f"{tmp_path / 'topology.yaml'}:"
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]


def test_ids_and_mac_addresses_depend_on_names_only(tmp_path: Path) -> None:
    hosts = "hosts:\n  vm1: {network: blue, addresses: [10.0.0.5]}\n"
    first = read(tmp_path, NETWORKS + "routers:\n  r1: {interfaces: [blue4]}\n" + hosts)
    other = read(
        tmp_path,
        NETWORKS
        + "routers:\n  r0: {interfaces: [red6]}\n  r1: {interfaces: [{subnet: blue4, address: 10.0.0.9}]}\n"
        "hosts:\n  vm1: {network: blue, addresses: [10.0.0.6]}\n".replace("red6", "blue6"),
    )
    assert first.routers[0].id == other.routers[1].id == "4d2a5d31-cd90-5daa-be26-9a97a9654bed"
    assert first.routers[0].interfaces[0].id == other.routers[1].interfaces[0].id
    assert first.hosts[0].mac == other.hosts[0].mac
    assert first.hosts[0].mac.startswith("fa:16:3e:")


def test_the_default_gateway_is_the_first_address(tmp_path: Path) -> None:
    blue = next(network for network in read(tmp_path, NETWORKS).networks if network.name == "blue")
    assert [str(subnet.gateway) for subnet in blue.subnets] == ["10.0.0.1", "2001:db8:1::1"]


@pytest.mark.feature("router.off-subnet-gateway")
def test_an_external_subnet_may_have_the_gateways_of_hosting_providers(tmp_path: Path) -> None:
    text = (
        "networks:\n  public:\n    external: true\n    subnets:\n"
        "      pub4: {cidr: 203.0.113.7/32, gateway: 198.51.100.1}\n"
        "      pub6: {cidr: '2001:db8:f::/64', gateway: 'fe80::1'}\n"
    )
    (public,) = read(tmp_path, text).networks
    assert [str(subnet.gateway) for subnet in public.subnets] == ["198.51.100.1", "fe80::1"]


def test_a_host_has_a_default_route_in_both_families(tmp_path: Path) -> None:
    text = NETWORKS + "hosts:\n  vm1: {network: blue, addresses: [10.0.0.5, 2001:db8:1::5, 172.30.0.1/32]}\n"
    (host,) = read(tmp_path, text).hosts
    assert host.addresses == tuple(map(ip_interface, ("10.0.0.5/24", "2001:db8:1::5/64", "172.30.0.1/32")))
    assert set(host.routes) == {
        ExtraRoute(ip_network("0.0.0.0/0"), ip_address("10.0.0.1")),
        ExtraRoute(ip_network("::/0"), ip_address("2001:db8:1::1")),
    }


def test_a_host_with_the_address_of_the_gateway_has_no_default_route(tmp_path: Path) -> None:
    text = NETWORKS + (
        "hosts:\n  outside:\n    network: public\n    addresses: [203.0.113.1/24, 2001:db8:ffff::1]\n"
        "    routes: [{destination: 2001:db8:1::/64, nexthop: 2001:db8:ffff::10}]\n"
    )
    (host,) = read(tmp_path, text).hosts
    assert host.routes == (ExtraRoute(ip_network("2001:db8:1::/64"), ip_address("2001:db8:ffff::10")),)


def test_a_static_default_route_replaces_the_derived_one(tmp_path: Path) -> None:
    text = NETWORKS + (
        "hosts:\n  vm1: {network: blue, addresses: [10.0.0.5], routes: [{destination: 0.0.0.0/0, nexthop: 10.0.0.9}]}\n"
    )
    (host,) = read(tmp_path, text).hosts
    assert host.routes == (ExtraRoute(ip_network("0.0.0.0/0"), ip_address("10.0.0.9")),)


def test_a_floating_ip_is_associated_with_a_host_by_name_and_by_address(tmp_path: Path) -> None:
    text = NETWORKS + (
        "routers:\n  r1:\n    gateway: {network: public, addresses: [203.0.113.10]}\n    interfaces: [blue4]\n"
        "    floating_ips: {203.0.113.100: vm1, 203.0.113.101: 10.0.0.6, 203.0.113.102: 10.0.0.7}\n"
        "hosts:\n  vm1: {network: blue, addresses: [2001:db8:1::5, 10.0.0.5]}\n"
        "  vm2: {network: blue, addresses: [10.0.0.6]}\n"
    )
    topology = read(tmp_path, text)
    associations = {str(found.floating): found for found in topology.routers[0].floating_ips}
    assert [(str(found.fixed), found.host) for found in associations.values()] == [
        ("10.0.0.5", "vm1"),
        ("10.0.0.6", "vm2"),
        ("10.0.0.7", None),
    ]
    assert associations["203.0.113.101"].port_id == topology.hosts[1].port_id


def test_every_problem_is_reported_at_once_with_its_line_and_in_order(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """\
networks:
  blue: {subnets: {blue4: {cidr: 10.0.0.1/24}}}
  green: {subnets: {green4: {cidr: 10.1.0.0/24}}, color: green}
routers:
  r1:
    interfaces: [blue4, green4, nowhere]
""",
    )
    assert found == [
        "2: networks.blue.subnets.blue4.cidr: 10.0.0.1/24: host bits are set, the network is 10.0.0.0/24",
        "3: networks.green.color: color: unknown key, expected one of external, mtu, subnets",
        "6: routers.r1.interfaces[2]: nowhere: unknown subnet",
    ]


ROUTER = NETWORKS + "routers:\n  r1: "
HOST = NETWORKS + "hosts:\n  vm1: "
GATEWAY = "gateway: {network: public, addresses: [203.0.113.10]}"

# Line 9 is `routers:` or `hosts:`, line 10 the first entry below it.
BAD = {
    "unknown section": (NETWORKS + "router: {}", "9: router: router: unknown key, expected one of networks, routers,"),
    "duplicate": (
        NETWORKS + "hosts:\n  a: {network: blue, addresses: [10.0.0.5]}\n  a: {}",
        "11: hosts.a: a: duplicate",
    ),
    "section is a list": (NETWORKS + "routers: [r1]", "9: routers: [...]: expected a mapping (key: value)"),
    "name": (NETWORKS + "routers:\n  1/r: {}", "10: routers.1/r: 1/r: a name begins with a letter"),
    "long name": (NETWORKS + f"routers:\n  {'r' * 61}: {{}}", "a name begins with a letter"),
    "mtu": (
        "networks:\n  a: {mtu: 67, subnets: {}}",
        "2: networks.a.mtu: 67: expected an integer between 68 and 65535",
    ),
    "mtu of IPv6": ("networks:\n  a: {mtu: 1279, subnets: {s: {cidr: '2001:db8::/64'}}}", "between 1280 and 65535"),
    "mtu is not a number": ("networks:\n  a: {mtu: big, subnets: {}}", "networks.a.mtu: big: expected an integer"),
    "mtu of a million digits": (
        f"networks:\n  a: {{mtu: {'9' * 1000000}, subnets: {{}}}}",
        "99...: expected an integer",
    ),
    "no subnets": ("networks:\n  a: {}", "2: networks.a: {}: missing key subnets"),
    "interface": ("networks:\n  a: {external: {interface: a/b}, subnets: {}}", "not an interface name"),
    "interface with an accent": (
        "networks:\n  a: {external: {interface: é1}, subnets: {}}",
        "é1: not an interface name",
    ),
    "interface that no message can print": (
        'networks:\n  a: {external: {interface: "\\uD800"}, subnets: {}}',
        "2: networks.a.external.interface: \\ud800: an unpaired surrogate is not a character",
    ),
    "interface twice": (
        "networks:\n  a: {external: {interface: e1}, subnets: {}}\n  b: {external: {interface: e1}, subnets: {}}",
        "3: networks.b.external.interface: e1: networks.a.external.interface (line 2) already has this interface",
    ),
    "external": (
        "networks:\n  a: {external: maybe, subnets: {}}",
        "networks.a.external: maybe: expected true or false",
    ),
    "no prefix": ("networks:\n  a: {subnets: {s: {cidr: 10.0.0.0}}}", "the prefix length is missing"),
    "no cidr": ("networks:\n  a: {subnets: {s: {gateway: 10.0.0.1}}}", "s: {...}: missing key cidr"),
    "everything": ("networks:\n  a: {subnets: {s: {cidr: 0.0.0.0/0}}}", "this range has no addresses for hosts"),
    "multicast": ("networks:\n  a: {subnets: {s: {cidr: 224.0.0.0/24}}}", "multicast, loopback and link-local"),
    "zone": ("networks:\n  a: {subnets: {s: {cidr: 'fe80::%eth0/64'}}}", "not a network, such as"),
    "IPv4-mapped": (
        "networks:\n  a: {subnets: {s: {cidr: '::ffff:10.0.0.0/120'}}}",
        "2: networks.a.subnets.s.cidr: ::ffff:10.0.0.0/120: this range has no addresses for hosts",
    ),
    "gateway elsewhere": (
        "networks:\n  a: {subnets: {s: {cidr: 10.0.0.0/24, gateway: 10.1.0.1}}}",
        "10.1.0.1: not an addr",
    ),
    "link-local gateway of a tenant": (
        "networks:\n  a: {subnets: {s: {cidr: 'fd00::/64', gateway: 'fe80::1'}}}",
        "2: networks.a.subnets.s.gateway: fe80::1: not a routable unicast address",
    ),
    "gateway of another family": (
        "networks:\n  a: {external: true, subnets: {s: {cidr: 10.0.0.0/24, gateway: 'fe80::1'}}}",
        "2: networks.a.subnets.s.gateway: fe80::1: the address family differs from 10.0.0.0/24",
    ),
    "IPv4 link-local gateway": (
        "networks:\n  a: {external: true, subnets: {s: {cidr: 10.0.0.0/24, gateway: 169.254.1.1}}}",
        "169.254.1.1: not a routable unicast address",
    ),
    "gateway is the broadcast address": (
        "networks:\n  a: {external: true, subnets: {s: {cidr: 10.0.0.0/24, gateway: 10.0.0.255}}}",
        "10.0.0.255: not an address of a host in 10.0.0.0/24",
    ),
    "subnets overlap": (
        "networks:\n  a: {subnets: {s: {cidr: 10.0.0.0/24}, t: {cidr: 10.0.0.128/25}}}",
        "a.subnets.t.cidr: 10.0.0.128/25: overlaps 10.0.0.0/24 of s on the same network",
    ),
    "subnet name twice": (
        NETWORKS + "  c: {subnets: {blue4: {cidr: 10.9.0.0/24}}}",
        "9: networks.c.subnets.blue4: blue4",
    ),
    "unknown network of a host": (
        HOST + "{network: b, addresses: [10.0.0.5]}",
        "10: hosts.vm1.network: b: unknown net",
    ),
    "address outside": (
        HOST + "{network: blue, addresses: [10.1.0.5]}",
        "addresses[0]: 10.1.0.5: in no subnet of blue",
    ),
    "address too wide": (
        HOST + "{network: blue, addresses: [10.0.0.5/16]}",
        "the prefix length of 10.0.0.0/24 is not /16",
    ),
    "broadcast": (HOST + "{network: blue, addresses: [10.0.0.255]}", "the network or broadcast address of 10.0.0.0/24"),
    "no address": (HOST + "{network: blue, addresses: []}", "a host needs an address"),
    "text for address": (
        HOST + "{network: blue, addresses: [vm]}",
        "10: hosts.vm1.addresses[0]: vm: not an IP address",
    ),
    "sexagesimal": (HOST + "{network: blue, addresses: [1:20]}", "hosts.vm1.addresses[0]: 1:20: not an IP address"),
    "null address": (HOST + "{network: blue, addresses: [null]}", "expected a scalar"),
    "address twice": (
        HOST + "{network: blue, addresses: [10.0.0.5]}\n  vm2: {network: blue, addresses: [10.0.0.5]}",
        "11: hosts.vm2.addresses[0]: 10.0.0.5: hosts.vm1.addresses[0] (line 10) already has this address",
    ),
    "host and router": (
        ROUTER + "{interfaces: [blue4]}\nhosts:\n  vm1: {network: blue, addresses: [10.0.0.1]}",
        "10: routers.r1.interfaces[0]: 10.0.0.1: hosts.vm1.addresses[0] (line 12) already has this address",
    ),
    "not a neighbour": (
        HOST + "{network: blue, addresses: [10.0.0.5], routes: [{destination: 192.0.2.0/24, nexthop: 10.1.0.1}]}",
        "routes[0]: 10.1.0.1: not a neighbour",
    ),
    "broadcast for a next hop": (
        ROUTER + "{interfaces: [blue4], routes: [{destination: 192.0.2.0/24, nexthop: 10.0.0.255}]}",
        "routes[0]: 10.0.0.255: not a neighbour",
    ),
    "floating IP for a broadcast address": (
        ROUTER + "{" + GATEWAY + ", interfaces: [blue4], floating_ips: {203.0.113.100: 10.0.0.255}}",
        "10.0.0.255: in no IPv4 subnet of this router",
    ),
    "gateway not external": (ROUTER + "{gateway: {network: blue, addresses: [10.0.0.3]}}", "blue: not external"),
    "no gateway address": (ROUTER + "{gateway: {network: public, addresses: []}}", "a gateway needs an address"),
    "gateway outside": (
        ROUTER + "{gateway: {network: public, addresses: [8.8.8.8]}}",
        "8.8.8.8: in no subnet of public",
    ),
    "gateway is the gateway of the subnet": (
        ROUTER + "{gateway: {network: public, addresses: [203.0.113.9, '2001:db8:ffff::1']}}",
        "10: routers.r1.gateway.addresses[1]: 2001:db8:ffff::1: the address is the gateway of pub6",
    ),
    "snat": (
        ROUTER + "{gateway: {network: public, addresses: [203.0.113.9], snat: 1}}",
        "1: expected true or false",
    ),
    "interface outside": (
        ROUTER + "{interfaces: [{subnet: blue4, address: 10.1.0.1}]}",
        "10: routers.r1.interfaces[0].address: 10.1.0.1: not an address of a host in 10.0.0.0/24 (blue4)",
    ),
    "interface without gateway": (ROUTER + "{interfaces: [red4]}", "red4: the subnet has no gateway"),
    "interface to external": (
        ROUTER + "{interfaces: [pub4]}",
        "pub4: subnet of the external network public: use gateway",
    ),
    "overlap on a router": (
        ROUTER + "{interfaces: [blue4, {subnet: red4, address: 10.0.0.7}]}",
        "routers.r1.interfaces[1]: 10.0.0.0/24: overlaps 10.0.0.0/24 of routers.r1.interfaces[0] on the same router",
    ),
    "two routers, one address": (
        ROUTER + "{interfaces: [blue4]}\n  r2: {interfaces: [blue4]}",
        "11: routers.r2.interf",
    ),
    "route to itself": (
        ROUTER + "{interfaces: [blue4], routes: [{destination: 192.0.2.0/24, nexthop: 10.0.0.1}]}",
        "routes[0]: 10.0.0.1: a next hop must be an address of another host",
    ),
    "route to a connected subnet": (
        ROUTER + "{interfaces: [blue4], routes: [{destination: 10.0.0.0/24, nexthop: 10.0.0.9}]}",
        "routes[0]: 10.0.0.0/24: directly connected",
    ),
    "route twice": (
        ROUTER + "{interfaces: [blue4], routes: [&r {destination: 192.0.2.0/24, nexthop: 10.0.0.9}, *r]}",
        "192.0.2.0/24 via 10.0.0.9: duplicate",
    ),
    "families": (
        ROUTER + "{interfaces: [blue4], routes: [{destination: '2001:db8:9::/64', nexthop: 10.0.0.9}]}",
        "routes[0].nexthop: 10.0.0.9: the address family differs from 2001:db8:9::/64",
    ),
    "floating IP without gateway": (
        ROUTER + "{interfaces: [blue4], floating_ips: {203.0.113.100: 10.0.0.5}}",
        "floating IPs need a gateway",
    ),
    "floating IP outside": (
        ROUTER + "{" + GATEWAY + ", interfaces: [blue4], floating_ips: {192.0.2.1: 10.0.0.5}}",
        "192.0.2.1: in no subnet of public",
    ),
    "floating IP is the gateway": (
        ROUTER + "{" + GATEWAY + ", interfaces: [blue4], floating_ips: {203.0.113.1: 10.0.0.5}}",
        "203.0.113.1: the address is the gateway of pub4",
    ),
    "floating IP of the router": (
        ROUTER + "{" + GATEWAY + ", interfaces: [blue4], floating_ips: {203.0.113.10: 10.0.0.5}}",
        "203.0.113.10: routers.r1.gateway.addresses[0] (line 10) already has this address",
    ),
    "floating IP twice": (
        ROUTER + "{" + GATEWAY + ", interfaces: [blue4], floating_ips: {203.0.113.100: 10.0.0.5}}\n"
        "  r2: {gateway: {network: public, addresses: [203.0.113.11]}, interfaces: [{subnet: red4, address: 10.0.0.1}],"
        " floating_ips: {203.0.113.100: 10.0.0.5}}",
        "11: routers.r2.floating_ips.203.0.113.100: 203.0.113.100: routers.r1.floating_ips.203.0.113.100 (line",
    ),
    "two floating IPs for one": (
        ROUTER + "{" + GATEWAY + ", interfaces: [blue4], floating_ips: {203.0.113.8: 10.0.0.5, 203.0.113.9: 10.0.0.5}}",
        "floating_ips.203.0.113.9: 10.0.0.5: 203.0.113.8 of this router is already associated with it",
    ),
    "floating IP for an unknown host": (
        ROUTER + "{" + GATEWAY + ", interfaces: [blue4], floating_ips: {203.0.113.100: vm9}}",
        "vm9: neither a host of this file nor an IPv4 address",
    ),
    "floating IP for another network": (
        ROUTER + "{" + GATEWAY + ", interfaces: [blue4], floating_ips: {203.0.113.100: 10.7.0.5}}",
        "10.7.0.5: in no IPv4 subnet of this router",
    ),
    "floating IP for a host elsewhere": (
        ROUTER + "{" + GATEWAY + ", interfaces: [blue4], floating_ips: {203.0.113.100: vm1}}\n"
        "hosts:\n  vm1: {network: red, addresses: [10.0.0.5]}",
        "vm1: the host has no IPv4 address in a subnet of this router",
    ),
    "IPv6 floating IP": (
        ROUTER + "{" + GATEWAY + ", interfaces: [blue4], floating_ips: {'2001:db8:ffff::9': 10.0.0.5}}",
        "2001:db8:ffff::9: not an IPv4 address",
    ),
    "key is a list": (NETWORKS + "? [a]\n: b", "9: file: [...]: a key must be a scalar"),
    "tab": (
        "networks:\n\tpublic: {}",
        "2: file: invalid YAML: while scanning for the next token found character '\\t' th",
    ),
    "bracket": ("networks:\n  a: [1,\n", "file: invalid YAML"),
    "two documents": ("networks: {}\n---\nrouters: {}", "2: file: invalid YAML"),
    "undefined alias": ("networks: *a", "1: file: invalid YAML"),
    "control character": ("networks:\n a: \x00", "2: file: invalid YAML: special characters are not allowed"),
    "beyond Unicode": (
        'networks: {}\nrouters:\n  r1: "\\U00110000"',
        "3: file: invalid YAML: a number is out of range",
    ),
    "far beyond Unicode": ('networks: {}\nrouters: "\\UFFFFFFFF"', "2: file: invalid YAML: a number is out of range"),
    "version": (f"%YAML 1.{'1' * 5000}\n--- {{}}", "1: file: invalid YAML: a number is out of range"),
    "surrogate for a name": (
        'networks: {"\\uD83D\\uDE00": {subnets: {}}}',
        "1: networks.\\ud83d\\ude00: \\ud83d\\ude00: a name begins with a letter",
    ),
    "surrogate for a key": (ROUTER + '{"\\uDFFF": 1}', "10: routers.r1.\\udfff: \\udfff: unknown key"),
    "surrogate for an agent": (
        ROUTER + '{agent: "node\\uD800"}',
        "10: routers.r1.agent: node\\ud800: an unpaired surrogate is not a character",
    ),
    "surrogate for a host": (
        ROUTER + "{" + GATEWAY + ', interfaces: [blue4], floating_ips: {203.0.113.100: "\\uDC00"}}',
        "floating_ips.203.0.113.100: \\udc00: an unpaired surrogate is not a character",
    ),
    "lines in a value": (ROUTER + '"a\\nb\\Lc"', "10: routers.r1: a\\nb\\u2028c: expected a mapping"),
    "depth": ("[" * 20000, "1: file: invalid YAML: nested too deeply"),
    "recursion": ("networks: &a {a: *a}", "networks.a.a: a: unknown key"),
    "empty": ("", "1: file: empty"),
    "only comments": ("# nothing\n", "1: file: empty"),
    "a word": ("hello", "hello: expected a mapping (key: value)"),
    "too large": ("#" * (16 * 1024 * 1024 + 1), "1: file: more than 16777216 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_invalid_file_is_refused_with_line_path_value_and_reason(tmp_path: Path, name: str) -> None:
    text, expected = BAD[name]
    found = problems(tmp_path, text)
    assert any(expected in line for line in found), found


@pytest.mark.parametrize("name", sorted(BAD.keys() - {"recursion"}))
def test_one_mistake_is_one_problem(tmp_path: Path, name: str) -> None:
    assert len(problems(tmp_path, BAD[name][0])) == 1


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "topology.yaml"
    path.write_bytes(b"networks:\n  caf\xe9: {}\n")
    with pytest.raises(ConfigError, match=r":2: file: byte 0xe9: not UTF-8"):
        load(path)


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yaml:1: file: cannot be read: No such file"):
        load(tmp_path / "nowhere.yaml")


def test_the_sample_has_everything_that_the_demo_checks() -> None:
    topology = load(sample("topology.yaml"))
    by_name = {network.name: network for network in topology.networks}
    assert by_name["blue"].subnets[0].cidr == by_name["red"].subnets[0].cidr
    assert {router.snat for router in topology.routers} == {True, False}
    assert any(router.routes for router in topology.routers)
    assert {host.name for host in topology.hosts} >= {"vm1", "vm2", "outside"}
    outside = next(host for host in topology.hosts if host.name == "outside")
    assert ip_interface("203.0.113.1/24") in outside.addresses
    assert ip_interface("2001:db8:ffff::1/64") in outside.addresses


@pytest.mark.parametrize("name", ["l3_agent.conf", "standalone.conf", "topology.yaml"])
def test_samples_are_found(name: str) -> None:
    assert sample(name).is_file()
