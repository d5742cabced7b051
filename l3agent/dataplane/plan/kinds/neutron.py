# SPDX-License-Identifier: Apache-2.0
"""Rules and routes of neutron-l3-agent that ours replace, observed at the takeover of a router. Never desired."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from l3agent.dataplane.netlink import iptables, routes
from l3agent.dataplane.plan.kinds.base import Batch, Batches, Entry, Inside, Operation
from l3agent.model.names import DEVICE_PREFIXES, EXTERNAL_DEVICES
from l3agent.model.states import Network


@dataclass(frozen=True, slots=True)
class NeutronRules(Entry):
    """Rules and chains of neutron-l3-agent in an iptables table that our table replaces.

    :param rules: (chain, handle) of rules to remove from chains that remain.
    :param chains: chains to remove with all their rules; ``rules`` contains the jumps into them from other chains.
    """

    kind: ClassVar[str] = "neutron_rules"

    family: Literal["ip", "ip6"]
    table: str
    rules: tuple[tuple[str, int], ...]
    chains: tuple[str, ...]

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.family, self.table

    def sort_key(self) -> tuple[Any, ...]:
        """Return the sort key among entries of the same phase.

        Rules that match a mark are removed before rules that set it, if they are in different tables.
        """
        tables = ("filter", "nat")
        return "neutron", tables.index(self.table) if self.table in tables else len(tables), self.family, self.table

    @classmethod
    def commands(cls, operation: Operation[NeutronRules], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        removed = operation.entry
        place = f"{removed.family} {removed.table}"
        rules = (f"delete rule {place} {chain} handle {handle}" for chain, handle in removed.rules)
        flushed = (f"flush chain {place} {chain}" for chain in removed.chains)
        deleted = (f"delete chain {place} {chain}" for chain in removed.chains)
        return [f"ip netns exec {namespace} nft '{'; '.join((*rules, *flushed, *deleted))}'"]

    @classmethod
    def encode_rules(cls, operations: Sequence[Operation[NeutronRules]], made: Batch) -> None:
        """Add the messages that remove the rules: jumps to a chain first, then the chain."""
        for operation in operations:
            removed = operation.entry
            place = removed.family, removed.table
            messages = (
                *(iptables.delete_rule(*place, chain, handle) for chain, handle in removed.rules),
                *(iptables.flush_chain(*place, chain) for chain in removed.chains),
                *(iptables.delete_chain(*place, chain) for chain in removed.chains),
            )
            made += [(one, operation) for one in messages]


@dataclass(frozen=True, slots=True)
class NeutronRoute(Entry):
    """A route of neutron-l3-agent; our route replaces it."""

    kind: ClassVar[str] = "neutron_route"

    destination: Network

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.destination

    def sort_key(self) -> tuple[Any, ...]:
        """Return the sort key among entries of the same phase."""
        network = self.destination
        return "neutron", network.version, int(network.network_address), network.prefixlen

    @classmethod
    def commands(cls, operation: Operation[NeutronRoute], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        destination = operation.entry.destination
        family = " -6" if destination.version == 6 else ""
        return [f"ip{family} -n {namespace} route delete {destination} protocol static"]

    @classmethod
    def encode_early(cls, operations: Sequence[Operation[NeutronRoute]], made: Batches, target: Inside) -> None:
        """Add the messages that remove the routes, which precede the removal of the rules."""
        made.early_removals += [(routes.delete_static_route(one.entry.destination), one) for one in operations]


def parse_neutron_routes(data: bytes, names: dict[int, str]) -> frozenset[NeutronRoute]:
    """Return the routes through our devices in received bytes that neutron-l3-agent created."""
    return frozenset(
        NeutronRoute(destination)
        for destination, hops in routes.parse_routes(data, names, routes.PROTOCOL_STATIC).items()
        if all(hop.device.startswith(DEVICE_PREFIXES) for hop in hops)
        and (destination.prefixlen or not all(hop.device.startswith(EXTERNAL_DEVICES) for hop in hops))
    )
