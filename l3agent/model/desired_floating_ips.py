# SPDX-License-Identifier: Apache-2.0
"""Floating IPs of a router: validation and conflicts.

A floating IP that cannot be served is skipped, named in a warning and reported to the server as ``ERROR``. If two
floating IPs exclude each other, the lower floating address wins, then the lower fixed address.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from operator import itemgetter

from l3agent.exceptions import InvalidRouter
from l3agent.model.payload import Node, skip_warning
from l3agent.model.states import Address, FloatingIP


@dataclass(frozen=True, slots=True)
class FloatingIPs:
    """Result for the floating IPs of a payload.

    :param served: address pairs; each address occurs once.
    :param unserved: ids of the skipped floating IPs that have an id.
    """

    served: frozenset[FloatingIP]
    unserved: frozenset[str]


def floating_ips(router: Node, *, has_gateway: bool, own: frozenset[Address], warnings: list[str]) -> FloatingIPs:
    """Return the floating IPs of a router. A floating IP without a fixed address is not associated and is left out.

    :param own: addresses of the ports of the router.
    :param warnings: receives one line per skipped floating IP.
    """
    pairs: list[tuple[FloatingIP, Node]] = []
    unserved: set[str] = set()

    def skip(node: Node, text: str) -> None:
        warnings.append(text)
        if (fip_id := _id(node)) is not None:
            unserved.add(fip_id)

    for node in router["_floatingips"].elements_or_warn(warnings):
        try:
            if node["fixed_ip_address"].is_set():
                pairs.append((_floating_ip(node), node))
        except InvalidRouter as error:
            skip(node, skip_warning(_label(node), node, error))
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


def floating_ips_by_id(router: Node) -> dict[str, FloatingIP]:
    """Return the readable floating IPs of a payload by id; errors elsewhere in the payload are ignored.

    :raises InvalidRouter: ``_floatingips`` is not a list.
    """
    found: dict[str, FloatingIP] = {}
    for node in router["_floatingips"].elements():
        try:
            if node["fixed_ip_address"].is_set():
                found[node["id"].text()] = _floating_ip(node)
        except InvalidRouter:
            continue
    return found


def _resolve(
    pairs: Iterable[tuple[FloatingIP, Node]], own: frozenset[Address]
) -> Iterable[tuple[FloatingIP, Node, str | None]]:
    """Yield each pair with the reason why it is skipped, or None if it is served; yield repeated elements once."""
    by_floating: set[IPv4Address] = set()
    by_fixed: dict[IPv4Address, IPv4Address] = {}
    before = None
    for order, pair, node in sorted(((_order(pair, node), pair, node) for pair, node in pairs), key=itemgetter(0)):
        repeated, before = order == before, order
        if repeated and order[-1]:
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


def _order(pair: FloatingIP, node: Node) -> tuple[int, int, str]:
    return int(pair.floating), int(pair.fixed), _id(node) or ""


def _floating_ip(node: Node) -> FloatingIP:
    return FloatingIP(_ipv4(node["floating_ip_address"]), _ipv4(node["fixed_ip_address"]))


def _ipv4(node: Node) -> IPv4Address:
    address = node.address()
    if not isinstance(address, IPv4Address):
        raise node.error("expected an IPv4 address")
    return address


def _id(node: Node) -> str | None:
    value = node.member("id")
    return value if isinstance(value, str) and value else None


def _label(node: Node) -> str:
    return f"floating IP {node.format_member('floating_ip_address')} ({node.format_member('id')})"
