# SPDX-License-Identifier: Apache-2.0
"""Reading of a payload: every value is taken with the path that leads to it, so that a refusal can name both.

A part that cannot be served is skipped and named in a warning; the label of a part follows from its values, so that
the same payload in another order gives the same warnings.

JSON null and an absent key mean the same, because servers of different ages leave out what others send as null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_interface, ip_network
from typing import Any

from l3agent.exceptions import InvalidRouter, Unroutable
from l3agent.model.states import Address, Network
from l3agent.model.validators import (
    is_id,
    is_mac,
    is_routable,
    is_unicast,
    is_unicast_mac,
)

#: Characters of a value in a label; a UUID and every address are shorter.
_MAX_WORD = 60


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One value of a payload. Two nodes are equal when they are the same one: a value may have no hash.

    :param path: as in ``_interfaces[1].fixed_ips[0].ip_address``; empty for the whole payload.
    """

    path: str
    value: Any

    def __getitem__(self, key: str) -> Node:
        """Return the member of a map; its value is None where the map has none."""
        if not isinstance(self.value, Mapping):
            raise self.refusal("expected a map")
        return Node(f"{self.path}.{key}" if self.path else key, self.value.get(key))

    def refusal(self, reason: str, kind: type[InvalidRouter] = InvalidRouter) -> InvalidRouter:
        """Return the error to raise when this value is wrong."""
        return kind(self.path or "router", self.value, "missing" if self.value is None else reason)

    def given(self) -> bool:
        """Tell whether there is a value at all."""
        return self.value is not None

    def elements(self) -> list[Node]:
        """Return the elements of a list; none where there is no list."""
        if self.value is None:
            return []
        if not isinstance(self.value, list | tuple):
            raise self.refusal("expected a list")
        return [Node(f"{self.path}[{index}]", value) for index, value in enumerate(self.value)]

    def parts(self, warnings: list[str]) -> list[Node]:
        """Return the elements of a list; none, and a warning, where there is something else."""
        try:
            return self.elements()
        except InvalidRouter as error:
            warnings.append(f"{self.path} skipped: {error.shown}: {error.reason}")
            return []

    def member(self, key: str) -> Any:
        """Return the value of a member without its path; None where this is not a map, or the map has none."""
        return self.value.get(key) if isinstance(self.value, Mapping) else None

    def shown(self, key: str) -> str:
        """Return a member as it may stand in a log."""
        return shown(self.member(key))

    def label(self, kind: str) -> str:
        """Return how a warning names this part: by its id."""
        return f"{kind} {self.shown('id')}"

    def text(self) -> str:
        """Return a string."""
        if not isinstance(self.value, str):
            raise self.refusal("expected a string")
        return self.value

    def flag(self, default: bool) -> bool:
        """Return a boolean."""
        if self.value is None:
            return default
        if not isinstance(self.value, bool):
            raise self.refusal("expected true or false")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """Return a whole number between two bounds, both allowed."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not low <= self.value <= high:
            raise self.refusal(f"expected a whole number from {low} to {high}")
        return self.value

    def identifier(self) -> str:
        """Return an id that is safe in the name of a device, a namespace or a file."""
        if not is_id(self.text()):
            raise self.refusal("expected 11 to 36 hexadecimal digits and hyphens")
        return self.text()

    def mac(self) -> str:
        """Return the MAC address of one interface, in lower case."""
        mac = self.text().lower()
        if not is_mac(mac):
            raise self.refusal("expected a MAC address such as fa:16:3e:00:00:01")
        if not is_unicast_mac(mac):
            raise self.refusal("expected a unicast MAC address")
        return mac

    def address(self) -> Address:
        """Return an address that one machine can have; IPv6 link-local ones are among them.

        :raises Unroutable: it is an address, but none of a machine.
        """
        text = self._plain()
        try:
            address = ip_address(text)
        except ValueError as exc:
            raise self.refusal("expected an IP address") from exc
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            raise self.refusal("an IPv4 address in IPv6 form cannot be routed", Unroutable)
        if not is_unicast(address.packed):
            raise self.refusal("expected a unicast address", Unroutable)
        return address

    def network(self) -> Network:
        """Return a network that packets can be routed to; the whole of a family (``/0``) is among them.

        :raises Unroutable: it is a network, but none to route to.
        """
        text = self._plain()
        try:
            network = ip_network(text, strict=False)
        except ValueError as exc:
            raise self.refusal(f"expected a network ({exc})") from exc
        if network.network_address != ip_interface(text).ip:
            raise self.refusal("expected a network without host bits", Unroutable)
        if not is_routable(network):
            raise self.refusal("nothing can be routed to multicast, loopback or link-local addresses", Unroutable)
        return network

    def _plain(self) -> str:
        # The standard library takes "fe80::1%eth0"; a zone means something on one machine only.
        if "%" in self.text():
            raise self.refusal("a zone has no place here")
        return self.text()


def shown(value: Any) -> str:
    """Return a value as it may stand in a log: plain if it is a short word, quoted and cut otherwise."""
    if isinstance(value, str) and 0 < len(value) <= _MAX_WORD and value.isascii() and value.isprintable():
        return value
    return repr(value)[:_MAX_WORD]


def skipped(label: str, part: Node, error: InvalidRouter) -> str:
    """Return the warning that a part is skipped because a value in it is wrong.

    :param label: names the part.
    :param part: the part; the path of the value is told from there.
    """
    field = error.path.removeprefix(part.path).lstrip(".")
    return f"{label} skipped: {field}{': ' if field else ''}{error.shown}: {error.reason}"
