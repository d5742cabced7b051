# SPDX-License-Identifier: Apache-2.0
"""Symbol table of a topology file: the names read so far, and the owners of addresses and interfaces.

A reference to a name whose description is invalid is not reported as a second problem.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from l3agent.model.states import Address
from l3agent.standalone.document import Item
from l3agent.standalone.entities import Host, Subnet, VirtualNetwork, mac_address

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SymbolTable:
    """Names, addresses and interfaces read so far.

    :param invalid: names whose description has a problem, as in ``host vm1``.
    """

    networks: dict[str, VirtualNetwork] = field(default_factory=dict)
    subnets: dict[str, tuple[VirtualNetwork, Subnet]] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    host_addresses: dict[tuple[str, Address], Host] = field(default_factory=dict)
    invalid: set[str] = field(default_factory=set)
    _interfaces: dict[str, str] = field(default_factory=dict)
    _addresses: dict[tuple[str, Address], str] = field(default_factory=dict)
    _macs: dict[tuple[str, str], str] = field(default_factory=dict)

    def network(self, item: Item) -> VirtualNetwork | None:
        """Return the network that a value names, or None after recording a problem."""
        return self._find(item, "network", self.networks)

    def subnet(self, item: Item) -> tuple[VirtualNetwork, Subnet] | None:
        """Return the network and the subnet that a value names, or None after recording a problem."""
        return self._find(item, "subnet", self.subnets)

    def has_host(self, name: str) -> bool:
        """Return True if the file has a host of this name, valid or invalid."""
        return name in self.hosts or f"host {name}" in self.invalid

    def _find(self, item: Item, kind: str, known: dict[str, _T]) -> _T | None:
        name = item.text()
        if name is None:
            return None
        if name not in known and f"{kind} {name}" not in self.invalid:
            item.fail(f"unknown {kind}")
        return known.get(name)

    def claim_address(self, item: Item, network: VirtualNetwork, address: Address) -> bool:
        """Record the owner of an address on a network; return False and record a problem if it has another owner."""
        return _claim(self._addresses, (network.id, address), item, address, "already has this address")

    def claim_interface(self, item: Item, interface: str) -> bool:
        """Record the network of a physical interface; a second network for it is a problem."""
        return _claim(self._interfaces, interface, item, interface, "already has this interface")

    def claim_port(self, item: Item, network: VirtualNetwork, port_id: str) -> bool:
        """Record the MAC address of a port; two names with the same MAC address on one network are a problem."""
        mac = mac_address(port_id)
        return _claim(self._macs, (network.id, mac), item, mac, "has the same MAC address: change one of the names")


_K = TypeVar("_K")


def _claim(owners: dict[_K, str], key: _K, item: Item, value: object, problem: str) -> bool:
    owner = owners.setdefault(key, f"{item.where} (line {item.line})")
    is_owner = owner == f"{item.where} (line {item.line})"
    if not is_owner:
        item.fail(f"{owner} {problem}", value=value)
    return is_owner
