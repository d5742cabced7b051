# SPDX-License-Identifier: Apache-2.0
"""Keeps the stand-ins of a topology file in the kernel: hosts, and networks that own a real network card.

They go to the same data plane as the routers of the agent in this process. Routers are none of its business.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Protocol

from eventlet.event import Event
from oslo_log import log as logging

from l3agent.exceptions import TransientError
from l3agent.model.names import HOST_DEVICE
from l3agent.model.states import Address, HostState, Key, Network, NetworkState, NextHop, Port, Report, Route, State
from l3agent.standalone.entities import Host, Topology

LOG = logging.getLogger(__name__)

_RETRY_MIN_S, _RETRY_MAX_S = 0.5, 30.0
#: So many states go in one request: routers wait that long for their turn at most.
_BATCH = 16


class Dataplane(Protocol):
    """What is needed of :class:`l3agent.agent.dataplane_client.DataplaneClient`."""

    def reconcile(self, states: Sequence[tuple[Key, State | None]]) -> list[Report]:
        """Make the kernel equal to some states; one report each, in their order."""

    def inventory(self) -> dict[str, list[str]]:
        """Return the ids of what is in the kernel, by kind."""

    def on_new_process(self, callback: Callable[[], None]) -> None:
        """Call back when the data plane is another process than before."""


def stand_in_states(topology: Topology) -> dict[Key, State]:
    """Return what the data plane needs to know of a topology besides its routers."""
    states: dict[Key, State] = {
        ("network", network.id): NetworkState(network.id, network.interface)
        for network in topology.networks
        if network.interface is not None
    }
    return states | {("host", host.name): _host_state(host) for host in topology.hosts}


def _host_state(host: Host) -> HostState:
    hops: dict[Network, set[NextHop]] = defaultdict(set)
    for route in host.routes:
        hops[route.destination].add(NextHop(HOST_DEVICE, route.nexthop))
        if not _is_neighbour(route.nexthop, host):
            hops[ip_network(route.nexthop)].add(NextHop(HOST_DEVICE, None))
    port = Port(host.port_id, host.network.id, HOST_DEVICE, host.mac, host.network.mtu, frozenset(host.addresses))
    routes = frozenset(Route(destination, frozenset(members)) for destination, members in hops.items())
    return HostState(host.name, port, routes)


def _is_neighbour(address: Address, host: Host) -> bool:
    """Return False for a gateway outside the subnets of a host, which needs a route on link."""
    return any(address in interface.network for interface in host.addresses) or (
        address.version == 6 and address.is_link_local
    )


class Hosts:
    """Brings about what :func:`stand_in_states` says, only the difference, for as long as it takes.

    What an earlier run left behind is removed too, once.
    """

    def __init__(self, dataplane: Dataplane, topology: Topology) -> None:
        self._dataplane = dataplane
        self._wanted = stand_in_states(topology)
        self._present: dict[Key, State] = {}
        self._leaving: set[Key] = set()
        self._swept = False
        self._changed = Event()
        dataplane.on_new_process(self._bring_again)

    def replace(self, topology: Topology) -> None:
        """Bring about another topology from now on."""
        wanted = stand_in_states(topology)
        self._leaving |= self._wanted.keys() | self._present.keys()
        self._wanted = wanted
        self._wake()

    def _bring_again(self) -> None:
        """Bring all of it to a data plane that knows none of it, and so would repair none of it."""
        # What is said of the former one from now on goes to a map that nobody looks at.
        self._present = {}
        self._wake()

    def _wake(self) -> None:
        if not self._changed.ready():
            self._changed.send()

    def run(self) -> None:
        """Work until killed."""
        delay = _RETRY_MIN_S
        while True:
            self._changed = Event()
            if self._bring_about():
                delay = _RETRY_MIN_S
                self._changed.wait()
            else:
                self._changed.wait(timeout=delay)
                delay = min(2 * delay, _RETRY_MAX_S)

    def _bring_about(self) -> bool:
        """Send what differs; return whether all of it is there now."""
        try:
            if not self._swept:
                self._leaving |= self._left_behind()
                self._swept = True
            difference = self._difference()
            batches = [difference[at : at + _BATCH] for at in range(0, len(difference), _BATCH)]
            sent = [self._send(batch) for batch in batches]
            return all(sent)
        except TransientError as exc:
            LOG.warning("Hosts of the topology wait for the data plane: %s", exc)
            return False

    def _left_behind(self) -> set[Key]:
        found = self._dataplane.inventory()
        hosts: set[Key] = {("host", name) for name in found.get("host", ())}
        # Bridges of routers and hosts are among these; the data plane removes a bridge only when nobody uses it.
        networks: set[Key] = {("network", network_id) for network_id in found.get("network", ())}
        return hosts | networks

    def _difference(self) -> list[tuple[Key, State | None]]:
        self._leaving -= self._wanted.keys()
        new = [(key, state) for key, state in self._wanted.items() if self._present.get(key) != state]
        # What leaves goes first: an address or a card may have moved from it.
        return [*((key, None) for key in sorted(self._leaving)), *new]

    def _send(self, batch: Sequence[tuple[Key, State | None]]) -> bool:
        present = self._present
        reports = self._dataplane.reconcile(batch)
        for (key, state), report in zip(batch, reports, strict=True):
            self._note(present, key, state, report)
        return not any(report.error for report in reports)

    def _note(self, present: dict[Key, State], key: Key, state: State | None, report: Report) -> None:
        if report.error:
            LOG.warning("%s %s: %s; trying again", *key, report.error)
            present.pop(key, None)
            return
        if report.count:
            LOG.info("%s %s %s: %d operations", *key, "removed" if state is None else "updated", report.count)
        if state is None:
            present.pop(key, None)
            self._leaving.discard(key)
        else:
            present[key] = state
