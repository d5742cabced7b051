# SPDX-License-Identifier: Apache-2.0
"""A router with a flow of each kind, changes of it, and the flows that end with each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, ip_interface

from l3agent.model.states import NamespaceState
from tests.support.processes import Dataplane
from tests.support.states import floating_ips, host, key, namespace, new_id, only_port, port, route, router
from tests.support.traffic import Connection, Traffic

OUTSIDE, GATEWAY = "203.0.113.1", "203.0.113.10"
FIRST, SECOND = "203.0.113.100", "203.0.113.101"

#: The flows of :meth:`World.connections` and how each is translated, as ``conntrack`` takes it.
FLOWS = {
    (OUTSIDE, FIRST): "--dst-nat 10.0.0.5",
    ("10.0.0.5", OUTSIDE): f"--src-nat {FIRST}",
    ("10.0.0.7", OUTSIDE): f"--src-nat {GATEWAY}",
    ("10.0.0.7", FIRST): f"--dst-nat 10.0.0.5 --src-nat {GATEWAY}",
    (OUTSIDE, SECOND): "--dst-nat 10.0.1.6",
    ("10.0.1.8", OUTSIDE): f"--src-nat {GATEWAY}",
    ("10.0.1.8", SECOND): f"--dst-nat 10.0.1.6 --src-nat {GATEWAY}",
    ("10.0.1.8", "10.0.0.7"): "",
    ("10.0.0.5", SECOND): f"--dst-nat 10.0.1.6 --src-nat {FIRST}",
}


class World:
    """Two networks of tenants, in each a machine with a floating IP and one without, and one machine outside."""

    def __init__(self, machine: Dataplane) -> None:
        self.machine = machine
        self.blue, self.red = port(new_id(), "10.0.0.1/24"), port(new_id(), "10.0.1.1/24")
        self.gateway = port(new_id(), f"{GATEWAY}/24", gateway=True)
        default = route("0.0.0.0/0", (self.gateway, OUTSIDE))
        fips = {FIRST: "10.0.0.5", SECOND: "10.0.1.6"}
        self.router = router(self.blue, self.red, gateway=self.gateway, routes=[default], fips=fips)
        self.vm5, self.vm7 = (self._tenant(self.blue.network_id, f"10.0.0.{n}") for n in (5, 7))
        self.vm6, self.vm8 = (self._tenant(self.red.network_id, f"10.0.1.{n}") for n in (6, 8))
        self.outside = host(self.gateway.network_id, f"{OUTSIDE}/24")
        self.reconcile(self.router, self.vm5, self.vm6, self.vm7, self.vm8, self.outside)

    def reconcile(self, *states: NamespaceState) -> None:
        reports = self.machine.reconcile(*((key(state), state) for state in states))
        errors = [report.error for report in reports]
        assert errors == [None] * len(states), errors

    def connections(self, traffic: Traffic) -> dict[tuple[str, str], Connection]:
        """Open one flow of each kind; by source and destination."""
        traffic.listen(self.vm5, self.vm6, self.vm7, self.outside)
        ways = {
            (self.outside, FIRST): OUTSIDE,
            (self.vm5, OUTSIDE): FIRST,
            (self.vm7, OUTSIDE): GATEWAY,
            (self.vm7, FIRST): GATEWAY,
            (self.outside, SECOND): OUTSIDE,
            (self.vm8, OUTSIDE): GATEWAY,
            (self.vm8, SECOND): GATEWAY,
            (self.vm8, "10.0.0.7"): "10.0.1.8",
            (self.vm5, SECOND): FIRST,
        }
        opened = {(source(machine), to): traffic.connect(machine, to) for machine, to in ways}
        assert [one.seen for one in opened.values()] == list(ways.values())
        return opened

    def flows(self) -> set[tuple[str, ...]]:
        """Return the TCP flows of the router: (original source, original destination)."""
        listing = self.machine.sandbox.run(["conntrack", "-L", "-p", "tcp"], netns=namespace(self.router))
        originals = (re.search(r"src=(\S+) dst=(\S+)", line) for line in listing.splitlines())
        return {one.groups() for one in originals if one}

    def restore_flows(self) -> None:
        """Replace the flows of the router by the flows of :data:`FLOWS`, without any traffic."""
        rows = [
            f"-I -s {source} -d {to} {nat} -p tcp --sport {number} --dport 7 --state ESTABLISHED -t 600 -u SEEN_REPLY\n"
            for number, ((source, to), nat) in enumerate(FLOWS.items(), start=1)
        ]
        self.restore(rows)
        assert self.flows() == set(FLOWS)

    def restore(self, rows: list[str]) -> None:
        """Replace the conntrack entries of the router by these, as ``conntrack -R`` reads them."""
        name = namespace(self.router)
        self.machine.sandbox.run(["sh", "-e", "-c", "conntrack -F; conntrack -R -"], netns=name, input="".join(rows))

    def _tenant(self, network: str, address: str) -> NamespaceState:
        return host(network, f"{address}/24", routes={"0.0.0.0/0": f"{address.rpartition('.')[0]}.1"})


def source(machine: NamespaceState) -> str:
    (interface,) = only_port(machine).addresses
    return str(interface.ip)


def a_floating_ip_removed(world: World) -> NamespaceState:
    return replace(world.router, floating_ips=floating_ips({SECOND: "10.0.1.6"}))


def a_floating_ip_moved(world: World) -> NamespaceState:
    return replace(world.router, floating_ips=floating_ips({SECOND: "10.0.1.6", FIRST: "10.0.0.7"}))


def snat_switched_off(world: World) -> NamespaceState:
    return replace(world.router, snat=False)


def another_address_of_the_gateway(world: World) -> NamespaceState:
    gateway = replace(world.gateway, addresses=frozenset({ip_interface("203.0.113.99/24")}))
    return replace(world.router, gateway=gateway, nat_address=IPv4Address("203.0.113.99"))


def an_interface_gone(world: World) -> NamespaceState:
    return replace(a_floating_ip_removed(world), ports=frozenset({world.red}))


def the_gateway_gone(world: World) -> NamespaceState:
    without = replace(world.router, gateway=None, nat_address=None, snat=False)
    return replace(without, routes=frozenset(), floating_ips=frozenset())


def a_longer_prefix(world: World) -> NamespaceState:
    blue = replace(world.blue, addresses=frozenset({ip_interface("10.0.0.1/25")}))
    return replace(world.router, ports=frozenset({blue, world.red}))


Change = Callable[[World], NamespaceState]
OF_FIRST = {(OUTSIDE, FIRST), ("10.0.0.5", OUTSIDE), ("10.0.0.7", FIRST), ("10.0.0.5", SECOND)}
SOURCES = {("10.0.0.7", OUTSIDE), ("10.0.1.8", OUTSIDE)}
TURNED = {("10.0.0.7", FIRST), ("10.0.1.8", SECOND)}
BETWEEN = {("10.0.1.8", "10.0.0.7")}
#: What goes, and the flows that end with it.
CHANGES: dict[Change, set[tuple[str, str]]] = {
    a_floating_ip_removed: OF_FIRST,
    a_floating_ip_moved: OF_FIRST,
    snat_switched_off: SOURCES,
    another_address_of_the_gateway: SOURCES | TURNED,
    an_interface_gone: OF_FIRST | {("10.0.0.7", OUTSIDE)} | BETWEEN,
    the_gateway_gone: OF_FIRST | SOURCES | TURNED | {(OUTSIDE, SECOND)},
    a_longer_prefix: set(),
}
