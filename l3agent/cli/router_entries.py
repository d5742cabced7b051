# SPDX-License-Identifier: Apache-2.0
"""Index of the kernel entries of a router, for the path of a packet (:mod:`l3agent.cli.packet_path`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from l3agent.model.states import Address, Interface, Network


@dataclass(frozen=True, slots=True)
class RouteHop:
    """A next hop of a route; on link if ``via`` is None.

    :param is_learned: True for a default route by router advertisements, whose next hop only the kernel has.
    """

    destination: Network
    device: str
    via: Address | None
    is_learned: bool = False


class RouterEntries:
    """Index of the kernel entries of a router, as the data plane returns them."""

    def __init__(self, entries: Iterable[Mapping[str, Any]]) -> None:
        found = list(entries)
        self.exists = any(entry["kind"] == "namespace" for entry in found)
        self.intact = any(one["is_intact"] for one in _of_kind(found, "table") if one["name"] == "l3agent")
        self.up = {entry["device"]: entry["up"] and bool(entry["tap"]) for entry in _of_kind(found, "link")}
        self.unplugged = {entry["device"] for entry in _of_kind(found, "link") if entry["bridge"] == ""}
        self.settings = {entry["path"]: entry["value"] for entry in _of_kind(found, "sysctl")}
        self.addresses: list[tuple[str, Interface]] = [
            (entry["device"], ip_interface(entry["interface"])) for entry in _of_kind(found, "address")
        ]
        # Of the main table: those of other tables have the field.
        self._routes = [
            RouteHop(ip_network(entry["destination"]), hop["device"], ip_address(hop["via"]) if hop["via"] else None)
            for entry in _of_kind(found, "route")
            if "table" not in entry
            for hop in entry["hops"]
        ]
        self._routes += [
            RouteHop(ip_network("::/0"), one["device"], None, True) for one in _of_kind(found, "accept_ra")
        ]
        self._elements = {(one["name"], one["key"]): one["value"] for one in _of_kind(found, "element")}

    def element(self, name: str, left: object) -> Address | None:
        """Return the value of a map element in the table; None without one."""
        value = self._elements.get((name, str(left))) if self.intact else None
        return None if value is None else ip_address(value)

    def is_external(self, device: str) -> bool:
        """Return True if a device is a gateway port."""
        return ("external", device) in self._elements

    def is_guarded(self, device: str) -> bool:
        """Return True if only translated packets and gateway addresses leave through a device."""
        return self.intact and ("guarded", device) in self._elements

    def is_gateway_address(self, address: Address) -> bool:
        """Return True if packets of this source leave through a guarded device without a translation."""
        return ("gateway_addresses", str(address)) in self._elements

    def owner(self, address: Address) -> str | None:
        """Return the device on which an address of the router itself is configured, else None."""
        return next((device for device, one in self.addresses if one.ip == address), None)

    def is_broadcast(self, address: Address) -> bool:
        """Return True for the broadcast address of a connected network."""
        return any(
            one.version == 4 and one.network.prefixlen < 31 and address == one.network.broadcast_address
            for _, one in self.addresses
        )

    def input_device(self, address: Address) -> str | None:
        """Return the device towards an address; a gateway port if neither a network nor a route matches."""
        connected = [hop for hop in self._connected() if address in hop.destination]
        if connected:
            return max(connected, key=lambda hop: hop.destination.prefixlen).device
        behind = self.next_hops(address)
        if behind:
            return behind[0].device
        return next((device for device in sorted(self.up) if self.is_external(device)), None)

    def next_hops(self, address: Address) -> list[RouteHop]:
        """Return the next hops of the longest matching prefix, without those on a device that is down."""
        usable = [hop for hop in (*self._connected(), *self._routes) if self.up.get(hop.device)]
        fitting = [hop for hop in usable if address in hop.destination]
        longest = max((hop.destination.prefixlen for hop in fitting), default=None)
        best = [hop for hop in fitting if hop.destination.prefixlen == longest]
        # The kernel's connected route has a lower metric than any added route.
        connected = [hop for hop in best if hop in self._connected()]
        return sorted(set(connected or best), key=lambda hop: (hop.device, str(hop.via)))

    def _connected(self) -> Iterator[RouteHop]:
        for device, one in self.addresses:
            if not one.ip.is_link_local and one.network.prefixlen < one.max_prefixlen:
                yield RouteHop(one.network, device, None)


def _of_kind(entries: Iterable[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
    return (entry for entry in entries if entry["kind"] == kind)
