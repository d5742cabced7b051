# SPDX-License-Identifier: Apache-2.0
"""Typed access to the values of a payload; each value carries its path, so that an error names path and value.

A part that cannot be served is skipped and named in a warning. Labels consist of values, not of positions, so that
the same payload in another order gives the same warnings.

JSON null equals an absent key: some releases of the server omit a key that others send as null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_interface, ip_network
from typing import Any

from l3agent.exceptions import InvalidRouter, Unroutable
from l3agent.model.states import Address, Network
from l3agent.model.validators import is_id, is_mac, is_routable, is_unicast, is_unicast_mac

#: Maximum length of a value in a label; a UUID and every address are shorter.
_MAX_CHARACTERS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A value of a payload and its path. Nodes compare by identity, because a value may be unhashable.

    :param path: for example ``_interfaces[1].fixed_ips[0].ip_address``; empty for the whole payload.
    """

    path: str
    value: Any

    def __getitem__(self, key: str) -> Node:
        """Return a member of a map; the value of an absent member is None."""
        if not isinstance(self.value, Mapping):
            raise self.error("expected a map")
        return Node(f"{self.path}.{key}" if self.path else key, self.value.get(key))

    def error(self, reason: str, kind: type[InvalidRouter] = InvalidRouter) -> InvalidRouter:
        """Return the error to raise if this value is invalid."""
        return kind(self.path or "router", self.value, "missing" if self.value is None else reason)

    def is_set(self) -> bool:
        """Return True if the value is present and not null."""
        return self.value is not None

    def elements(self) -> list[Node]:
        """Return the elements of a list; an absent list is empty.

        :raises InvalidRouter: the value is not a list.
        """
        if self.value is None:
            return []
        if not isinstance(self.value, list | tuple):
            raise self.error("expected a list")
        return [Node(f"{self.path}[{index}]", value) for index, value in enumerate(self.value)]

    def elements_or_warn(self, warnings: list[str]) -> list[Node]:
        """Return the elements of a list; return none and add a warning if the value is not a list."""
        try:
            return self.elements()
        except InvalidRouter as error:
            warnings.append(f"{self.path} skipped: {error.shown}: {error.reason}")
            return []

    def member(self, key: str) -> Any:
        """Return the value of a member without its path; None if the node is not a map or the member is absent."""
        return self.value.get(key) if isinstance(self.value, Mapping) else None

    def format_member(self, key: str) -> str:
        """Return a member formatted for a log line."""
        return format_value(self.member(key))

    def label(self, kind: str) -> str:
        """Return the name of this part in warnings: its kind and id."""
        return f"{kind} {self.format_member('id')}"

    def text(self) -> str:
        """Return a string."""
        if not isinstance(self.value, str):
            raise self.error("expected a string")
        return self.value

    def flag(self, default: bool) -> bool:
        """Return a boolean."""
        if self.value is None:
            return default
        if not isinstance(self.value, bool):
            raise self.error("expected true or false")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """Return an integer between two inclusive bounds."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not low <= self.value <= high:
            raise self.error(f"expected a whole number from {low} to {high}")
        return self.value

    def identifier(self) -> str:
        """Return an id that is safe in the name of a device, namespace or file."""
        if not is_id(self.text()):
            raise self.error("expected 11 to 36 hexadecimal digits and hyphens")
        return self.text()

    def mac(self) -> str:
        """Return a unicast MAC address in lower case."""
        mac = self.text().lower()
        if not is_mac(mac):
            raise self.error("expected a MAC address such as fa:16:3e:00:00:01")
        if not is_unicast_mac(mac):
            raise self.error("expected a unicast MAC address")
        return mac

    def address(self) -> Address:
        """Return a unicast address, which may be IPv6 link-local.

        :raises Unroutable: the address is valid but not unicast.
        """
        text = self._without_zone()
        try:
            address = ip_address(text)
        except ValueError as exc:
            raise self.error("expected an IP address") from exc
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            raise self.error("an IPv4 address in IPv6 form cannot be routed", Unroutable)
        if not is_unicast(address.packed):
            raise self.error("expected a unicast address", Unroutable)
        return address

    def network(self) -> Network:
        """Return a routable network, which may be a whole address family (``/0``).

        :raises Unroutable: the network is valid but not routable.
        """
        text = self._without_zone()
        try:
            network = ip_network(text, strict=False)
        except ValueError as exc:
            raise self.error(f"expected a network ({exc})") from exc
        if network.network_address != ip_interface(text).ip:
            raise self.error("expected a network without host bits", Unroutable)
        if not is_routable(network):
            raise self.error("nothing can be routed to multicast, loopback or link-local addresses", Unroutable)
        return network

    def _without_zone(self) -> str:
        # The standard library accepts "fe80::1%eth0"; a zone has a meaning on one machine only (RFC 4007).
        if "%" in self.text():
            raise self.error("expected an address without a zone")
        return self.text()


def format_value(value: Any) -> str:
    """Return a value formatted for a log line: a short printable word unchanged, any other value quoted and cut."""
    if isinstance(value, str) and 0 < len(value) <= _MAX_CHARACTERS and value.isascii() and value.isprintable():
        return value
    return repr(value)[:_MAX_CHARACTERS]


def skip_warning(label: str, part: Node, error: InvalidRouter) -> str:
    """Return the warning that a part is skipped because of an invalid value in it.

    :param label: name of the part.
    :param part: the part; the warning gives the path of the value relative to it.
    """
    field = error.path.removeprefix(part.path).lstrip(".")
    return f"{label} skipped: {field}{': ' if field else ''}{error.shown}: {error.reason}"
