# SPDX-License-Identifier: Apache-2.0
"""The topology of a node as a tree of text and as Mermaid. Pure: values of :func:`l3agent.ops.status.topology` in.

As a picture it is in :mod:`l3agent.cli.graph_svg`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from l3agent.cli.terminal import Screen

Topology = Mapping[str, Any]


@dataclass(slots=True)
class Host:
    """A machine of a topology file.

    :param floating: addresses outside that stand for it.
    """

    name: str
    addresses: list[str]
    floating: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Leg:
    """A network inside, as one router has it.

    :param shared: another router was drawn with it before, with its hosts.
    """

    network: str
    name: str
    addresses: list[str]
    hosts: list[Host] = field(default_factory=list)
    shared: bool = False


@dataclass(slots=True)
class Branch:
    """A router and what hangs on it.

    :param gateway: its addresses outside.
    :param floating_ips: pairs of floating and fixed whose machine is not known.
    """

    id: str
    name: str
    state: str
    gateway: list[str]
    snat: bool
    legs: list[Leg]
    floating_ips: list[tuple[str, str]]
    routes: list[str]


@dataclass(slots=True)
class Trunk:
    """An external network, or none (``network`` is empty), with the routers on it and its machines."""

    network: str
    name: str
    branches: list[Branch]
    hosts: list[Host]


def trunks(topology: Topology) -> list[Trunk]:
    """Return the topology as a tree from the external networks inwards; routers without one come last."""
    hosts = _hosts(topology)
    found: dict[str, Trunk] = {}
    drawn: set[str] = set()
    for router in sorted(topology["routers"], key=lambda one: (one["name"], one["id"])):
        outside = next((port for port in router["ports"] if port["gateway"]), None)
        network = "" if outside is None else outside["network"]
        if network not in found and network:
            found[network] = Trunk(network, _name(topology, network), [], hosts.pop(network, []))
        found.setdefault(network, Trunk("", "", [], []))
        found[network].branches.append(_branch(topology, router, outside, hosts, drawn))
    return sorted(found.values(), key=lambda trunk: (not trunk.network, trunk.name))


def _hosts(topology: Topology) -> dict[str, list[Host]]:
    found: dict[str, list[Host]] = {}
    for host in sorted(topology["hosts"], key=lambda one: one["name"]):
        found.setdefault(host["network"], []).append(Host(host["name"], host["addresses"]))
    return found


def _branch(
    topology: Topology, router: Mapping[str, Any], outside: Any, hosts: Mapping[str, list[Host]], drawn: set[str]
) -> Branch:
    legs: dict[str, Leg] = {}
    for port in router["ports"]:
        if port is outside:
            continue
        network = port["network"]
        if network not in legs:
            shared = network in drawn
            own = [] if shared else hosts.get(network, [])
            legs[network] = Leg(network, _name(topology, network), [], own, shared)
            drawn.add(network)
        legs[network].addresses += port["addresses"]
    known = {
        address.partition("/")[0]: host for leg in legs.values() for host in leg.hosts for address in host.addresses
    }
    unknown = []
    for floating, fixed in router["floating_ips"]:
        if fixed in known:
            known[fixed].floating.append(floating)
        else:
            unknown.append((floating, fixed))
    return Branch(
        router["id"], router["name"] or router["id"], router["state"], [] if outside is None else outside["addresses"],
        router["snat"], list(legs.values()), unknown, list(router["routes"]),
    )  # fmt: skip


def _name(topology: Topology, network: str) -> str:
    return str(topology["networks"].get(network) or f"network {network[:11]}")


# Text


def tree_lines(topology: Topology, screen: Screen) -> Iterator[str]:
    """Yield the lines of a tree."""
    yield screen.paint(f"l3-agent on {topology['host']}", "bold")
    top = trunks(topology)
    if not top:
        yield "no routers"
    for trunk in top:
        yield ""
        yield screen.paint(screen.cut(f"{trunk.name} (external)" if trunk.network else "no external network"), "cyan")
        nodes = [_node_of(branch) for branch in trunk.branches] + [(_host_line(host), "", []) for host in trunk.hosts]
        yield from _drawn(nodes, "", screen)


_Node = tuple[str, str, list[Any]]


def _drawn(nodes: list[_Node], indent: str, screen: Screen) -> Iterator[str]:
    for number, (text, style, below) in enumerate(nodes):
        last = number == len(nodes) - 1
        yield screen.paint(screen.cut(f"{indent}{'└─ ' if last else '├─ '}{text}"), style)
        yield from _drawn(below, indent + ("   " if last else "│  "), screen)


def _node_of(branch: Branch) -> _Node:
    style = {"active": "", "error": "red"}.get(branch.state, "yellow")
    words = [f"router {branch.name}", ", ".join(branch.gateway), "source NAT" if branch.snat else "", _bad(branch)]
    below: list[_Node] = [
        (
            f"{leg.name}  {', '.join(leg.addresses)}{'  (see above)' if leg.shared else ''}",
            "",
            [(_host_line(host), "", []) for host in leg.hosts],
        )
        for leg in branch.legs
    ]
    below += [(f"floating IP {floating} -> {fixed}", "", []) for floating, fixed in branch.floating_ips]
    below += [(f"route {destination}", "", []) for destination in branch.routes]
    return "  ".join(filter(None, words)), style, below


def _bad(branch: Branch) -> str:
    return "" if branch.state == "active" else branch.state.upper()


def _host_line(host: Host) -> str:
    floating = f"  <- {', '.join(host.floating)}" if host.floating else ""
    return f"host {host.name}  {', '.join(host.addresses)}{floating}"


# Mermaid


def mermaid_lines(topology: Topology) -> Iterator[str]:
    """Yield the lines of a Mermaid flow chart (https://mermaid.js.org)."""
    yield "flowchart TB"
    networks: dict[str, str] = {}
    for trunk in trunks(topology):
        if trunk.network:
            networks[trunk.network] = f"n{len(networks)}"
            yield f"    {networks[trunk.network]}([{_label(trunk.name, 'external')}]):::external"
        for host in trunk.hosts:
            yield from _host_chart(host, networks[trunk.network])
        for branch in trunk.branches:
            yield from _branch_chart(trunk, branch, networks)
    yield "    classDef external fill:#dbeafe,stroke:#2563eb,color:#1e3a8a"
    yield "    classDef network fill:#f1f5f9,stroke:#64748b,color:#0f172a"
    yield "    classDef active fill:#dcfce7,stroke:#16a34a,color:#14532d"
    yield "    classDef pending fill:#fef9c3,stroke:#ca8a04,color:#713f12"
    yield "    classDef error fill:#fee2e2,stroke:#dc2626,color:#7f1d1d"


def _branch_chart(trunk: Trunk, branch: Branch, networks: dict[str, str]) -> Iterator[str]:
    node = _node("r", branch.id)
    floating = [f"{one} → {other}" for one, other in branch.floating_ips]
    yield f"    {node}[{_label(branch.name, *floating)}]:::{branch.state}"
    if trunk.network:
        yield f"    {networks[trunk.network]} ---|{_label(*branch.gateway)}| {node}"
    for leg in branch.legs:
        if leg.network not in networks:
            networks[leg.network] = f"n{len(networks)}"
            yield f"    {networks[leg.network]}([{_label(leg.name)}]):::network"
        yield f"    {node} ---|{_label(*leg.addresses)}| {networks[leg.network]}"
        for host in leg.hosts:
            yield from _host_chart(host, networks[leg.network])


def _host_chart(host: Host, network: str) -> Iterator[str]:
    floating = [f"⇐ {one}" for one in host.floating]
    yield f"    {network} --- {_node('h', host.name)}[{_label(host.name, *host.addresses, *floating)}]"


def _node(kind: str, name: str) -> str:
    return kind + "".join(one if one.isascii() and one.isalnum() else f"_{ord(one):x}_" for one in name)


def _label(*lines: str) -> str:
    """Return text in quotes; what Mermaid would read is written as entity codes."""
    safe = ("".join(one if one.isalnum() or one in " .:/-→⇐_()" else f"#{ord(one)};" for one in line) for line in lines)
    return '"' + "<br>".join(safe) + '"'
