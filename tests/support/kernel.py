# SPDX-License-Identifier: Apache-2.0
"""What a router is in the kernel, read with ``ip`` and ``nft``, which this project did not write."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.sandbox import Sandbox

#: Protocol number of our routes; 201 is what ``ip`` prints for a number without a name.
OWN_PROTOCOL = "201"
SYSCTLS = (
    "net.ipv4.ip_forward",
    "net.ipv4.conf.all.arp_ignore",
    "net.ipv4.conf.all.arp_announce",
    "net.ipv4.conf.all.promote_secondaries",
    "net.ipv6.conf.all.forwarding",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_tcp_loose",
    "net.ipv4.ip_nonlocal_bind",
)


@dataclass
class RouterFacts:
    """A router as the kernel holds it; equality is meaning.

    :param links: device -> (MAC address, MTU).
    :param addresses: (device, address with prefix length), the kernel's own on ``lo`` left out.
    :param routes: (destination, ``agent``, ``kernel`` or another protocol, frozenset of (device, next hop or None)) of
        the main table.
    :param dnat: floating -> fixed, for what comes in and for what the router itself sends.
    :param snat: fixed -> floating.
    :param snat_out: device -> source of what leaves there and has no floating IP.
    :param snat_hairpin: device -> source of translated traffic that came in there and turns back inside.
    :param untranslated: devices that are the outside; between all others nothing is translated.
    """

    links: dict[str, tuple[str, int]] = field(default_factory=dict)
    addresses: set[tuple[str, str]] = field(default_factory=set)
    routes: set[tuple[str, str, frozenset[tuple[str, str | None]]]] = field(default_factory=set)
    dnat: dict[str, str] = field(default_factory=dict)
    snat: dict[str, str] = field(default_factory=dict)
    snat_out: dict[str, str] = field(default_factory=dict)
    snat_hairpin: dict[str, str] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)
    sysctls: dict[str, str] = field(default_factory=dict)

    def default_route(self, family: int) -> set[tuple[str, str | None]]:
        """Return the next hops of the default route of a family."""
        destination = "0.0.0.0/0" if family == 4 else "::/0"
        return {hop for to, _, hops in self.routes if to == destination for hop in hops}


def observed(sandbox: Sandbox, namespace: str) -> RouterFacts:
    """Read a router from the kernel."""
    links = [link for link in sandbox.json("ip -j addr", netns=namespace) if link["ifname"] != "lo"]
    assert all("UP" in link["flags"] for link in links), links
    maps = _maps(sandbox.json("nft -j list table ip l3agent", netns=namespace))
    assert maps["pending_flush"] == {}, "an edge was journalled and not finished"
    return RouterFacts(
        links={link["ifname"]: (link["address"], link["mtu"]) for link in links},
        addresses={
            (link["ifname"], f"{info['local']}/{info['prefixlen']}") for link in links for info in link["addr_info"]
        },
        routes=_routes(sandbox, namespace, 4) | _routes(sandbox, namespace, 6),
        dnat=maps["floating_dnat"],
        snat=maps["floating_snat"],
        snat_out=maps["gateway_snat"],
        snat_hairpin=maps["hairpin_snat"],
        outside=set(maps["external"]),
        sysctls=_sysctls(sandbox, namespace),
    )


def golden(path: Path) -> RouterFacts:
    """Read facts that were written down."""
    wire = json.loads(path.read_text())
    return RouterFacts(
        links={device: (mac, mtu) for device, mac, mtu in wire["links"]},
        addresses={(device, address) for device, address in wire["addresses"]},
        routes={(to, by, frozenset((device, via) for device, via in hops)) for to, by, hops in wire["routes"]},
        dnat=wire["dnat"],
        snat=wire["snat"],
        snat_out=wire["snat_out"],
        snat_hairpin=wire["snat_hairpin"],
        outside=set(wire["outside"]),
        sysctls=wire["sysctls"],
    )


def rules(sandbox: Sandbox, namespace: str) -> dict[str, list[str]]:
    """Return the rules of the table by chain, as ``nft`` prints them, so that their meaning can be compared."""
    listing = sandbox.run(["nft", "list", "table", "ip", "l3agent"], netns=namespace)
    chains: dict[str, list[str]] = {}
    chain = None
    for line in map(str.strip, listing.splitlines()):
        if line.startswith("chain "):
            chain = chains.setdefault(line.split()[1], [])
        elif line == "}":
            chain = None
        elif chain is not None:
            chain.append(line)
    return chains


def _routes(sandbox: Sandbox, namespace: str, family: int) -> set[tuple[str, str, frozenset[tuple[str, str | None]]]]:
    whole = "0.0.0.0/0" if family == 4 else "::/0"
    found = set()
    for route in sandbox.json(f"ip -j -{family} route show table main", netns=namespace):
        # A route to nowhere has no device.
        hops = frozenset((hop.get("dev", ""), hop.get("gateway")) for hop in route.get("nexthops", [route]))
        made_by = route.get("protocol", "boot")
        outwards = made_by == "static" and route["dst"] == "default" and all(hop[0].startswith("qg-") for hop in hops)
        by = "agent" if outwards or made_by == OWN_PROTOCOL else made_by
        destination = whole if route["dst"] == "default" else route["dst"]
        found.add((_with_length(destination), by, hops))
    return found


def _with_length(destination: str) -> str:
    if "/" in destination:
        return destination
    return f"{destination}/{128 if ':' in destination else 32}"


def _maps(listing: dict[str, Any]) -> dict[str, Any]:
    """Return maps as dicts; of a set, whose elements have no values, the keys."""
    found = {}
    for entry in listing["nftables"]:
        for kind in ("map", "set"):
            if kind in entry:
                elements = entry[kind].get("elem", [])
                found[entry[kind]["name"]] = dict(elements) if kind == "map" else dict.fromkeys(map(str, elements))
    return found


def _sysctls(sandbox: Sandbox, namespace: str) -> dict[str, str]:
    paths = [f"/proc/sys/{name.replace('.', '/')}" for name in SYSCTLS]
    return dict(zip(SYSCTLS, sandbox.run(["cat", *paths], netns=namespace).split(), strict=True))
