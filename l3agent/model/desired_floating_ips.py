# SPDX-License-Identifier: Apache-2.0
"""The floating IPs of a router that can be served, and those that cannot.

A floating IP that cannot be served is skipped, named in a warning and reported to the server as ``ERROR``. Of two that
exclude each other the one with the lower floating address stays, then the one with the lower fixed address.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from operator import itemgetter

from l3agent.exceptions import InvalidRouter
from l3agent.model.payload import Node, skipped
from l3agent.model.states import Address, FloatingIP


@dataclass(frozen=True, slots=True)
class FloatingIPs:
    """The floating IPs of a payload.

    :param served: pairs of addresses, none of them twice.
    :param unserved: ids of those that are skipped, as far as they have one.
    """

    served: frozenset[FloatingIP]
    unserved: frozenset[str]


def floating_ips(router: Node, *, has_gateway: bool, own: frozenset[Address], warnings: list[str]) -> FloatingIPs:
    """Pair floating with fixed addresses. A floating IP without fixed address is not associated, and not listed.

    :param own: addresses of the ports of the router.
    :param warnings: gains one line for each floating IP that is skipped.
    """
    pairs: list[tuple[FloatingIP, Node]] = []
    unserved: set[str] = set()

    def skip(node: Node, text: str) -> None:
        warnings.append(text)
        if (fip_id := _id(node)) is not None:
            unserved.add(fip_id)

    for node in router["_floatingips"].parts(warnings):
        try:
            if node["fixed_ip_address"].given():
                pairs.append((_floating_ip(node), node))
        except InvalidRouter as error:
            skip(node, skipped(_label(node), node, error))
    if not has_gateway:
        for _, node in pairs:
            skip(node, f"{_label(node)} skipped: the router has no usable gateway")
        return FloatingIPs(frozenset(), frozenset(unserved))
    served = {pair for pair, _ in pairs}
    if not len({pair.floating for pair in served} - own) == len({pair.fixed for pair in served}) == len(pairs):
        served.clear()
        for pair, node, reason in _resolve(pairs, own):
            if reason is None:
                served.add(pair)
            else:
                skip(node, f"{_label(node)} skipped: {reason}")
    return FloatingIPs(frozenset(served), frozenset(unserved))


def named_floating_ips(router: Node) -> dict[str, FloatingIP]:
    """Return by id the floating IPs of a payload that can be read, whatever else of it may be wrong.

    :raises InvalidRouter: it has no list of them.
    """
    found: dict[str, FloatingIP] = {}
    for node in router["_floatingips"].elements():
        try:
            if node["fixed_ip_address"].given():
                found[node["id"].text()] = _floating_ip(node)
        except InvalidRouter:
            continue
    return found


def _resolve(
    pairs: Iterable[tuple[FloatingIP, Node]], own: frozenset[Address]
) -> Iterable[tuple[FloatingIP, Node, str | None]]:
    """Yield each pair with the reason why it is skipped, None if it is served; one that is listed twice, once."""
    by_floating: set[IPv4Address] = set()
    by_fixed: dict[IPv4Address, IPv4Address] = {}
    before = None
    for rank, pair, node in sorted(((_rank(pair, node), pair, node) for pair, node in pairs), key=itemgetter(0)):
        repeated, before = rank == before, rank
        if repeated and rank[-1]:
            continue
        if pair.floating in own:
            yield pair, node, "a port of the router has this address"
        elif pair.floating in by_floating:
            yield pair, node, f"another floating IP has this address; fixed address {pair.fixed}"
        elif pair.fixed in by_fixed:
            yield pair, node, f"fixed address {pair.fixed} has floating IP {by_fixed[pair.fixed]}"
        else:
            by_floating.add(pair.floating)
            by_fixed[pair.fixed] = pair.floating
            yield pair, node, None


def _rank(pair: FloatingIP, node: Node) -> tuple[int, int, str]:
    return int(pair.floating), int(pair.fixed), _id(node) or ""


def _floating_ip(node: Node) -> FloatingIP:
    return FloatingIP(_ipv4(node["floating_ip_address"]), _ipv4(node["fixed_ip_address"]))


def _ipv4(node: Node) -> IPv4Address:
    address = node.address()
    if not isinstance(address, IPv4Address):
        raise node.refusal("expected an IPv4 address")
    return address


def _id(node: Node) -> str | None:
    value = node.member("id")
    return value if isinstance(value, str) and value else None


def _label(node: Node) -> str:
    return f"floating IP {node.shown('floating_ip_address')} ({node.shown('id')})"
