# SPDX-License-Identifier: Apache-2.0
"""Converts the payload of a router into its desired state. Pure functions; all validation of payloads happens here.

An error has the smallest possible effect: an address, port, floating IP or route that cannot be served is skipped and
named in the warnings of the state; the rest of the router is served. Only an error in a value that concerns the whole
router (id, kind, admin state, list of ports) rejects the router, with :class:`InvalidRouter`.

Where the result of Neutron's agent depends on the order of its commands, a rule gives the same result here:

* several subnets of one family on the gateway port: the last subnet with a gateway provides the default route, because
  each default route replaces the previous one;
* an extra route with destination ``0.0.0.0/0`` or ``::/0`` replaces the default route of the gateway;
* the admin state of the gateway port is ignored, the admin state of an internal port is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address
from typing import Any

from l3agent.exceptions import InvalidRouter, RouterNotCompatible, RouterNotWanted
from l3agent.model import desired_floating_ips
from l3agent.model.additions import Addition, merge_additions
from l3agent.model.desired_floating_ips import floating_ips
from l3agent.model.desired_ports import usable_ports
from l3agent.model.desired_routes import routes
from l3agent.model.payload import Node, skip_warning
from l3agent.model.states import FloatingIP, NamespaceState, RouterState
from l3agent.model.unserved import unserved_features


def desired_state(
    payload: Mapping[str, Any],
    *,
    handle_internal_only_routers: bool = True,
    ipv6_gateway: IPv6Address | None = None,
    metadata_proxy: bool = False,
    additions: Iterable[Addition] = (),
) -> RouterState:
    """Return the desired state of a router: the states of all its namespaces.

    :param payload: one element of the server's answer to ``sync_routers``; unknown keys are ignored.
    :param handle_internal_only_routers: also serve routers without a gateway.
    :param ipv6_gateway: IPv6 next hop if no subnet of the external network has a gateway; usually link-local.
    :param metadata_proxy: True if the configuration enables the metadata proxy, which this agent does not serve.
    :param additions: what extensions add (see :func:`l3agent.model.additions.merge_additions`).
    :raises InvalidRouter: an invalid value concerns the whole router; the error names its path.
    :raises RouterNotCompatible: this agent does not serve routers of this kind.
    :raises RouterNotWanted: the router is administratively down, or has no gateway while such routers are excluded.
    """
    router = Node("", payload)
    router_id = router["id"].identifier()
    _reject_unserved(router, handle_internal_only_routers)
    warnings: list[str] = []
    gateway, internal = usable_ports(router, warnings)
    served = [*internal, *([gateway] if gateway else ())]
    own = frozenset(interface.ip for one in served for interface in one.port.addresses)
    floating = floating_ips(router, has_gateway=gateway is not None, own=own, warnings=warnings)
    addresses = own | {pair.floating for pair in floating.served}
    external = gateway.port if gateway else None
    found = routes(router, [one.port for one in served], external, addresses, ipv6_gateway, warnings)
    features = unserved_features(router, gateway, internal, metadata_proxy=metadata_proxy)
    nat_address = gateway.nat_address if gateway else None
    namespace = NamespaceState(
        "router",
        router_id,
        ports=frozenset(one.port for one in internal),
        gateway=external,
        routes=found,
        floating_ips=floating.served,
        nat_address=nat_address,
        snat=_snat_enabled(router, warnings) and nat_address is not None,
    )
    state = RouterState(
        router_id,
        (namespace,),
        warnings=tuple(sorted({*warnings, *features.values()})),
        unserved_features=frozenset(features),
        unserved_floating_ips=floating.unserved,
    )
    return merge_additions(state, additions)


def floating_ips_by_id(payload: Mapping[str, Any]) -> dict[str, FloatingIP]:
    """Return the readable floating IPs of a payload by id; errors elsewhere in the payload are ignored.

    :raises InvalidRouter: ``_floatingips`` is not a list.
    """
    return desired_floating_ips.floating_ips_by_id(Node("", payload))


def _reject_unserved(router: Node, handle_internal_only_routers: bool) -> None:
    for kind in ("ha", "distributed"):
        if router[kind].flag(False):
            raise RouterNotCompatible(f"{kind}: true: this agent serves neither HA nor distributed routers")
    if not router["admin_state_up"].flag(True):
        raise RouterNotWanted("admin_state_up: false: the router is administratively down")
    if not router["gw_port"].is_set() and not handle_internal_only_routers:
        raise RouterNotWanted("gw_port: none, and handle_internal_only_routers is false")


def _snat_enabled(router: Node, warnings: list[str]) -> bool:
    """Return True if SNAT is enabled, the default if the payload has no valid value."""
    info = router["external_gateway_info"]
    try:
        return router["enable_snat"].flag(info["enable_snat"].flag(True) if info.is_set() else True)
    except InvalidRouter as error:
        warnings.append(skip_warning("enable_snat", router, error))
        return True
