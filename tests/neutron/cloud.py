# SPDX-License-Identifier: Apache-2.0
"""What users do: networks, routers, floating IPs, through the REST API alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import eventlet

from tests.neutron.openvswitch import PHYSICAL_NETWORK
from tests.neutron.rest import Rest

#: A part of the range for benchmarks (RFC 2544).
EXTERNAL_CIDR = "198.18.0.0/16"
#: Members of a collection in one bulk call; the server makes them in one transaction.
_BULK = 25
#: More would only wait in the server.
_CALLS_AT_ONCE = 4

Member = dict[str, Any]


class Cloud:
    """Makes things through the API, and clears them all away."""

    def __init__(self, rest: Rest, host: str) -> None:
        self.rest = rest
        self._compute = {"device_owner": "compute:nova", "binding:host_id": host}
        self._numbers = itertools.count(1)

    def external_network(self) -> Member:
        """Make a network that leads outside, with one IPv4 subnet."""
        network = self.rest.create(
            "networks",
            name="public",
            **{
                "router:external": True,
                "provider:network_type": "flat",
                "provider:physical_network": PHYSICAL_NETWORK,
            },
        )
        self.rest.create("subnets", network_id=network["id"], ip_version=4, cidr=EXTERNAL_CIDR, enable_dhcp=False)
        return network

    def subnet(self, cidr: str | None = None) -> Member:
        """Make a network of a tenant with one IPv4 subnet; return the subnet."""
        number = next(self._numbers)
        network = self.rest.create("networks", name=f"tenant{number}")
        cidr = cidr or f"10.{number // 256}.{number % 256}.0/24"
        return self.rest.create("subnets", network_id=network["id"], ip_version=4, cidr=cidr, enable_dhcp=False)

    def router(self, external: Member | None = None, *subnets: Member) -> Member:
        """Make a router with a gateway and interfaces."""
        gateway = {} if external is None else {"external_gateway_info": {"network_id": external["id"]}}
        router = self.rest.create("routers", name=f"router{next(self._numbers)}", **gateway)
        for subnet in subnets:
            self.add_interface(router, subnet)
        return router

    def add_interface(self, router: Member, subnet: Member) -> None:
        """Give a router an interface in a subnet."""
        self.rest.request("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})

    def remove_interface(self, router: Member, subnet: Member) -> None:
        """Take the interface in a subnet away."""
        self.rest.request("PUT", f"routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})

    def port(self, subnet: Member) -> Member:
        """Make the port of an instance on this host."""
        return self.rest.create("ports", network_id=subnet["network_id"], **self._compute)

    def floating_ip(self, external: Member, port: Member) -> Member:
        """Give a port a floating IP."""
        return self.rest.create("floatingips", floating_network_id=external["id"], port_id=port["id"])

    def build(self, count: int, external: Member, floating_ips: int = 2) -> list[Member]:
        """Make routers, each with a gateway, one interface and some floating IPs, by bulk calls where there are such.

        :return: the routers.
        """
        numbers = [next(self._numbers) for _ in range(count)]
        networks = self._bulk("networks", [{"name": f"bulk{number}"} for number in numbers])
        subnets = self._bulk(
            "subnets",
            [
                {
                    "network_id": network["id"],
                    "ip_version": 4,
                    "cidr": f"10.{number // 256}.{number % 256}.0/24",
                    "enable_dhcp": False,
                }
                for number, network in zip(numbers, networks, strict=True)
            ],
        )
        ports = self._bulk(
            "ports",
            [{"network_id": subnet["network_id"], **self._compute} for subnet in subnets for _ in range(floating_ips)],
        )
        # Of routers, interfaces and floating IPs there is no bulk call.
        routers = self._at_once(lambda subnet: self.router(external, subnet), subnets)
        self._at_once(lambda port: self.floating_ip(external, port), ports)
        return routers

    def clear(self) -> None:
        """Delete everything, in the order that the server allows."""
        self.clear_floating_ips()
        self._at_once(self.clear_router, self.rest.list("routers"))
        self._at_once(lambda member: self.rest.delete("ports", member["id"]), self.rest.list("ports"))
        self._at_once(lambda member: self.rest.delete("networks", member["id"]), self.rest.list("networks"))

    def clear_floating_ips(self) -> None:
        """Delete all floating IPs."""
        self._at_once(lambda member: self.rest.delete("floatingips", member["id"]), self.rest.list("floatingips"))

    def clear_router(self, router: Member) -> None:
        """Delete a router with its interfaces; its floating IPs must be gone."""
        if router["routes"]:
            self.rest.update("routers", router["id"], routes=[])
        self.remove_interfaces(router)
        self.rest.delete("routers", router["id"])

    def remove_interfaces(self, router: Member) -> None:
        """Take all interfaces of a router away."""
        for port in self.rest.list("ports", device_id=router["id"], device_owner="network:router_interface"):
            path = f"routers/{router['id']}/remove_router_interface"
            self.rest.request("PUT", path, {"port_id": port["id"]})

    def _at_once(self, work: Callable[[Member], Any], members: list[Member]) -> list[Any]:
        """Do something for each of many, a few at a time."""
        return list(eventlet.GreenPool(_CALLS_AT_ONCE).imap(work, members))

    def _bulk(self, collection: str, members: list[Member]) -> list[Member]:
        made: list[Member] = []
        for start in range(0, len(members), _BULK):
            made += self.rest.create_many(collection, members[start : start + _BULK])
        return made
