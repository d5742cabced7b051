# SPDX-License-Identifier: Apache-2.0
"""Converts the values of a topology to payloads of neutron-server: routers, ports and networks as dicts.

The format is that of ``sync_routers`` of Neutron 29, including keys that no agent reads. As in Neutron, ``gw_port``,
``_interfaces`` and ``_floatingips`` are absent if they would be empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from l3agent.standalone.entities import (
    Association,
    FixedIP,
    Router,
    RouterPort,
    Subnet,
    Topology,
    VirtualNetwork,
    mac_address,
    stable_id,
)

#: Id of the single project of a topology file, in the format of Keystone (without hyphens).
PROJECT_ID = stable_id("project").replace("-", "")

Payload = dict[str, Any]


def router_payload(router: Router, *, host: str, status: Callable[[Association], str]) -> Payload:
    """Return the payload of a router for the agent on ``host``.

    :param status: returns the last reported status of a floating IP.
    """
    payload: Payload = {
        "id": router.id,
        "name": router.name,
        **_owner(PROJECT_ID),
        "description": "",
        "admin_state_up": router.admin_state_up,
        "status": "ACTIVE",
        "distributed": False,
        "ha": False,
        "ha_vr_id": 0,
        "flavor_id": None,
        "availability_zone_hints": [],
        "availability_zones": ["nova"],
        "routes": [{"destination": str(route.destination), "nexthop": str(route.nexthop)} for route in router.routes],
        "external_gateway_info": None,
        "gw_port_id": None,
        "gw_port_host": None,
        "conntrack_helpers": [],
        "enable_ndp_proxy": False,
        "enable_default_route_bfd": False,
        "enable_default_route_ecmp": False,
    }
    if router.gateway is not None:
        payload.update(_gateway(router, router.gateway, host))
    if router.interfaces:
        payload["_interfaces"] = [
            _router_port(port, router, "network:router_interface", host) for port in router.interfaces
        ]
    if router.floating_ips:
        payload["_floatingips"] = [
            _floating_ip(association, router, status(association)) for association in router.floating_ips
        ]
    return payload


def ports_of_subnet(topology: Topology, subnet_id: str) -> list[Payload]:
    """Return the ports with an address in a subnet, with the keys that ``get_ports_by_subnet`` of Neutron returns."""
    return [
        port for port in _all_ports(topology) if any(fixed["subnet_id"] == subnet_id for fixed in port["fixed_ips"])
    ]


def network_payload(network: VirtualNetwork) -> Payload:
    """Return the payload of a network, as in ``get_networks``."""
    return {
        "id": network.id,
        "name": network.name,
        **_owner("" if network.external else PROJECT_ID),
        "description": "",
        "admin_state_up": True,
        "status": "ACTIVE",
        "shared": False,
        "mtu": network.mtu,
        "router:external": network.external,
        "port_security_enabled": False,
        "subnets": [subnet.id for subnet in network.subnets],
        "availability_zone_hints": [],
        "availability_zones": ["nova"],
        "ipv4_address_scope": None,
        "ipv6_address_scope": None,
        "qos_policy_id": None,
        "standard_attr_id": _number(network.id),
    }


def _gateway(router: Router, port: RouterPort, host: str) -> Payload:
    return {
        "enable_snat": router.snat,
        "external_gateway_info": {
            "network_id": port.network.id,
            "enable_snat": router.snat,
            "external_fixed_ips": [_fixed_ip(fixed) for fixed in port.fixed_ips],
        },
        "gw_port_id": port.id,
        "gw_port_host": host,
        "gw_port": _router_port(port, router, "network:router_gateway", host, project_id=""),
    }


def _router_port(port: RouterPort, router: Router, owner: str, host: str, project_id: str = PROJECT_ID) -> Payload:
    used = [fixed.subnet for fixed in port.fixed_ips]
    return {
        "id": port.id,
        "name": "",
        **_owner(project_id),
        "description": "",
        "network_id": port.network.id,
        "mac_address": port.mac,
        "mtu": port.network.mtu,
        "admin_state_up": True,
        "status": "ACTIVE",
        "device_id": router.id,
        "device_owner": owner,
        "fixed_ips": [{**_fixed_ip(fixed), "prefixlen": fixed.subnet.cidr.prefixlen} for fixed in port.fixed_ips],
        "subnets": _subnets(subnet for subnet in port.network.subnets if subnet in used),
        "extra_subnets": _subnets(subnet for subnet in port.network.subnets if subnet not in used),
        "address_scopes": {"4": None, "6": None},
        "allowed_address_pairs": [],
        "extra_dhcp_opts": [],
        "security_groups": [],
        "port_security_enabled": False,
        "binding:host_id": host,
        "binding:profile": {},
        "binding:vif_details": {"connectivity": "l2", "port_filter": False},
        "binding:vif_type": "bridge",
        "binding:vnic_type": "normal",
        "qos_network_policy_id": None,
        "qos_policy_id": None,
        "resource_request": None,
        "standard_attr_id": _number(port.id),
    }


def _floating_ip(association: Association, router: Router, status: str) -> Payload:
    return {
        "id": association.id,
        **_owner(PROJECT_ID),
        "description": "",
        "floating_ip_address": str(association.floating),
        "fixed_ip_address": str(association.fixed),
        "fixed_ip_address_scope": None,
        "floating_network_id": router.gateway.network.id if router.gateway else None,
        "router_id": router.id,
        "port_id": association.port_id,
        "port_details": _port_details(association),
        "port_forwardings": [],
        "status": status,
        "dns_domain": "",
        "dns_name": "",
        "qos_network_policy_id": None,
        "qos_policy_id": None,
        "standard_attr_id": _number(association.id),
    }


def _port_details(association: Association) -> Payload:
    return {
        "admin_state_up": True,
        "device_id": stable_id("host", association.host) if association.host else "",
        "device_owner": "compute:nova",
        "mac_address": mac_address(association.port_id),
        "name": association.host or "",
        "network_id": association.network.id,
        "status": "ACTIVE",
    }


def _subnets(subnets: Iterable[Subnet]) -> list[Payload]:
    return [
        {
            "id": subnet.id,
            "cidr": str(subnet.cidr),
            "gateway_ip": None if subnet.gateway is None else str(subnet.gateway),
            "dns_nameservers": [str(address) for address in subnet.dns_nameservers],
            "ipv6_ra_mode": None,
            "subnetpool_id": None,
        }
        for subnet in subnets
    ]


def _all_ports(topology: Topology) -> Iterable[Payload]:
    for router in topology.routers:
        for port in router.ports():
            owner = "network:router_gateway" if port is router.gateway else "network:router_interface"
            yield _reduced_port(port.id, "", port.network, port.mac, router.id, owner, port.fixed_ips)
    for host in topology.hosts:
        fixed_ips = [
            FixedIP(subnet, address.ip)
            for address in host.addresses
            if (subnet := host.network.subnet_of(address.ip)) is not None
        ]
        yield _reduced_port(host.port_id, host.name, host.network, host.mac, host.id, "compute:nova", fixed_ips)


def _reduced_port(
    port_id: str,
    name: str,
    network: VirtualNetwork,
    mac: str,
    device_id: str,
    owner: str,
    fixed_ips: Iterable[FixedIP],
) -> Payload:
    return {
        "id": port_id,
        "name": name,
        **_owner(PROJECT_ID),
        "network_id": network.id,
        "mac_address": mac,
        "admin_state_up": True,
        "status": "ACTIVE",
        "device_id": device_id,
        "device_owner": owner,
        "fixed_ips": [_fixed_ip(fixed) for fixed in fixed_ips],
        "allowed_address_pairs": [],
        "standard_attr_id": _number(port_id),
    }


def _fixed_ip(fixed: FixedIP) -> Payload:
    return {"subnet_id": fixed.subnet.id, "ip_address": str(fixed.address)}


def _owner(project_id: str) -> Payload:
    return {"project_id": project_id, "tenant_id": project_id}


def _number(object_id: str) -> int:
    """Return a ``standard_attr_id``: in Neutron a row number of its database, here 31 bits of the object id."""
    return int(object_id[:8], 16) & 0x7FFFFFFF
