# SPDX-License-Identifier: Apache-2.0
"""The path of a packet through a router, by what the kernel holds of it. Pure: entries and a packet in, steps out.

It follows the first packet of a new flow: incoming device, destination translation, route, source translation, and
where it is dropped and why. Answers come back the same way, by the kernel's memory of the flow. It knows what l3agent
makes; rules, routes and filters that somebody else put there are not seen.

Source: the order of the hooks in nft(8), the rules of :mod:`l3agent.dataplane.netlink.nft`; RFC 1812 5.2 and 5.3 on
what a router forwards, RFC 4291 2.5.6 on link-local addresses; ``ip_route_input_slow`` of Linux 6.x on martians.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Literal

from l3agent.model.states import Address, Interface, Network

Verdict = Literal["forwarded", "delivered", "dropped"]
_BROADCAST = ip_address("255.255.255.255")
#: RFC 3927.
_LINK_LOCAL = ip_network("169.254.0.0/16")


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow.

    :param device: where it comes in; None: where its source belongs.
    """

    source: Address
    destination: Address
    protocol: str = "tcp"
    port: int | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One place on the way and what happens there."""

    place: str
    text: str


@dataclass(slots=True)
class Trace:
    """What becomes of a packet.

    :param reason: of a drop; empty otherwise.
    :param source, destination: addresses as the packet leaves, or as it is delivered to the router itself.
    :param devices: through which it may leave; several when next hops share the traffic.
    """

    source: Address
    destination: Address
    steps: list[Step] = field(default_factory=list)
    verdict: Verdict = "forwarded"
    reason: str = ""
    devices: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def step(self, place: str, text: str) -> None:
        """Add a step."""
        self.steps.append(Step(place, text))

    def as_values(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        values = asdict(self)
        return values | {"source": str(self.source), "destination": str(self.destination)}


class _Dropped(Exception):
    """The way ends here."""


@dataclass(frozen=True, slots=True)
class _Way:
    """A route that the kernel would use: on link where ``via`` is None.

    :param learned: from router advertisements, so that only the kernel knows the next hop, if there is one.
    """

    destination: Network
    device: str
    via: Address | None
    learned: bool = False


class Router:
    """What is known of a router, from entries as the data plane returns them."""

    def __init__(self, entries: Iterable[Mapping[str, Any]]) -> None:
        found = list(entries)
        self.exists = any(entry["kind"] == "namespace" for entry in found)
        self.intact = any(entry["kind"] == "table" and entry["intact"] for entry in found)
        self.up = {entry["device"]: entry["up"] and bool(entry["tap"]) for entry in _of(found, "link")}
        self.unplugged = {entry["device"] for entry in _of(found, "link") if entry["bridge"] == ""}
        self.settings = {entry["path"]: entry["value"] for entry in _of(found, "sysctl")}
        self.addresses: list[tuple[str, Interface]] = [
            (entry["device"], ip_interface(entry["interface"])) for entry in _of(found, "address")
        ]
        self._routes = [
            _Way(ip_network(entry["destination"]), hop["device"], ip_address(hop["via"]) if hop["via"] else None)
            for entry in _of(found, "route")
            for hop in entry["hops"]
        ]
        self._routes += [_Way(ip_network("::/0"), one["device"], None, True) for one in _of(found, "accept_ra")]
        self._elements = {(one["name"], one["key"]): one["value"] for one in _of(found, "element")}

    def element(self, name: str, left: object) -> Address | None:
        """Return the value of a map of the table."""
        value = self._elements.get((name, str(left))) if self.intact else None
        return None if value is None else ip_address(value)

    def is_external(self, device: str) -> bool:
        """Tell whether a device leads outside."""
        return ("external", device) in self._elements

    def is_guarded(self, device: str) -> bool:
        """Return True if only translated packets and gateway addresses leave through a device."""
        return self.intact and ("guarded", device) in self._elements

    def is_gateway_address(self, address: Address) -> bool:
        """Return True if packets of this source leave through a guarded device without a translation."""
        return ("gateway_addresses", str(address)) in self._elements

    def owner(self, address: Address) -> str | None:
        """Return the device that has an address of the router itself."""
        return next((device for device, one in self.addresses if one.ip == address), None)

    def broadcast(self, address: Address) -> bool:
        """Tell whether an address is the broadcast address of a connected network."""
        return any(
            one.version == 4 and one.network.prefixlen < 31 and address == one.network.broadcast_address
            for _, one in self.addresses
        )

    def belongs(self, address: Address) -> str | None:
        """Return the device on whose networks an address belongs; what is not known belongs outside."""
        connected = [way for way in self._connected() if address in way.destination]
        if connected:
            return max(connected, key=lambda way: way.destination.prefixlen).device
        behind = self.ways(address)
        if behind:
            return behind[0].device
        return next((device for device in sorted(self.up) if self.is_external(device)), None)

    def ways(self, address: Address) -> list[_Way]:
        """Return the ways of the longest prefix; those through a device that is down do not count."""
        usable = [way for way in (*self._connected(), *self._routes) if self.up.get(way.device)]
        fitting = [way for way in usable if address in way.destination]
        longest = max((way.destination.prefixlen for way in fitting), default=None)
        best = [way for way in fitting if way.destination.prefixlen == longest]
        # The kernel's own route of an address has a lower metric than a route that somebody adds.
        connected = [way for way in best if way in self._connected()]
        return sorted(set(connected or best), key=lambda way: (way.device, str(way.via)))

    def _connected(self) -> Iterator[_Way]:
        for device, one in self.addresses:
            if not one.ip.is_link_local and one.network.prefixlen < one.max_prefixlen:
                yield _Way(one.network, device, None)


def trace(entries: Iterable[Mapping[str, Any]], packet: Packet) -> Trace:
    """Return the path of a packet.

    :param entries: of the router, wanted or seen.
    """
    router = Router(entries)
    result = Trace(packet.source, packet.destination)
    try:
        if not router.exists:
            raise _Dropped("the router has no namespace: it is not in the kernel")
        device = _enter(router, packet, result)
        translated = _translate_destination(router, device, result)
        ways = _route(router, device, packet, result)
        if ways:
            _translate_source(router, device, ways, translated, result)
            _guard(router, device, packet, ways[0].device, translated, result)
            _leave(device, ways, translated, result)
    except _Dropped as exc:
        result.verdict, result.reason = "dropped", str(exc)
        result.step("drop", str(exc))
    return result


def _enter(router: Router, packet: Packet, result: Trace) -> str | None:
    """Return the device where the packet comes in, None when the router itself sends it."""
    source = packet.source
    if packet.device is None and router.owner(source) is not None:
        result.step("from", f"{source} is an address of the router itself: it sends the packet")
        return None
    device = packet.device or router.belongs(source)
    if device is None:
        raise _Dropped(f"no device of the router leads to {source}; name one with --in")
    if device not in router.up:
        raise _Dropped(f"the router has no device {device}; it has {', '.join(sorted(router.up)) or 'none'}")
    guessed = "" if packet.device else " (where its source belongs)"
    result.step("in", f"{device}{guessed}: {source} to {packet.destination}, {_flow(packet)}")
    if not router.up[device]:
        raise _Dropped(f"{device} is down")
    if device in router.unplugged:
        raise _Dropped(f"{device} is plugged into no bridge")
    if source.is_multicast or source.is_unspecified or source.is_loopback or source == _BROADCAST:
        raise _Dropped(f"martian: {source} cannot be a source")
    if router.owner(source) is not None and source.version == 4:
        raise _Dropped(f"martian: {source} is an address of the router itself ({router.owner(source)})")
    return device


def _flow(packet: Packet) -> str:
    return packet.protocol if packet.port is None else f"{packet.protocol} port {packet.port}"


def _translate_destination(router: Router, device: str | None, result: Trace) -> bool:
    place = "output" if device is None else "prerouting"
    if result.destination.version == 6:
        result.step(place, "IPv6 is not translated")
        return False
    fixed = router.element("floating_dnat", result.destination)
    if fixed is None:
        result.step(place, f"{result.destination} is no floating IP of this router: the destination stays")
        return False
    if device is not None and router.is_external(device) and router.owner(result.destination) is None:
        result.notes.append(f"{result.destination} is on no device, so no neighbour outside finds it by ARP")
    result.step(place, f"floating IP: destination {result.destination} becomes {fixed}")
    result.destination = fixed
    return True


def _route(router: Router, device: str | None, packet: Packet, result: Trace) -> list[_Way]:
    """Return the ways out; nothing when the packet is for the router itself."""
    destination = result.destination
    if (owner := router.owner(destination)) is not None:
        result.verdict = "delivered"
        result.step("local", f"{destination} is an address of the router itself ({owner}): it answers")
        return []
    if destination == _BROADCAST or router.broadcast(destination):
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
    ways = router.ways(destination)
    if not ways:
        said = "" if device is None else "; the sender is told by ICMP that the network is unreachable"
        raise _Dropped(f"no route to {destination}{said}")
    for way in ways:
        share = " (one of several)" if len(ways) > 1 else ""
        hop = "by router advertisement" if way.learned else "on link" if way.via is None else f"via {way.via}"
        result.step("route", f"{way.destination} {hop} through {way.device}{share}")
    if len(ways) > 1:
        result.notes.append("several next hops share the traffic: each flow takes one, by its addresses")
    return ways


def _translate_source(router: Router, device: str | None, ways: list[_Way], translated: bool, result: Trace) -> None:
    if result.source.version == 6:
        return
    out = ways[0].device
    source, why = _new_source(router, device, out, translated, result.source)
    if source is None:
        result.step("postrouting", f"{why}: the source stays {result.source}")
        if router.is_external(out) and device not in (None, out):
            result.notes.append(f"{result.source} leaves as it is: outside, a route must lead back to it")
    else:
        result.step("postrouting", f"{why}: source {result.source} becomes {source}")
        result.source = source


def _new_source(
    router: Router, device: str | None, out: str, translated: bool, source: Address
) -> tuple[Address | None, str]:
    """Go through the rules of chain postrouting in their order."""
    if not router.intact:
        return None, "the rules of the router are missing or not ours"
    if not router.is_external(out) and not translated:
        return None, "towards networks inside nothing is translated"
    if (floating := router.element("floating_snat", source)) is not None:
        return floating, "floating IP"
    if (own := router.element("gateway_snat", out)) is not None:
        return own, "source NAT of the router"
    if translated and device is not None and (own := router.element("hairpin_snat", device)) is not None:
        return own, "hairpin, so that the answer comes back through here"
    return None, "no rule applies"


def _guard(router: Router, device: str | None, packet: Packet, out: str, translated: bool, result: Trace) -> None:
    """Follow chain guard, and say what it does to the answers of a packet that comes in."""
    if result.source.version == 6:
        return
    if router.is_external(out) and router.intact and result.destination in _LINK_LOCAL:
        raise _Dropped(f"link-local destinations ({_LINK_LOCAL}, the metadata address among them) leave by no gateway")
    if router.is_guarded(out):
        if not translated and result.source == packet.source and not router.is_gateway_address(result.source):
            raise _Dropped(f"{out} has source NAT: {result.source} does not leave untranslated")
        step = "the source may leave; packets without a connection (conntrack state INVALID, untracked) are dropped"
        result.step("guard", step)
    elif device is not None and router.is_guarded(device) and not translated:
        result.notes.append(
            f"the answers of {result.destination} are dropped: {device} has source NAT, and they belong to a "
            "connection without a translation; a floating IP leads to it"
        )


def _leave(device: str | None, ways: list[_Way], translated: bool, result: Trace) -> None:
    result.devices = sorted({way.device for way in ways})
    for way in ways:
        neighbour = "the router that advertises itself" if way.learned else way.via or result.destination
        result.step("out", f"{way.device} to {neighbour}: {result.source} to {result.destination}")
    protocol = "ARP" if result.destination.version == 4 else "neighbour discovery"
    if any(way.learned for way in ways):
        what = "a router outside advertises itself and"
    elif any(way.via is None for way in ways):
        what = f"machine {result.destination}"
    else:
        what = "next hop " + " or ".join(sorted({str(way.via) for way in ways}))
    result.notes.append(f"it arrives if {what} answers {protocol}; else the sender is told: host unreachable")
    if device is not None and {way.device for way in ways} == {device} and not translated:
        result.notes.append(f"it leaves where it came in ({device}): its sender could have gone there directly")


def _of(entries: Iterable[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
    return (entry for entry in entries if entry["kind"] == kind)
