# SPDX-License-Identifier: Apache-2.0
"""Applies the simulated hosts of a topology file, and its networks with a physical interface, through the data plane.

The data plane is that of the agent in this process. Routers are not touched.
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
from l3agent.model.states import (
    Address,
    Key,
    NamespaceState,
    Network,
    NetworkState,
    NextHop,
    Port,
    Report,
    Route,
    State,
)
from l3agent.standalone.entities import Host, Topology

LOG = logging.getLogger(__name__)

_RETRY_MIN_S, _RETRY_MAX_S = 0.5, 30.0
#: States per request: an update of a router waits for one request at most.
_BATCH = 16


class HostDataplane(Protocol):
    """The part of :class:`l3agent.agent.dataplane_client.DataplaneClient` that this module uses."""

    def reconcile(self, states: Sequence[tuple[Key, State | None]]) -> list[Report]:
        """Apply states to the kernel; return one report per state, in their order."""

    def inventory(self) -> dict[str, list[str]]:
        """Return the ids of the objects in the kernel, by kind."""

    def on_new_process(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` after each connection to a new data-plane process."""


def simulated_states(topology: Topology) -> dict[Key, State]:
    """Return the states of a topology that are not routers."""
    states: dict[Key, State] = {
        ("network", network.id): NetworkState(network.id, network.interface)
        for network in topology.networks
        if network.interface is not None
    }
    return states | {("host", host.name): _host_state(host) for host in topology.hosts}


def _host_state(host: Host) -> NamespaceState:
    hops: dict[Network, set[NextHop]] = defaultdict(set)
    for route in host.routes:
        hops[route.destination].add(NextHop(HOST_DEVICE, route.nexthop))
        if not _is_neighbour(route.nexthop, host):
            hops[ip_network(route.nexthop)].add(NextHop(HOST_DEVICE, None))
    port = Port(host.port_id, host.network.id, HOST_DEVICE, host.mac, host.network.mtu, frozenset(host.addresses))
    routes = frozenset(Route(destination, frozenset(members)) for destination, members in hops.items())
    return NamespaceState("host", host.name, frozenset({port}), routes=routes)


def _is_neighbour(address: Address, host: Host) -> bool:
    """Return False for a gateway outside the subnets of a host, which needs an on-link route."""
    return any(address in interface.network for interface in host.addresses) or (
        address.version == 6 and address.is_link_local
    )


class SimulatedHosts:
    """Applies the result of :func:`simulated_states` and later changes of it, with retries.

    Hosts and networks of an earlier run are removed once.
    """

    def __init__(self, dataplane: HostDataplane, topology: Topology) -> None:
        self._dataplane = dataplane
        self._desired = simulated_states(topology)
        self._applied: dict[Key, State] = {}
        self._to_remove: set[Key] = set()
        self._has_removed_leftovers = False
        self._changed = Event()
        dataplane.on_new_process(self._resend_all)

    def replace(self, topology: Topology) -> None:
        """Apply another topology from now on."""
        desired = simulated_states(topology)
        self._to_remove |= self._desired.keys() | self._applied.keys()
        self._desired = desired
        self._wake()

    def _resend_all(self) -> None:
        """Send all states again: a new data-plane process repairs only states that it received."""
        # Reports of the former process may still arrive; they update the former dict, which is discarded.
        self._applied = {}
        self._wake()

    def _wake(self) -> None:
        if not self._changed.ready():
            self._changed.send()

    def run(self) -> None:
        """Apply changes until killed."""
        delay = _RETRY_MIN_S
        while True:
            self._changed = Event()
            if self._apply_difference():
                delay = _RETRY_MIN_S
                self._changed.wait()
            else:
                self._changed.wait(timeout=delay)
                delay = min(2 * delay, _RETRY_MAX_S)

    def _apply_difference(self) -> bool:
        """Send the difference; return True if all of it was applied."""
        try:
            if not self._has_removed_leftovers:
                self._to_remove |= self._find_leftovers()
                self._has_removed_leftovers = True
            difference = self._difference()
            batches = [difference[at : at + _BATCH] for at in range(0, len(difference), _BATCH)]
            sent = [self._send(batch) for batch in batches]
            return all(sent)
        except TransientError as exc:
            LOG.warning("Hosts of the topology are applied when the data plane answers: %s", exc)
            return False

    def _find_leftovers(self) -> set[Key]:
        found = self._dataplane.inventory()
        hosts: set[Key] = {("host", name) for name in found.get("host", ())}
        # Includes bridges in use by routers and hosts; the data plane deletes a bridge only when it has no port.
        networks: set[Key] = {("network", network_id) for network_id in found.get("network", ())}
        return hosts | networks

    def _difference(self) -> list[tuple[Key, State | None]]:
        self._to_remove -= self._desired.keys()
        new = [(key, state) for key, state in self._desired.items() if self._applied.get(key) != state]
        # Removals first: an address or an interface may have moved to another host or network.
        return [*((key, None) for key in sorted(self._to_remove)), *new]

    def _send(self, batch: Sequence[tuple[Key, State | None]]) -> bool:
        applied = self._applied
        reports = self._dataplane.reconcile(batch)
        for (key, state), report in zip(batch, reports, strict=True):
            self._record(applied, key, state, report)
        return not any(report.error for report in reports)

    def _record(self, applied: dict[Key, State], key: Key, state: State | None, report: Report) -> None:
        if report.error:
            LOG.warning("%s %s: %s; retrying", *key, report.error)
            applied.pop(key, None)
            return
        if report.count:
            LOG.info("%s %s %s: %d operations", *key, "removed" if state is None else "updated", report.count)
        if state is None:
            applied.pop(key, None)
            self._to_remove.discard(key)
        else:
            applied[key] = state
