# SPDX-License-Identifier: Apache-2.0
"""What the reader of a topology file knows so far: which names there are, and who has which address.

References to a name that exists but was refused are not reported a second time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from l3agent.model.states import Address
from l3agent.standalone.document import Item
from l3agent.standalone.entities import Host, Subnet, VirtualNetwork, mac_address

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Directory:
    """Names and addresses that were read already.

    :param refused: names that exist in the file, but whose description has a problem, as ``host vm1``.
    """

    networks: dict[str, VirtualNetwork] = field(default_factory=dict)
    subnets: dict[str, tuple[VirtualNetwork, Subnet]] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    host_addresses: dict[tuple[str, Address], Host] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    _cards: dict[str, str] = field(default_factory=dict)
    _addresses: dict[tuple[str, Address], str] = field(default_factory=dict)
    _macs: dict[tuple[str, str], str] = field(default_factory=dict)

    def network(self, item: Item) -> VirtualNetwork | None:
        """Return the network that a value names."""
        return self._find(item, "network", self.networks)

    def subnet(self, item: Item) -> tuple[VirtualNetwork, Subnet] | None:
        """Return the subnet that a value names, and its network."""
        return self._find(item, "subnet", self.subnets)

    def knows_host(self, name: str) -> bool:
        """Return whether the file has a host of this name, right or wrong."""
        return name in self.hosts or f"host {name}" in self.refused

    def _find(self, item: Item, kind: str, known: dict[str, _T]) -> _T | None:
        name = item.text()
        if name is None:
            return None
        if name not in known and f"{kind} {name}" not in self.refused:
            item.fail(f"unknown {kind}")
        return known.get(name)

    def claim_address(self, item: Item, network: VirtualNetwork, address: Address) -> bool:
        """Note who has an address on a network; return False, with a problem, when somebody has it already."""
        return _claim(self._addresses, (network.id, address), item, address, "has this address already")

    def claim_card(self, item: Item, card: str) -> bool:
        """Note which network has a network card."""
        return _claim(self._cards, card, item, card, "has this network card already")

    def claim_port(self, item: Item, network: VirtualNetwork, port_id: str) -> bool:
        """Note the MAC address of a port; names that lead to the same one on one network are refused."""
        mac = mac_address(port_id)
        return _claim(self._macs, (network.id, mac), item, mac, "has the same MAC address: change one of the names")


_K = TypeVar("_K")


def _claim(owners: dict[_K, str], key: _K, item: Item, shown: object, complaint: str) -> bool:
    owner = owners.setdefault(key, f"{item.where} (line {item.line})")
    mine = owner == f"{item.where} (line {item.line})"
    if not mine:
        item.fail(f"{owner} {complaint}", value=shown)
    return mine
