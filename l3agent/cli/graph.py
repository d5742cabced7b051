# SPDX-License-Identifier: Apache-2.0
"""The topology of a node as a text tree and as a Mermaid chart. Pure functions of :func:`l3agent.ops.status.topology`.

:mod:`l3agent.cli.graph_svg` draws it as SVG.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from l3agent.cli.terminal import Screen

Topology = Mapping[str, Any]


@dataclass(slots=True)
class HostNode:
    """A host of a topology file.

    :param floating: its floating IP addresses.
    """

    name: str
    addresses: list[str]
    floating: list[str] = field(default_factory=list)


@dataclass(slots=True)
class InternalNetwork:
    """An internal network of one router.

    :param shared: True if the network and its hosts are drawn with another router.
    """

    id: str
    name: str
    addresses: list[str]
    hosts: list[HostNode] = field(default_factory=list)
    shared: bool = False


@dataclass(slots=True)
class RouterNode:
    """A router with its internal networks.

    :param gateway: addresses of its gateway port.
    :param floating_ips: pairs of floating and fixed address whose host is not in the topology.
    """

    id: str
    name: str
    state: str
    gateway: list[str]
    snat: bool
    networks: list[InternalNetwork]
    floating_ips: list[tuple[str, str]]
    routes: list[str]


@dataclass(slots=True)
class ExternalNetwork:
    """An external network with its routers and hosts; ``id`` is empty for routers without a gateway."""

    id: str
    name: str
    routers: list[RouterNode]
    hosts: list[HostNode]


def external_networks(topology: Topology) -> list[ExternalNetwork]:
    """Return the topology as a tree with the external networks as roots; routers without a gateway come last."""
    hosts = _hosts(topology)
    found: dict[str, ExternalNetwork] = {}
    drawn: set[str] = set()
    for router in sorted(topology["routers"], key=lambda one: (one["name"], one["id"])):
        outside = next((port for port in router["ports"] if port["gateway"]), None)
        network = "" if outside is None else outside["network"]
        if network not in found and network:
            found[network] = ExternalNetwork(network, _name(topology, network), [], hosts.pop(network, []))
        found.setdefault(network, ExternalNetwork("", "", [], []))
        found[network].routers.append(_router_node(topology, router, outside, hosts, drawn))
    return sorted(found.values(), key=lambda external: (not external.id, external.name))


def _hosts(topology: Topology) -> dict[str, list[HostNode]]:
    found: dict[str, list[HostNode]] = {}
    for host in sorted(topology["hosts"], key=lambda one: one["name"]):
        found.setdefault(host["network"], []).append(HostNode(host["name"], host["addresses"]))
    return found


def _router_node(
    topology: Topology, router: Mapping[str, Any], outside: Any, hosts: Mapping[str, list[HostNode]], drawn: set[str]
) -> RouterNode:
    networks: dict[str, InternalNetwork] = {}
    for port in router["ports"]:
        if port is outside:
            continue
        network = port["network"]
        if network not in networks:
            shared = network in drawn
            own = [] if shared else hosts.get(network, [])
            networks[network] = InternalNetwork(network, _name(topology, network), [], own, shared)
            drawn.add(network)
        networks[network].addresses += port["addresses"]
    known = {
        address.partition("/")[0]: host
        for network in networks.values()
        for host in network.hosts
        for address in host.addresses
    }
    unknown = []
    for floating, fixed in router["floating_ips"]:
        if fixed in known:
            known[fixed].floating.append(floating)
        else:
            unknown.append((floating, fixed))
    return RouterNode(
        router["id"], router["name"] or router["id"], router["state"], [] if outside is None else outside["addresses"],
        router["snat"], list(networks.values()), unknown, list(router["routes"]),
    )  # fmt: skip


def _name(topology: Topology, network: str) -> str:
    return str(topology["networks"].get(network) or f"network {network[:11]}")


# Text


def tree_lines(topology: Topology, screen: Screen) -> Iterator[str]:
    """Yield the lines of a tree."""
    yield screen.paint(f"l3-agent on {topology['host']}", "bold")
    top = external_networks(topology)
    if not top:
        yield "no routers"
    for external in top:
        yield ""
        yield screen.paint(screen.cut(f"{external.name} (external)" if external.id else "no external network"), "cyan")
        nodes = [_router_tree(router) for router in external.routers] + [
            (_host_line(host), "", []) for host in external.hosts
        ]
        yield from _tree_rows(nodes, "", screen)


_Node = tuple[str, str, list[Any]]


def _tree_rows(nodes: list[_Node], indent: str, screen: Screen) -> Iterator[str]:
    for number, (text, style, below) in enumerate(nodes):
        last = number == len(nodes) - 1
        yield screen.paint(screen.cut(f"{indent}{'└─ ' if last else '├─ '}{text}"), style)
        yield from _tree_rows(below, indent + ("   " if last else "│  "), screen)


def _router_tree(router: RouterNode) -> _Node:
    style = {"active": "", "error": "red"}.get(router.state, "yellow")
    words = [
        f"router {router.name}",
        ", ".join(router.gateway),
        "source NAT" if router.snat else "",
        _status_text(router),
    ]
    below: list[_Node] = [
        (
            f"{network.name}  {', '.join(network.addresses)}{'  (see above)' if network.shared else ''}",
            "",
            [(_host_line(host), "", []) for host in network.hosts],
        )
        for network in router.networks
    ]
    below += [(f"floating IP {floating} -> {fixed}", "", []) for floating, fixed in router.floating_ips]
    below += [(f"route {destination}", "", []) for destination in router.routes]
    return "  ".join(filter(None, words)), style, below


def _status_text(router: RouterNode) -> str:
    return "" if router.state == "active" else router.state.upper()


def _host_line(host: HostNode) -> str:
    floating = f"  <- {', '.join(host.floating)}" if host.floating else ""
    return f"host {host.name}  {', '.join(host.addresses)}{floating}"


# Mermaid


def mermaid_lines(topology: Topology) -> Iterator[str]:
    """Yield the lines of a Mermaid flow chart (https://mermaid.js.org)."""
    yield "flowchart TB"
    networks: dict[str, str] = {}
    for external in external_networks(topology):
        if external.id:
            networks[external.id] = f"n{len(networks)}"
            yield f"    {networks[external.id]}([{_label(external.name, 'external')}]):::external"
        for host in external.hosts:
            yield from _host_chart(host, networks[external.id])
        for router in external.routers:
            yield from _router_chart(external, router, networks)
    yield "    classDef external fill:#dbeafe,stroke:#2563eb,color:#1e3a8a"
    yield "    classDef network fill:#f1f5f9,stroke:#64748b,color:#0f172a"
    yield "    classDef active fill:#dcfce7,stroke:#16a34a,color:#14532d"
    yield "    classDef pending fill:#fef9c3,stroke:#ca8a04,color:#713f12"
    yield "    classDef error fill:#fee2e2,stroke:#dc2626,color:#7f1d1d"


def _router_chart(external: ExternalNetwork, router: RouterNode, networks: dict[str, str]) -> Iterator[str]:
    node = _mermaid_id("r", router.id)
    floating = [f"{one} → {other}" for one, other in router.floating_ips]
    yield f"    {node}[{_label(router.name, *floating)}]:::{router.state}"
    if external.id:
        yield f"    {networks[external.id]} ---|{_label(*router.gateway)}| {node}"
    for network in router.networks:
        if network.id not in networks:
            networks[network.id] = f"n{len(networks)}"
            yield f"    {networks[network.id]}([{_label(network.name)}]):::network"
        yield f"    {node} ---|{_label(*network.addresses)}| {networks[network.id]}"
        for host in network.hosts:
            yield from _host_chart(host, networks[network.id])


def _host_chart(host: HostNode, network: str) -> Iterator[str]:
    floating = [f"⇐ {one}" for one in host.floating]
    yield f"    {network} --- {_mermaid_id('h', host.name)}[{_label(host.name, *host.addresses, *floating)}]"


def _mermaid_id(kind: str, name: str) -> str:
    return kind + "".join(one if one.isascii() and one.isalnum() else f"_{ord(one):x}_" for one in name)


def _label(*lines: str) -> str:
    """Return lines as a quoted label; characters with a meaning in Mermaid become entity codes."""
    safe = ("".join(one if one.isalnum() or one in " .:/-→⇐_()" else f"#{ord(one)};" for one in line) for line in lines)
    return '"' + "<br>".join(safe) + '"'
