# SPDX-License-Identifier: Apache-2.0
"""The path of a packet through a router, computed from kernel entries. Pure functions.

It follows the first packet of a new flow: input device, destination translation, route, source translation, and where
and why it is dropped. Replies take the reverse path, through connection tracking. Only entries that l3agent creates are
considered; rules, routes and filters of other programs are not.

Source: the order of the hooks in nft(8), the rules of :mod:`l3agent.dataplane.netlink.tables`; RFC 1812 5.2 and 5.3 on
forwarding, RFC 4291 2.5.6 on link-local addresses; ``ip_route_input_slow`` of Linux 6.x on martians.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Literal

from l3agent.cli.router_entries import RouteHop, RouterEntries
from l3agent.model.states import Address

Verdict = Literal["forwarded", "delivered", "dropped"]
_BROADCAST = ip_address("255.255.255.255")
#: RFC 3927.
_LINK_LOCAL = ip_network("169.254.0.0/16")


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow.

    :param device: input device; None for the device towards its source.
    """

    source: Address
    destination: Address
    protocol: str = "tcp"
    port: int | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A processing step: its place and its effect."""

    place: str
    text: str


@dataclass(slots=True)
class PacketPath:
    """The path of a packet and its end.

    :param reason: reason of a drop; empty otherwise.
    :param source, destination: addresses of the packet when it leaves, or is delivered to the router itself.
    :param devices: possible output devices; several if next hops share the traffic.
    """

    source: Address
    destination: Address
    steps: list[Step] = field(default_factory=list)
    verdict: Verdict = "forwarded"
    reason: str = ""
    devices: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_step(self, place: str, text: str) -> None:
        """Add a step."""
        self.steps.append(Step(place, text))

    def to_values(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = asdict(self)
        return values | {"source": str(self.source), "destination": str(self.destination)}


class _Dropped(Exception):
    """The router drops the packet."""


def find_path(entries: Iterable[Mapping[str, Any]], packet: Packet) -> PacketPath:
    """Return the path of a packet.

    :param entries: entries of the router, desired or actual.
    """
    router = RouterEntries(entries)
    result = PacketPath(packet.source, packet.destination)
    try:
        if not router.exists:
            raise _Dropped("the router has no namespace in the kernel")
        device = _find_input_device(router, packet, result)
        translated = _translate_destination(router, device, result)
        next_hops = _find_route(router, device, packet, result)
        if next_hops:
            _translate_source(router, device, next_hops, translated, result)
            _apply_guard(router, device, packet, next_hops[0].device, translated, result)
            _add_exits(device, next_hops, translated, result)
    except _Dropped as exc:
        result.verdict, result.reason = "dropped", str(exc)
        result.add_step("drop", str(exc))
    return result


def _find_input_device(router: RouterEntries, packet: Packet, result: PacketPath) -> str | None:
    """Return the input device; None if the router itself sends the packet."""
    source = packet.source
    if packet.device is None and router.owner(source) is not None:
        result.add_step("from", f"{source} is an address of the router itself, which sends the packet")
        return None
    device = packet.device or router.input_device(source)
    if device is None:
        raise _Dropped(f"no device of the router leads to {source}; specify one with --in")
    if device not in router.up:
        raise _Dropped(f"the router has no device {device}; it has {', '.join(sorted(router.up)) or 'none'}")
    guessed = "" if packet.device else " (towards its source)"
    result.add_step("in", f"{device}{guessed}: {source} to {packet.destination}, {_describe_flow(packet)}")
    if not router.up[device]:
        raise _Dropped(f"{device} is down")
    if device in router.unplugged:
        raise _Dropped(f"{device} is plugged into no bridge")
    if source.is_multicast or source.is_unspecified or source.is_loopback or source == _BROADCAST:
        raise _Dropped(f"martian: {source} cannot be a source")
    if router.owner(source) is not None and source.version == 4:
        raise _Dropped(f"martian: {source} is an address of the router itself ({router.owner(source)})")
    return device


def _describe_flow(packet: Packet) -> str:
    return packet.protocol if packet.port is None else f"{packet.protocol} port {packet.port}"


def _translate_destination(router: RouterEntries, device: str | None, result: PacketPath) -> bool:
    place = "output" if device is None else "prerouting"
    if result.destination.version == 6:
        result.add_step(place, "IPv6 is not translated")
        return False
    fixed = router.element("floating_dnat", result.destination)
    if fixed is None:
        result.add_step(
            place, f"{result.destination} is not a floating IP of this router: the destination is unchanged"
        )
        return False
    if device is not None and router.is_external(device) and router.owner(result.destination) is None:
        result.notes.append(
            f"{result.destination} is on no device, so that external neighbours cannot resolve it by ARP"
        )
    result.add_step(place, f"floating IP: destination {result.destination} becomes {fixed}")
    result.destination = fixed
    return True


def _find_route(router: RouterEntries, device: str | None, packet: Packet, result: PacketPath) -> list[RouteHop]:
    """Return the next hops; empty if the packet is delivered to the router itself."""
    destination = result.destination
    if (owner := router.owner(destination)) is not None:
        result.verdict = "delivered"
        result.add_step("local", f"{destination} is an address of the router itself ({owner}), which answers")
        return []
    if destination == _BROADCAST or router.is_broadcast(destination):
        raise _Dropped(f"{destination} is a broadcast address; a router does not forward it")
    if destination.is_multicast:
        raise _Dropped(f"{destination} is multicast, which is not routed")
    if destination.is_loopback or destination.is_unspecified:
        raise _Dropped(f"martian: {destination} cannot be a destination")
    if destination.version == 6 and (destination.is_link_local or packet.source.is_link_local):
        raise _Dropped("IPv6 link-local addresses are never forwarded (RFC 4291)")
    setting = "net/ipv4/ip_forward" if destination.version == 4 else "net/ipv6/conf/all/forwarding"
    if device is not None and router.settings.get(setting) == "0":
        raise _Dropped(f"the router does not forward: sysctl {setting.replace('/', '.')} is 0")
    next_hops = router.next_hops(destination)
    if not next_hops:
        notice = "" if device is None else "; the sender receives ICMP network unreachable"
        raise _Dropped(f"no route to {destination}{notice}")
    for hop in next_hops:
        share = " (one of several)" if len(next_hops) > 1 else ""
        how = "by router advertisement" if hop.is_learned else "on link" if hop.via is None else f"via {hop.via}"
        result.add_step("route", f"{hop.destination} {how} through {hop.device}{share}")
    if len(next_hops) > 1:
        result.notes.append("several next hops share the traffic: a hash of the addresses selects one per flow")
    return next_hops


def _translate_source(
    router: RouterEntries, device: str | None, next_hops: list[RouteHop], translated: bool, result: PacketPath
) -> None:
    if result.source.version == 6:
        return
    out = next_hops[0].device
    source, why = _find_new_source(router, device, out, translated, result.source)
    if source is None:
        result.add_step("postrouting", f"{why}: the source {result.source} is unchanged")
        if router.is_external(out) and device not in (None, out):
            result.notes.append(f"{result.source} leaves untranslated: the external network needs a route back to it")
    else:
        result.add_step("postrouting", f"{why}: source {result.source} becomes {source}")
        result.source = source


def _find_new_source(
    router: RouterEntries, device: str | None, out: str, translated: bool, source: Address
) -> tuple[Address | None, str]:
    """Return the new source and the matching rule of chain postrouting, whose rules are evaluated in order."""
    if not router.intact:
        return None, "the rules of the router are missing or changed by another program"
    if not router.is_external(out) and not translated:
        return None, "no translation towards internal networks"
    if (floating := router.element("floating_snat", source)) is not None:
        return floating, "floating IP"
    if (own := router.element("gateway_snat", out)) is not None:
        return own, "source NAT of the router"
    if translated and device is not None and (own := router.element("hairpin_snat", device)) is not None:
        return own, "hairpin, so that the reply returns through this router"
    return None, "no rule applies"


def _apply_guard(
    router: RouterEntries, device: str | None, packet: Packet, out: str, translated: bool, result: PacketPath
) -> None:
    """Evaluate chain guard, and record its effect on the replies to a packet that enters."""
    if result.source.version == 6:
        return
    if router.is_external(out) and router.intact and result.destination in _LINK_LOCAL:
        raise _Dropped(
            f"link-local destinations ({_LINK_LOCAL}, including the metadata address) never leave through a gateway"
        )
    if router.is_guarded(out):
        if not translated and result.source == packet.source and not router.is_gateway_address(result.source):
            raise _Dropped(f"{out} has source NAT: {result.source} must not leave untranslated")
        text = "the source may leave; packets without a connection (conntrack state INVALID, untracked) are dropped"
        result.add_step("guard", text)
    elif device is not None and router.is_guarded(device) and not translated:
        result.notes.append(
            f"replies of {result.destination} are dropped: {device} has source NAT, and they belong to an untranslated "
            "connection; use a floating IP to reach it"
        )


def _add_exits(device: str | None, next_hops: list[RouteHop], translated: bool, result: PacketPath) -> None:
    result.devices = sorted({hop.device for hop in next_hops})
    for hop in next_hops:
        neighbour = "the advertising router" if hop.is_learned else hop.via or result.destination
        result.add_step("out", f"{hop.device} to {neighbour}: {result.source} to {result.destination}")
    protocol = "ARP" if result.destination.version == 4 else "neighbour discovery"
    if any(hop.is_learned for hop in next_hops):
        what = "an external router sends advertisements and"
    elif any(hop.via is None for hop in next_hops):
        what = f"machine {result.destination}"
    else:
        what = "next hop " + " or ".join(sorted({str(hop.via) for hop in next_hops}))
    result.notes.append(f"it arrives if {what} answers {protocol}; else the sender receives ICMP host unreachable")
    if device is not None and {hop.device for hop in next_hops} == {device} and not translated:
        result.notes.append(
            f"input and output device are the same ({device}): the sender can reach the destination directly"
        )
