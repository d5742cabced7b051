# SPDX-License-Identifier: Apache-2.0
"""Formats plans as equivalent commands of ``ip``, ``nft``, ``conntrack``, ``sysctl`` and ``ovs-vsctl``."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

from l3agent.dataplane.netlink import nft_types, tables
from l3agent.dataplane.netlink.routes import PROTOCOL_BOOT, PROTOCOL_RA, PROTOCOL_STATIC, ROUTE_PROTOCOL
from l3agent.dataplane.netlink.ruleset import table_text
from l3agent.dataplane.plan.diff import Operation
from l3agent.dataplane.plan.encode import TAP_ALIAS, bridge_alias, bridge_mac
from l3agent.dataplane.plan.entries import (
    AcceptRA,
    Bridge,
    ConnectedRoute,
    DeviceAddress,
    DeviceSettings,
    Element,
    KernelRoute,
    Link,
    Namespace,
    NeutronRoute,
    NeutronRules,
    PendingFlush,
    PhysicalPort,
    StrayTap,
    SwitchPort,
    Sysctl,
    Table,
)


def commands(operation: Operation, namespace: str | None) -> list[str]:
    """Return the commands of one operation in a namespace."""
    add = operation.verb != "remove"
    exists = operation.verb == "change"
    inside = f"ip -n {namespace}"
    enter = f"ip netns exec {namespace}"
    match operation.entry:
        case Namespace(name):
            made = [] if exists else [f"ip netns add {name}"]
            return [*made, f"{inside} link set lo up"] if add else [f"ip netns delete {name}"]
        case Sysctl(path, value):
            return [f"{enter} sysctl -w {path.replace('/', '.')}={value}"]
        case Bridge() as bridge:
            return _bridge(bridge, operation.previous)
        case PhysicalPort() as port:
            return _physical_port(port) if add else [f"ip link set {port.interface} nomaster"]
        case SwitchPort() as port:
            return _switch_port(port, operation.previous) if add else [f"ovs-vsctl --if-exists del-port {port.name}"]
        case Link() as link:
            return _link(link, operation.previous, namespace) if add else [f"{inside} link delete {link.device}"]
        case StrayTap(name):
            return [f"ip link delete {name}"]
        case AcceptRA(device) as entry:
            settings = [f"{enter} sysctl -w {one.path.replace('/', '.')}={one.value}" for one in entry.sysctls(add)]
            # Unlike "delete", "flush" succeeds if no router has sent an advertisement yet.
            learned = f"{inside.replace('ip', 'ip -6', 1)} route flush default dev {device} protocol ra"
            return settings if add else [*settings, learned]
        case DeviceSettings() as entry:
            missing = entry.sysctls(operation.previous) if isinstance(operation.previous, DeviceSettings) else []
            return [f"{enter} sysctl -w {one.path.replace('/', '.')}={one.value}" for one in missing]
        case ConnectedRoute() as connected:
            return [_connected(connected, inside)]
        case DeviceAddress() as address:
            return _address(address, operation.previous, inside, add)
        case KernelRoute() as route:
            return [_route(route, inside, add)]
        case Table() as table:
            return _table(table, enter, exists, add)
        case Element() as element:
            return _element(element, operation.previous, enter, add)
        case NeutronRoute(destination):
            family = " -6" if destination.version == 6 else ""
            return [f"ip{family} -n {namespace} route delete {destination} protocol static"]
        case NeutronRules() as removed:
            return [f"{enter} nft '{_neutron_rules(removed)}'"]
        case PendingFlush() as edge:
            return _edge(edge, enter, add)


def _bridge(bridge: Bridge, previous: object) -> list[str]:
    alias = "" if isinstance(previous, Bridge) and previous.is_marked else f" alias {bridge_alias(bridge.network_id)}"
    up = f"ip link set {bridge.name}{alias} up"
    if isinstance(previous, Bridge):
        return [up] if previous.is_isolated else [_isolate(bridge.name), up]
    return [
        f"ip link add {bridge.name} address {bridge_mac(bridge.network_id)} type bridge mcast_snooping 0",
        _isolate(bridge.name),
        up,
    ]


def _isolate(device: str) -> str:
    """Return the command that makes the host stack ignore a device of the host namespace."""
    ipv4, ipv6 = f"net.ipv4.conf.{device}", f"net.ipv6.conf.{device}"
    return f"sysctl -e -w {ipv4}.rp_filter=1 {ipv4}.arp_ignore=8 {ipv6}.disable_ipv6=1"


def _physical_port(port: PhysicalPort) -> list[str]:
    return [
        f"ip link set {port.bridge} alias {bridge_alias(port.network_id, port.interface)}",
        f"ip link set {port.interface} master {port.bridge} up",
    ]


def _switch_port(port: SwitchPort, previous: object) -> list[str]:
    ids = " ".join(f"external_ids:{key}='\"{value}\"'" for key, value in sorted(port.ids))
    interface = f"set Interface {port.name}{' type=internal' if port.type else ''} {ids}"
    dead = f" -- set Port {port.name} tag=4095 vlan_mode=trunk trunks=4095" if port.has_tag else ""
    if isinstance(previous, SwitchPort) and previous.has_device and previous.bridge == port.bridge:
        alive = f" -- clear Port {port.name} vlan_mode trunks" if previous.is_stuck else ""
        return [f"ovs-vsctl {interface}{alive if previous.has_tag else dead}"]
    removed = f"del-port {port.name} -- " if isinstance(previous, SwitchPort) else ""
    return [f"ovs-vsctl {removed}add-port {port.bridge} {port.name}{dead} -- {interface}"]


def _link(link: Link, previous: object, namespace: str | None) -> list[str]:
    mtu = f" mtu {link.mtu}" if link.mtu else ""
    inside = f"ip -n {namespace} link set {link.device}"
    outside = f"ip link set {link.tap}"
    master = f" master {link.bridge}" if link.bridge else ""
    offload = [] if link.offload else [f"ip netns exec {namespace} ethtool -K {link.device} tx off"]
    if not link.up:
        return [f"{inside} down"]
    if isinstance(previous, Link):
        mac = f" address {link.mac}" if link.mac != previous.mac else ""
        tap = [] if link.is_ovs_internal else [f"{outside}{master}{mtu} up"]
        tap = tap if previous.is_isolated else [_isolate(link.tap), *tap]
        flags = "" if previous.arp and previous.multicast else " arp on multicast on"
        return [*tap, *(offload if previous.offload else ()), f"{inside}{mac}{mtu}{flags} up"]
    if link.is_ovs_internal:
        return [f"{outside} netns {namespace}", f"{inside} address {link.mac}{mtu} up"]
    return [
        f"ip link add {link.tap}{mtu} type veth peer name {link.device} address {link.mac}{mtu} netns {namespace}",
        _isolate(link.tap),
        f"{outside} alias {TAP_ALIAS}{master} up",
        *offload,
        f"{inside} up",
    ]


def _address(address: DeviceAddress, previous: object, inside: str, add: bool) -> list[str]:
    interface = address.interface
    if not add:
        return [f"{inside} address delete {interface} dev {address.device}"]
    if isinstance(interface, IPv4Interface):
        extra = f" broadcast {interface.network.broadcast_address}" if interface.network.prefixlen < 31 else ""
    else:
        extra = " nodad"
    made = f"{inside} address add {interface}{extra} dev {address.device}"
    if not isinstance(previous, DeviceAddress):
        return [made]
    old = f"{inside} address delete {previous.interface} dev {address.device}"
    return [old, made] if interface.version == 6 else [made, old]


def _connected(route: ConnectedRoute, inside: str) -> str:
    if route.network.version == 6:
        return (
            f"ip -6{inside.removeprefix('ip')} route append {route.network} dev {route.device} proto kernel metric 256"
        )
    source = f" src {route.source}" if route.source else ""
    return f"{inside} route replace {route.network} dev {route.device} proto kernel scope link{source}"


#: Names of route protocols in the output of ``ip``.
_PROTOCOLS = {PROTOCOL_BOOT: "boot", PROTOCOL_STATIC: "static", PROTOCOL_RA: "ra"}


def _route(route: KernelRoute, inside: str, add: bool) -> str:
    family = " -6" if route.destination.version == 6 else ""
    command = f"ip{family}{inside.removeprefix('ip')} route"
    protocol = _PROTOCOLS.get(route.protocol, str(route.protocol))
    if not add and (route.protocol, route.metric) == (ROUTE_PROTOCOL, None):
        return f"{command} delete {route.destination} protocol {protocol}"
    onlink = " onlink" if add and route.onlink and family else ""
    hops = [
        (f"via {hop.via} " if hop.via else "") + f"dev {hop.device}" + (onlink if hop.via else "")
        for hop in sorted(route.hops, key=lambda hop: (hop.device, str(hop.via)))
    ]
    ways = hops[0] if len(hops) == 1 else " ".join(f"nexthop {hop}" for hop in hops)
    metric = "" if route.metric is None else f" metric {route.metric}"
    return f"{command} {'replace' if add else 'delete'} {route.destination} protocol {protocol} {ways}{metric}"


def _table(table: Table, enter: str, exists: bool, add: bool) -> list[str]:
    delete = f"delete table {table.declared.family} {table.name}"
    if not add:
        return [f"{enter} nft '{delete}'"]
    # First the lines of the table without counters, then the lines for the counters.
    without_counters = replace(table, counting=False).declared
    lines = dict.fromkeys((*table_text(without_counters), *table_text(table.declared)))
    return [f"{enter} nft '{'; '.join([delete, *lines] if exists else lines)}'"]


def _element(element: Element, previous: object, enter: str, add: bool) -> list[str]:
    table, declared = tables.find_set(element.name)
    place = f"element {table.family} {table.name} {element.name}"
    key = nft_types.text(declared.key, element.key)
    delete = f"delete {place} {{ {key} }}"
    if not add:
        return [f"{enter} nft '{delete}'"]
    value = "" if element.value is None else f" : {nft_types.text(declared.value, element.value)}"
    new = f"add {place} {{ {key}{value} }}"
    return [f"{enter} nft '{delete + '; ' if previous is not None else ''}{new}'"]


def _neutron_rules(removed: NeutronRules) -> str:
    place = f"{removed.family} {removed.table}"
    rules = (f"delete rule {place} {chain} handle {handle}" for chain, handle in removed.rules)
    flushed = (f"flush chain {place} {chain}" for chain in removed.chains)
    deleted = (f"delete chain {place} {chain}" for chain in removed.chains)
    return "; ".join((*rules, *flushed, *deleted))


#: Converts a listed conntrack entry to its deletion, unless its destination is translated as well.
_ONLY_SOURCE = "sed -n '/ -g /!s/^-A/-D/p'"


def _filter_leaving(enter: str) -> str:
    """Return the filter that converts listed entries without NAT that leave through the gateway to deletions."""
    is_leaving = f"{enter} ip route get ${{to%% *}} | grep -q ' dev qg-'"
    each = f'while read -r one; do to=${{one#* -d }}; {is_leaving} && echo "$one"; done'
    return f"sed -n '/ -[gn] /!s/^-A/-D/p' | {each}"


_JOURNAL = f"element {tables.ROUTER.family} {tables.ROUTER.name} {tables.PENDING_FLUSH.name}"


def _journal(edge: PendingFlush) -> str:
    """Return the element of an edge in the journal."""
    return f"{_JOURNAL} {{ {nft_types.text(tables.PENDING_FLUSH.key, edge.key)} }}"


def _edge(edge: PendingFlush, enter: str, add: bool) -> list[str]:
    journal = _journal(edge)
    if add:
        return [f"{enter} nft 'add {journal}'"]
    return [*_deletions(edge, enter), *([f"{enter} nft 'delete {journal}'"] if edge.is_journalled else ())]


def _deletions(edge: PendingFlush, enter: str) -> list[str]:
    """Return the commands that delete the conntrack entries of an edge; they fail if there are none."""
    conntrack = f"{enter} conntrack"
    match edge.cause:
        case "floating_dnat":
            left, right = str(edge.original), str(edge.translated)
            return [
                f"{conntrack} -D --orig-dst {left} --reply-src {right}",
                f"{conntrack} -D --orig-src {right} --reply-dst {left}",
            ]
        case "untranslated":
            left = str(edge.original)
            return [f"{conntrack} -D --orig-dst {left} --reply-src {left}"]
        case "without_nat":
            return [f"{conntrack} -L -o save --orig-src {edge.network} | {_filter_leaving(enter)} | {conntrack} -R -"]
        case "address":
            return [f"{conntrack} -D --orig-dst {edge.original}", f"{conntrack} -D --reply-dst {edge.original}"]
        case "gateway_snat":
            return [f"{conntrack} -L --src-nat {edge.original} -o save | {_ONLY_SOURCE} | {conntrack} -R -"]
        case "hairpin_snat":
            return [f"{conntrack} -D --src-nat {edge.original} --dst-nat"]
        case "interface":
            return [f"{conntrack} -D --orig-src {edge.network}", f"{conntrack} -D --orig-dst {edge.network}"]
        case _:
            return []
