# SPDX-License-Identifier: Apache-2.0
"""Detects features of a router that this agent does not serve. Pure functions; no feature rejects a router.

Each router and feature gives one warning that names the affected addresses or subnets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal

from l3agent.model.desired_ports import UsablePort
from l3agent.model.payload import Node, format_value

Feature = Literal[
    "address_scopes",
    "conntrack_helpers",
    "metadata",
    "ndp_proxy",
    "port_forwarding",
    "prefix_delegation",
    "qos",
    "router_advertisements",
]
#: All features; each has a metric and a finding of ``l3-agentctl check``.
FEATURES: tuple[Feature, ...] = (
    "address_scopes",
    "conntrack_helpers",
    "metadata",
    "ndp_proxy",
    "port_forwarding",
    "prefix_delegation",
    "qos",
    "router_advertisements",
)

#: Maximum number of names in a warning; the number of the others follows.
_MAX_NAMES = 5
#: Value of ``subnetpool_id`` for a subnet with a delegated prefix, in releases of Neutron up to 2024.2.
_DELEGATED = "prefix_delegation"


def unserved_features(
    router: Node, gateway: UsablePort | None, internal: Collection[UsablePort], *, metadata_proxy: bool
) -> dict[Feature, str]:
    """Return one warning per feature that the router has and this agent does not serve.

    :param gateway: the served gateway port, if any.
    :param internal: the served internal ports.
    :param metadata_proxy: True if the configuration enables a metadata proxy for each router with an internal port.
    """
    floating_ips = list(_maps(router["_floatingips"].value))
    ports = [*internal, *([gateway] if gateway else ())]
    subnets = [subnet for port in internal for subnet in _maps(port.node["subnets"].value)]
    asked: dict[Feature, tuple[str, list[str]]] = {
        "address_scopes": ("address scopes are not separated", _scopes(ports)),
        "conntrack_helpers": (
            "conntrack helpers are not served",
            list(map(format_value, _elements(router["conntrack_helpers"].value))),
        ),
        "metadata": (
            "metadata is not served (enable_metadata_proxy)",
            ["requests to 169.254.169.254 are not answered"] if metadata_proxy and internal else [],
        ),
        "ndp_proxy": (
            "NDP proxy is not served",
            ["enable_ndp_proxy is true"] if router["enable_ndp_proxy"].value is True else [],
        ),
        "port_forwarding": ("port forwarding is not served", sorted(_port_forwardings(router, floating_ips))),
        "prefix_delegation": (
            "prefix delegation is not served",
            [format_value(one.get("id")) for one in subnets if one.get("subnetpool_id") == _DELEGATED],
        ),
        "qos": ("QoS is not served", [*_qos_of_gateway(router), *_qos_of_floating_ips(floating_ips)]),
        "router_advertisements": (
            "router advertisements are not served",
            [
                f"{format_value(one.get('cidr'))} ({format_value(one['ipv6_ra_mode'])})"
                for one in subnets
                if one.get("ipv6_ra_mode")
            ],
        ),
    }
    return {feature: f"{text}: {_join(names)}" for feature, (text, names) in asked.items() if names}


def _scopes(ports: Iterable[UsablePort]) -> list[str]:
    """Return the networks between which Neutron does not forward, by IP version."""
    found: dict[int, dict[str, set[str]]] = {4: {}, 6: {}}
    for port in ports:
        scopes = port.node["address_scopes"].value
        # A network without addresses of a family has no scope for it, and no traffic.
        for interface in port.port.addresses if isinstance(scopes, Mapping) else ():
            scope = scopes.get(str(interface.version))
            name = f"scope {format_value(scope)}" if scope else "no scope"
            found[interface.version].setdefault(name, set()).add(str(interface.network))
    return [
        f"{_join(sorted(networks))} in {scope}"
        for scopes in found.values()
        if len(scopes) > 1
        for scope, networks in sorted(scopes.items())
    ]


def _port_forwardings(router: Node, floating_ips: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the floating addresses with port forwardings; the ids of the floating IPs if no address is given."""
    forwarding = [
        *_maps(router["_pf_floatingips"].value),
        *(one for one in floating_ips if one.get("port_forwardings")),
    ]
    named = {format_value(one.get("floating_ip_address")) for one in forwarding}
    return named or set(map(format_value, _elements(router["fip_managed_by_port_forwardings"].value)))


def _qos_of_gateway(router: Node) -> Iterator[str]:
    info, port = router["external_gateway_info"].value, router["gw_port"].value
    by_gateway = isinstance(info, Mapping) and info.get("qos_policy_id")
    if by_gateway or (isinstance(port, Mapping) and port.get("qos_network_policy_id")):
        yield "gateway"


def _qos_of_floating_ips(floating_ips: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(
        format_value(one.get("floating_ip_address"))
        for one in floating_ips
        if one.get("qos_policy_id") or one.get("qos_network_policy_id")
    )


def _elements(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else ()


def _maps(value: Any) -> Iterator[Mapping[str, Any]]:
    # A payload is decoded JSON; a test against the abstract class takes several times as long.
    return (one for one in _elements(value) if isinstance(one, dict))


def _join(names: list[str]) -> str:
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
